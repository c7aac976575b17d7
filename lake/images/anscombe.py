"""The generalized Anscombe transform: Poisson-Gaussian noise becomes noise of standard deviation 1, and back.

The model of a camera: a pixel is ``gain`` for each electron, whose number has a Poisson distribution, and Gaussian
noise of deviation ``read_noise`` around ``black_level``. The inverse is the closed form of Makitalo and Foi, "Optimal
inversion of the generalized Anscombe transformation for Poisson-Gaussian noise", IEEE TIP 2013: it gives the mean of
the pixels whose transformed values have a given mean, within 0.04 electrons. The plain algebraic inverse is too dark by
a quarter of an electron.

Both are written as differences from the black level, so that they hold for any gain, down to 0: there they divide by
the read noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lake.core.records import Array

_FIRST, _SECOND, _THIRD = np.float32(1.5**0.5 / 4), np.float32(11 / 8), np.float32(1.5**0.5 * 5 / 8)

# Of the read noise: so far below the black level is no mean of 64 pixels without light.
_CLEARLY = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class PoissonGaussian:
    """Noise of a camera, in the numbers of its pixels.

    Attributes:
      gain: numbers for each electron, at least 0.
      read_noise: standard deviation without light, at least 0. Above 0 where the gain is 0.
      black_level: mean without light.

    Raises:
      ValueError: a value is out of its range.
    """

    gain: float
    read_noise: float
    black_level: float = 0.0

    def __post_init__(self) -> None:
        if not (self.gain >= 0 <= self.read_noise and self.gain + self.read_noise > 0):
            raise ValueError(f"gain {self.gain:g} and read noise {self.read_noise:g} must be at least 0, and one above")

    def stabilised(self, pixels: Array) -> Array:
        """Pixels transformed so that their noise has a standard deviation of about 1.

        Args:
          pixels: in the camera's numbers, of any shape.

        Returns:
          float32 of the same shape; 0 stands for the black level.

        >>> electrons = np.random.default_rng(0).poisson(50, 10_000)
        >>> round(float(PoissonGaussian(gain=1, read_noise=0).stabilised(electrons).std()), 1)
        1.0
        """
        light = np.asarray(pixels, np.float32) - np.float32(self.black_level)
        root = np.float32(self.root)
        under = np.maximum(np.float32(self.gain) * light + root**2, 0)
        # 2 / gain (sqrt(under) - root), without a division by the gain.
        light = np.maximum(light, -(root**2) / np.float32(self.gain)) if self.gain else light
        values: Array = 2 * light / (np.sqrt(under) + root)
        return values

    def electrons(self, pixels: Array) -> Array:
        """The light of pixels in electrons, with its noise, float32; of a gain above 0.

        Args:
          pixels: in the camera's numbers, of any shape.

        >>> PoissonGaussian(gain=2, read_noise=3, black_level=100).electrons(np.array([90, 300])).tolist()
        [-5.0, 100.0]
        """
        light: Array = (np.asarray(pixels, np.float32) - np.float32(self.black_level)) / np.float32(self.gain)
        return light

    def restored(self, values: Array, darkest: float | None = None) -> Array:
        """Mean pixels whose transformed values have these means, not below the black level.

        Args:
          values: as ``stabilised`` gives them, without their noise.
          darkest: mean of the darkest place of the pixels with noise. If it is clearly below the black level, that is
            not what it was said to be, and no mean is below this one instead. None if it is not known.

        Returns:
          float32 of the same shape, in the camera's numbers.

        Without noise there is a quarter of an electron too much:

        >>> camera = PoissonGaussian(gain=2, read_noise=3, black_level=100)
        >>> camera.restored(camera.stabilised(np.array([5000.0, 9000.0]))).round(1).tolist()
        [5000.5, 9000.5]
        """
        light = self.unbiased(np.asarray(values, np.float32), np.maximum)
        under = 0.0 if darkest is None else darkest - self.black_level
        least = under if under < -_CLEARLY * self.read_noise else 0.0
        mean: Array = np.maximum(light, np.float32(least)) + np.float32(self.black_level)
        return mean

    def lost(self, pixels: Array) -> float:
        """The share of pixels that are darker than the transform can tell, which makes them equal.

        Args:
          pixels: in the camera's numbers.

        >>> PoissonGaussian(gain=2, read_noise=3, black_level=100).lost(np.array([40, 90, 98, 130]))
        0.5
        """
        if not self.gain:
            return 0.0
        return float(np.mean(pixels < self.black_level - self.root**2 / self.gain))

    def unbiased(self, values: Any, maximum: Callable[[Any, Any], Any]) -> Any:
        """What ``restored`` gives, less the black level, and also below it: light in numbers of a pixel.

        Args:
          values: arrays or tensors of float32, as ``stabilised`` gives them, without their noise.
          maximum: of two such, element by element.
        """
        gain, root = np.float32(self.gain), np.float32(self.root)
        # The formula diverges at 0; it is used down to the value of no light.
        inverse = gain / maximum(2 * root + gain * values, 2 * root)  # 1 / D of the paper
        series = _FIRST - inverse * (_SECOND - _THIRD * inverse)
        return self.algebraic(values) + gain * (np.float32(1 / 4) + inverse * series)

    def algebraic(self, values: Any) -> Any:
        """The light, in numbers of a pixel, of which ``stabilised`` makes these values.

        Args:
          values: arrays or tensors of float32, as ``stabilised`` gives them.

        >>> camera = PoissonGaussian(gain=2, read_noise=3, black_level=100)
        >>> camera.algebraic(camera.stabilised(np.array([95.0, 300.0]))).round(3).tolist()
        [-5.0, 200.0]
        """
        gain, root = np.float32(self.gain), np.float32(self.root)
        return values * (root + gain * values / 4)

    @property
    def root(self) -> float:
        """Square root of the transform's constant, ``3 / 8 gain^2 + read_noise^2``."""
        return float((3 / 8 * self.gain**2 + self.read_noise**2) ** 0.5)

"""The noise of photons, of a known camera: recorrupted as it is, before it is made white.

The transform makes the noise white only from some electrons on. In the dark it leaves a variance of up to 1.2 and a
skewness of -0.9, and what recorruption tells of noise that it takes for normal is then a function of the noise: a
network learns to pass it on. In electrons the noise n of a pixel y with mean x has the variance v = x + r^2, for a read
noise r, and the third cumulant x. Two images y + a s z and y - s z / a, for normal z, have noise without correlation if
the mean of s^2 is v, also where s^2 depends on y. With s^2 = v + b n a third cross-cumulant is x - (2 - a^2) b v, and 0
for b = x / ((2 - a^2) v): little is left then that could be told of the one by the other. In the place of x is a mean
of the pixels around, whose noise is independent of n.

The transform cuts off pixels far below the black level. Images are recorrupted before that, and only what the network
is given is cut off: a pixel that is cut off twice would tell its target.
"""

from typing import Any

import numpy as np

from lake.core.tensorflow import tensorflow
from lake.images.anscombe import PoissonGaussian
from model.pixels import Floats
from model.training.self_supervised.recorruption import PROBE, level_with, recorrupted, recorruption_error
from model.training.self_supervised.ways import Cleans, KnownLevel, Shown, mean_of

# a: less than for normal noise, since the mean of transformed pixels falls with their noise. What is learnt of the one
# mean is used on the other: 0.07 electrons too many for 0.5, 0.035 for this.
_RATIO = 0.35
_AROUND = 5  # pixels across and down, whose mean stands for that of the one in the middle


class KnownCamera(KnownLevel):
    """As by a known level, with the noise of a camera, which is made white for the network.

    What the network gives is brought back to electrons by the unbiased inverse, as a job does, and compared there.

    Args:
      camera: that took the images, of a gain above 0.
    """

    name = "gain and read noise"
    assumes = "the noise is that of photons and electronics, independent in each pixel, and of the camera that is said"

    def __init__(self, camera: PoissonGaussian) -> None:
        # In electrons the transform is the same for all cameras with this read noise.
        self._camera = PoissonGaussian(gain=1, read_noise=camera.read_noise / camera.gain)

    def draw(self, rng: np.random.Generator, shown: Shown) -> tuple[Floats, ...]:
        """The images with noise, the normal noise, its deviation, the variance, electrons, and what is seen as 0."""
        return self._drawn(rng, shown, _RATIO)

    def loss(self, network: Cleans, noisy: Any, level: Any, *drawn: Any) -> Any:  # noqa: ARG002
        """The estimate of the squared error, in units of the noise's variance."""
        return tensorflow().reduce_mean(self._errors(network, level, drawn, _RATIO))

    def error(self, network: Cleans, shown: Shown, rng: np.random.Generator) -> float:
        """The same with little noise that is added, in the units of the image that the network sees."""
        if not shown.level.any():
            return 0.0  # an image of one value, which a job leaves as it is
        errors = self._errors(network, shown.level, self._drawn(rng, shown, PROBE), PROBE)
        return mean_of(errors.numpy() * shown.level**2)

    def _drawn(self, rng: np.random.Generator, shown: Shown, ratio: float) -> tuple[Floats, ...]:
        light, around = shown.light, mean_around(shown.light)
        normal = rng.standard_normal(light.shape, np.float32)
        deviation = added_deviation(light, around, self._camera.read_noise, ratio)
        both = [recorrupted(light, deviation, sign * normal, ratio)[0] for sign in (1, -1)]
        given = [(self._camera.stabilised(one) - shown.zero) * shown.level for one in both]
        # That of the transform, which is above 0 without light too: a difference divided by its root is one in what the
        # network sees.
        variance = np.maximum(around, 0) + np.float32(self._camera.root**2)
        return np.concatenate(given), normal, deviation, variance, light, shown.zero

    def _errors(self, network: Cleans, level: Any, drawn: tuple[Any, ...], ratio: float) -> Any:
        tf = tensorflow()
        given, normal, deviation, variance, light, zero = drawn
        made = network(given, tf.tile(level_with(level, ratio), (2, 1, 1, 1)))
        # Below its least value the transform has no inverse.
        values = [tf.maximum(one / level + zero, -2 * self._camera.root) for one in tf.split(made, 2, axis=0)]
        plus, minus = (self._camera.unbiased(one, tf.maximum) for one in values)
        return recorruption_error(plus, minus, light, deviation, normal, ratio) / variance


def added_deviation(light: Floats, around: Floats, read_noise: float, ratio: float) -> Floats:
    """The standard deviation s of the noise that is added to each pixel, in electrons.

    Args:
      light: electrons of each pixel, with noise.
      around: what they are without noise, or something near it whose noise is another.
      read_noise: in electrons.
      ratio: a.

    A pixel that is bright by its noise gets more noise, but not as much more as if it were bright without:

    >>> added_deviation(np.array([0.0, 10.0, 20.0]), np.full(3, 10.0), 0.0, ratio=0.5).round(2).tolist()
    [2.07, 3.16, 3.96]
    """
    variance = around + np.float32(read_noise**2)
    slope = np.maximum(around, 0) / ((2 - ratio**2) * np.maximum(variance, np.finfo(np.float32).tiny))
    found: Floats = np.sqrt(np.maximum(variance + slope * (light - around), 0))
    return found


def mean_around(light: Floats) -> Floats:
    """The mean of the pixels around each one, without itself.

    Args:
      light: ``[n, H, W, C]``.

    >>> float(mean_around(np.arange(9.0).reshape(1, 3, 3, 1))[0, 0, 0, 0])  # of 1 to 8
    4.5
    """
    count = _box(np.ones((1, *light.shape[1:3], 1), light.dtype)) - 1
    found: Floats = (_box(light) - light) / count
    return found


def _box(values: Floats) -> Floats:
    edge = _AROUND // 2
    padded = np.pad(values, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    found: Floats = np.lib.stride_tricks.sliding_window_view(padded, (_AROUND, _AROUND), axis=(1, 2)).sum(axis=(-2, -1))
    return found

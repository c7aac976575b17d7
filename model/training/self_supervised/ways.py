"""What a training without clean images minimises, and how it tells the error without them, in three ways.

Images are as the network sees them: less their mean, divided by their standard deviation. So are noise levels.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from lake.core.tensorflow import tensorflow
from model.pixels import Floats
from model.training.crops import BATCH
from model.training.networks import build_denoiser
from model.training.self_supervised.blind_spot import build_blind_denoiser
from model.training.self_supervised.masks import hidden_pixels, hide
from model.training.self_supervised.recorruption import PROBE, level_with, recorrupted, recorruption_error

Cleans: TypeAlias = Callable[[Any, Any], Any]  # images [n, H, W, C] and noise levels [n, 1, 1, 1] -> denoised images
_LEAST = 1e-3  # noise level that a loss is divided by at least
_REPEATS = 4  # masks of a held-out image


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Images as the network sees them, and what is known of each.

    Attributes:
      noisy: ``[n, H, W, shots * C]``.
      light: likewise, electrons of a camera that is known, and what its transform cuts off, too; else ``noisy``.
      level: standard deviation of their noise, ``[n, 1, 1, 1]``.
      zero: value that the network sees as 0, of the transform that makes the noise of photons white, ``[n, 1, 1, C]``;
        0 where there is none.
    """

    noisy: Floats
    light: Floats
    level: Floats
    zero: Floats


class Way(ABC):
    """A way to learn.

    Attributes:
      name: of it.
      assumes: what must hold for the noise, besides a mean of zero.
      shots: images of one scene that a training image consists of, along its channels.
      told: whether the network is told the noise level.
      absolute: whether ``error`` is that of the result; otherwise the noise, of which nothing is known, is in it.
      crops: crops of a step.
    """

    name: ClassVar[str]
    assumes: ClassVar[str]
    shots: ClassVar[int] = 1
    told: ClassVar[bool] = True
    absolute: ClassVar[bool] = True
    crops: ClassVar[int] = BATCH

    def build(self, channels: int, precision: str) -> Any:
        """Build the untrained network."""
        return build_denoiser(channels, precision)

    @abstractmethod
    def draw(self, rng: np.random.Generator, shown: Shown) -> tuple[Floats, ...]:
        """Draw what is random in a step besides its crops."""

    @abstractmethod
    def loss(self, network: Cleans, noisy: Any, level: Any, *drawn: Any) -> Any:
        """The loss of a step as a tensor.

        Args:
          network: of the training.
          noisy: the crops ``[n, side, side, shots * C]``.
          level: standard deviation of their noise, ``[n, 1, 1, 1]``.
          drawn: what ``draw`` gave.
        """

    @abstractmethod
    def error(self, network: Cleans, shown: Shown, rng: np.random.Generator) -> float:
        """The mean squared error of an image that was not trained on, told without a clean one.

        Args:
          network: in inference, of arrays.
          shown: the image.
          rng: of what is random in it.
        """


class TwoShots(Way):
    """One shot is told from the other: Noise2Noise (Lehtinen et al., ICML 2018)."""

    name = "pairs"
    assumes = "the noise of two shots is independent, and nothing moves between them"
    shots = 2

    def draw(self, rng: np.random.Generator, shown: Shown) -> tuple[Floats, ...]:
        """Which shot of each crop is the target."""
        return (rng.integers(2, size=(len(shown.noisy), 1, 1, 1)).astype(np.float32),)

    def loss(self, network: Cleans, noisy: Any, level: Any, *drawn: Any) -> Any:
        """The squared distance to the other shot, in units of the noise's variance."""
        tf = tensorflow()
        first, second = tf.split(noisy, 2, axis=-1)
        (swapped,) = drawn
        given, target = first + (second - first) * swapped, second + (first - second) * swapped
        return tf.reduce_mean(tf.square((network(given, level) - target) / tf.maximum(level, _LEAST)))

    def error(self, network: Cleans, shown: Shown, rng: np.random.Generator) -> float:  # noqa: ARG002
        """The squared distance to the other shot, less the noise's variance."""
        first, second = np.split(shown.noisy, 2, axis=-1)
        return mean_of((network(first, shown.level) - second) ** 2 - shown.level**2)


class KnownLevel(Way):
    """Images are corrupted once more, with the noise level that is known: Recorrupted-to-Recorrupted."""

    name = "noise level"
    assumes = "the noise is Gaussian, independent in each pixel, and of the level that is said"
    crops = BATCH // 2  # each of them is used twice

    def draw(self, rng: np.random.Generator, shown: Shown) -> tuple[Floats, ...]:
        """Standard normal noise, which is used with both of its signs."""
        return (rng.standard_normal(shown.noisy.shape, np.float32),)

    def loss(self, network: Cleans, noisy: Any, level: Any, *drawn: Any) -> Any:
        """The estimate of the squared error, in units of the noise's variance."""
        tf = tensorflow()
        (normal,) = drawn
        level = tf.maximum(level, _LEAST)
        inputs = [recorrupted(noisy, level, sign * normal)[0] for sign in (1, -1)]
        made = network(tf.concat(inputs, 0), tf.tile(level_with(level), (2, 1, 1, 1)))
        plus, minus = tf.split(made, 2, axis=0)
        return tf.reduce_mean(recorruption_error(plus, minus, noisy, level, normal) / level**2)

    def error(self, network: Cleans, shown: Shown, rng: np.random.Generator) -> float:
        """Stein's unbiased estimate for the image as it is."""
        noisy, level = shown.noisy, shown.level
        normal = rng.standard_normal(noisy.shape, np.float32)
        plus, minus = (network(recorrupted(noisy, level, sign * normal, PROBE)[0], level) for sign in (1, -1))
        made = network(noisy, level)
        return mean_of((made - noisy) ** 2 + (plus - minus) * normal * level / PROBE - level**2)


class BlindSpot(Way):
    """Pixels are told from their neighbours: Noise2Void (Krull et al., CVPR 2019), with a network as N2V2's."""

    name = "blind spot"
    assumes = "the noise is independent in each pixel"
    told = False
    absolute = False

    def build(self, channels: int, precision: str) -> Any:
        """Build the untrained network."""
        return build_blind_denoiser(channels, precision)

    def draw(self, rng: np.random.Generator, shown: Shown) -> tuple[Floats, ...]:
        """The crops with hidden pixels, and where these are."""
        mask = hidden_pixels(rng, shown.noisy.shape)
        return hide(rng, shown.noisy, mask), mask.astype(np.float32)

    def loss(self, network: Cleans, noisy: Any, level: Any, *drawn: Any) -> Any:
        """The squared error of the hidden pixels."""
        tf = tensorflow()
        given, mask = drawn
        squares = tf.reduce_mean(tf.square(network(given, level) - noisy), axis=-1, keepdims=True)
        return tf.reduce_sum(squares * mask) / tf.reduce_sum(mask)

    def error(self, network: Cleans, shown: Shown, rng: np.random.Generator) -> float:
        """The squared error of hidden pixels, in which their own noise is."""
        errors = []
        for _ in range(_REPEATS):
            given, mask = self.draw(rng, shown)
            errors.append(mean_of(np.square(network(given, shown.level) - shown.noisy)[mask[..., 0] > 0]))
        return float(np.mean(errors))


def mean_of(values: Floats) -> float:
    """Their mean, summed in float64."""
    return float(np.mean(values, dtype=np.float64))

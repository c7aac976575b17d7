"""Measure what a fully convolutional model needs of an image, by trying.

Two numbers describe it: the multiple that sides are padded to, and the reach, which is the radius of the receptive
field as far as it matters. They are measured because the graph's theoretical field is usually far larger.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lake.core.errors import BundleError
from model.golden import golden_inputs, golden_levels
from model.input_spec import Input
from model.pixels import Floats, to_unit
from model.runtime.executor import ModelError
from model.runtime.runtime import Runtime
from model.spec import MAX_LATENT_REACH, MAX_MULTIPLE, MAX_REACH

_STEP = 8  # pixels by which the reach is increased
_FEW_SIZES = 32  # smallest multiple of a model that is compiled for each size: it bounds the number of sizes
_SAME = 0.25 / 255  # largest difference, as a fraction of the value range: a quarter of an 8-bit step
_SAME_LATENT = 1e-3  # the same of latents, as a fraction of the largest one

_UNFITTING = {
    False: "its output does not have its input's shape; without --latent only a model that gives images of its input's "
    "size can be bundled",
    True: "its latent and output do not follow the sides of its input, whatever these are multiples of; give "
    "--input-shape H W C to take images of one size",
}


class _Made(NamedTuple):
    """One thing that a model makes of images, as a map."""

    values: Floats
    stride: int  # pixels of the image along a side, for each position of the map
    same: float  # largest difference that is none


def _most_reach(*, latent: bool) -> int:
    return MAX_LATENT_REACH if latent else MAX_REACH


def largest_tried(*, latent: bool) -> int:
    """The side of the largest images that a model of any size is tried with, in pixels.

    Args:
      latent: whether it has a latent.

    >>> largest_tried(latent=True)
    640
    """
    return 2 * (_most_reach(latent=latent) + MAX_MULTIPLE)


class Probe:
    """Tries a model on images of several sizes.

    Args:
      runtime: a model whose description says ``any_size``, with a ``multiple`` of 1.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._takes, self._spec = runtime, runtime.spec.input, runtime.spec
        self._noisy = runtime.spec.input.noise is not None
        self._most = _most_reach(latent=runtime.spec.latent is not None)
        self._before = largest_tried(latent=runtime.spec.latent is not None) // 2  # pixels before the window compared

    def multiple_and_reach(self) -> tuple[int, int]:
        """Measure ``multiple`` and ``reach`` of ``model.spec.Input``.

        Returns:
          Both in pixels. The reach is the largest that there is if the model sees as far or further.

        Raises:
          BundleError: for no sides does the output have the shape of the input.
        """
        fitting = self._spec.stride << self._fitting([_sizes(power) for power in _powers(self._spec.stride)])
        step, most, before = max(_STEP, fitting), self._most, self._before
        images = self._patterns()
        # The whole image is computed once; crops of it are compared with this result.
        whole = self._made(images)

        def same(reach: int, shift: int) -> bool:
            """Whether a crop with a margin of ``reach``, and ``shift`` more before it, gives what the whole does."""
            first, last = before - reach - shift, before + step + reach
            parts = self._made(images[:, first:last, first:last])
            return all(
                np.abs(_window(part, before - first, step) - _window(all_of, before, step)).max() < all_of.same
                for part, all_of in zip(parts, whole, strict=True)
            )

        reach = next((reach for reach in self._reaches(step) if same(reach, 0)), most)
        # The output may have the right shape and still depend on where the crop begins: strided layers sample a grid,
        # and a crop that begins beside it gives something else.
        multiple = next((shift for shift in _powers(fitting) if same(reach, shift)), fitting)
        if self._runtime.size_by_size:
            multiple = max(multiple, _FEW_SIZES)
        # Rounded up to the multiple, because tiles begin on that grid.
        return multiple, -(-reach // multiple) * multiple

    def _reaches(self, step: int) -> Iterator[int]:
        """What is tried: every step, and with a latent, where each try takes long, few of the large ones."""
        for reach in range(step, self._most + 1, step):
            if self._spec.latent is None or reach % (1 << max(0, reach.bit_length() - 3)) == 0:
                yield reach

    def check_shape(self) -> None:
        """Check that the output of a model of fixed size has the shape of its input.

        Raises:
          BundleError: it has not.
        """
        height, width, _ = self._takes.shape
        self._fitting([[(height, width)]])

    def _fitting(self, choices: Sequence[Sequence[tuple[int, int]]]) -> int:
        """Return the index of the first choice of sizes whose outputs all have the shape of their input."""
        problem: Exception | None = None
        for i, sizes in enumerate(choices):
            try:
                if all(self._keeps_shape(*size) for size in sizes):
                    return i
            except (ValueError, ModelError) as error:
                problem = error
        raise BundleError(_UNFITTING[self._spec.latent is not None]) from problem

    def _keeps_shape(self, height: int, width: int) -> bool:
        image = np.full((1, height, width, self._takes.shape[2]), 0.5, np.float32)
        if self._spec.latent is None:
            return self._restored(image).shape == image.shape
        stride, channels = self._spec.stride, {"latent": self._spec.latent.shape[2], "output": image.shape[3]}
        sizes = {"latent": (height // stride, width // stride), "output": (height, width)}
        made = self._runtime.outputs(image)
        return all(made[name].shape == (1, *sizes[name], channels[name]) for name in made.keys() & sizes)

    def _made(self, images: Floats) -> list[_Made]:
        """What the model makes of images: the latent and the output, as far as it has them."""
        low, high = self._spec.output_range
        if self._spec.latent is None:
            return [_Made(self._restored(images), 1, _SAME * (high - low))]
        made = [self._runtime.outputs(images[i : i + 1]) for i in range(len(images))]
        latents = np.concatenate([one["latent"] for one in made])
        found = [_Made(latents, self._spec.stride, _SAME_LATENT * float(np.abs(latents).max()))]
        if "output" in made[0]:
            found.append(_Made(np.concatenate([one["output"] for one in made]), 1, _SAME * (high - low)))
        return found

    def _patterns(self) -> Floats:
        """Return three noisy images of full contrast, fine to coarse, float32 ``[3, side, side, C]``."""
        shape = (2 * self._before, 2 * self._before, self._takes.shape[2])
        patterns = to_unit(golden_inputs(Input(shape=shape, dtype="uint8", value_range=(0.0, 1.0), color=None), 0))[1:]
        levels = golden_levels(len(patterns))[:, None, None, None]
        return patterns + levels * np.random.default_rng(0).standard_normal(patterns.shape, np.float32)

    def _restored(self, images: Floats) -> Floats:
        levels = golden_levels(len(images)) if self._noisy else None
        parts = [slice(i, i + 1) for i in range(len(images))]
        return np.concatenate([self._runtime.restore(images[p], None if levels is None else levels[p]) for p in parts])


def _window(made: _Made, begin: int, side: int) -> Floats:
    first, last = begin // made.stride, (begin + side) // made.stride
    return made.values[:, first:last, first:last]


def _sizes(multiple: int) -> list[tuple[int, int]]:
    """Return the smallest size of this multiple, and one whose sides have no larger power of two as factor."""
    odd = max(3, MAX_MULTIPLE // multiple + 1)
    return [(multiple, multiple), (multiple * odd, multiple * (odd + 2))]


def _powers(first: int) -> list[int]:
    """Return the powers of two from ``first`` to ``MAX_MULTIPLE``."""
    return [first << i for i in range(MAX_MULTIPLE.bit_length()) if first << i <= MAX_MULTIPLE]

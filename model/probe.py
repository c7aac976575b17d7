"""Measure what a fully convolutional model needs of an image, by trying.

Two numbers describe it: the multiple that sides are padded to, and the reach, which is the radius of the receptive
field as far as it matters. They are measured because the graph's theoretical field is usually far larger.
"""

from collections.abc import Sequence

import numpy as np

from lake.core.errors import BundleError
from model.golden import golden_inputs, golden_levels
from model.pixels import Floats, to_unit
from model.runtime.executor import ModelError
from model.runtime.runtime import Runtime
from model.spec import MAX_MULTIPLE, MAX_REACH, Input

_BEFORE = MAX_REACH + MAX_MULTIPLE  # pixels before the window that is compared
_SIDE = 2 * _BEFORE
_STEP = 8  # pixels by which the reach is increased
_FEW_SIZES = 32  # smallest multiple of a model that is compiled for each size: it bounds the number of sizes
_SAME = 0.25 / 255  # largest difference, as a fraction of the value range: a quarter of an 8-bit step


class Probe:
    """Tries a model on images of several sizes.

    Args:
      runtime: a model whose description says ``any_size``, with a ``multiple`` of 1.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._takes = runtime, runtime.spec.input
        self._noisy = runtime.spec.input.noise is not None

    def multiple_and_reach(self) -> tuple[int, int]:
        """Measure ``multiple`` and ``reach`` of ``model.spec.Input``.

        Returns:
          Both in pixels. The reach is ``MAX_REACH`` if the model sees as far or further.

        Raises:
          BundleError: for no sides does the output have the shape of the input.
        """
        fitting = 1 << self._fitting([_sizes(power) for power in _powers(1)])
        step = max(_STEP, fitting)
        images = self._patterns()
        # The whole image is computed once; crops of it are compared with this result.
        whole = self._restored(images)

        def same(reach: int, shift: int) -> bool:
            """Whether a crop with a margin of ``reach``, and ``shift`` more before it, gives what the whole does."""
            first, last = _BEFORE - reach - shift, _BEFORE + step + reach
            part = self._restored(images[:, first:last, first:last])
            difference = _window(part, _BEFORE - first, step) - _window(whole, _BEFORE, step)
            low, high = self._runtime.spec.output_range
            return bool(np.abs(difference).max() < _SAME * (high - low))

        reach = next((reach for reach in range(step, MAX_REACH + 1, step) if same(reach, 0)), MAX_REACH)
        # The output may have the right shape and still depend on where the crop begins: strided layers sample a grid,
        # and a crop that begins beside it gives something else.
        multiple = next((shift for shift in _powers(fitting) if same(reach, shift)), fitting)
        if self._runtime.size_by_size:
            multiple = max(multiple, _FEW_SIZES)
        # Rounded up to the multiple, because tiles begin on that grid.
        return multiple, -(-reach // multiple) * multiple

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
        raise BundleError(
            "its output does not have its input's shape; without --latent only a model that gives images of its "
            "input's size can be bundled"
        ) from problem

    def _keeps_shape(self, height: int, width: int) -> bool:
        image = np.full((1, height, width, self._takes.shape[2]), 0.5, np.float32)
        return self._restored(image).shape == image.shape

    def _patterns(self) -> Floats:
        """Return three noisy images of full contrast, fine to coarse, float32 ``[3, side, side, C]``."""
        shape = (_SIDE, _SIDE, self._takes.shape[2])
        patterns = to_unit(golden_inputs(Input(shape=shape, dtype="uint8", value_range=(0.0, 1.0), color=None), 0))[1:]
        levels = golden_levels(len(patterns))[:, None, None, None]
        return patterns + levels * np.random.default_rng(0).standard_normal(patterns.shape, np.float32)

    def _restored(self, images: Floats) -> Floats:
        levels = golden_levels(len(images)) if self._noisy else None
        parts = [slice(i, i + 1) for i in range(len(images))]
        return np.concatenate([self._runtime.restore(images[p], None if levels is None else levels[p]) for p in parts])


def _window(images: Floats, begin: int, side: int) -> Floats:
    return images[:, begin : begin + side, begin : begin + side]


def _sizes(multiple: int) -> list[tuple[int, int]]:
    """Return the smallest size of this multiple, and one whose sides have no larger power of two as factor."""
    odd = max(3, MAX_MULTIPLE // multiple + 1)
    return [(multiple, multiple), (multiple * odd, multiple * (odd + 2))]


def _powers(first: int) -> list[int]:
    """Return the powers of two from ``first`` to ``MAX_MULTIPLE``."""
    return [first << i for i in range(MAX_MULTIPLE.bit_length()) if first << i <= MAX_MULTIPLE]

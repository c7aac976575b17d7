"""What images of any size need for a model, found by trying: sides that fit, and how far one pixel reaches."""

from collections.abc import Sequence

import numpy as np

from model.backend import tensorflow
from model.golden import golden_inputs, golden_levels
from model.pixels import Floats, unit
from model.runtime import Runtime
from model.spec import MAX_MULTIPLE, MAX_REACH, Input
from pipeline.errors import BundleError

_BEFORE = MAX_REACH + MAX_MULTIPLE  # pixels before the place that is looked at
_SIDE = 2 * _BEFORE
_STEP = 8  # of the reach
_FEW_SIZES = 32  # a multiple for models that have to be traced for every size
_SAME = 0.25 / 255  # of the value range: a quarter of a step of 8 bits


class Probe:
    """Tries a model that takes any size.

    Args:
      runtime: of a spec that says ``any_size``, with a ``multiple`` of 1.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._takes = runtime, runtime.spec.input
        self._noisy = runtime.spec.input.noise is not None

    def multiple_and_reach(self) -> tuple[int, int]:
        """``multiple`` and ``reach`` of ``Input``; the reach is ``MAX_REACH`` where the model sees as far or further.

        Raises:
          BundleError: no sides were found for which the output has the input's shape.
        """
        fitting = 1 << self._fitting([_sizes(power) for power in _powers(1)])
        step = max(_STEP, fitting)
        images = self._patterns()
        whole = self._restored(images)

        def same(reach: int, shift: int) -> bool:
            """A part with ``reach`` pixels around gives what the whole does; ``shift`` more come before."""
            first, last = _BEFORE - reach - shift, _BEFORE + step + reach
            part = self._restored(images[:, first:last, first:last])
            difference = _window(part, _BEFORE - first, step) - _window(whole, _BEFORE, step)
            low, high = self._takes.value_range
            return bool(np.abs(difference).max() < _SAME * (high - low))

        reach = next((reach for reach in range(step, MAX_REACH + 1, step) if same(reach, 0)), MAX_REACH)
        # A size that fits may still move the grid of a layer with strides. Then a shifted part gives something else.
        multiple = next((shift for shift in _powers(fitting) if same(reach, shift)), fitting)
        if self._runtime.size_by_size:
            multiple = max(multiple, _FEW_SIZES)
        return multiple, -(-reach // multiple) * multiple

    def check_shape(self) -> None:
        """See that a model of fixed size puts out what it takes.

        Raises:
          BundleError: its output has another shape.
        """
        height, width, _ = self._takes.shape
        self._fitting([[(height, width)]])

    def _fitting(self, choices: Sequence[Sequence[tuple[int, int]]]) -> int:
        """Which of some choices is the first whose sizes all come out as they went in."""
        problem: Exception | None = None
        for i, sizes in enumerate(choices):
            try:
                if all(self._comes_out(*size) for size in sizes):
                    return i
            except (ValueError, tensorflow().errors.OpError) as error:
                problem = error
        raise BundleError(
            "its output does not have its input's shape; without --latent only a model that gives images of its "
            "input's size can be bundled"
        ) from problem

    def _comes_out(self, height: int, width: int) -> bool:
        image = np.full((1, height, width, self._takes.shape[2]), 0.5, np.float32)
        return self._restored(image).shape == image.shape

    def _patterns(self) -> Floats:
        """Three images of full contrast, fine to coarse, each with its noise, float32 [3, side, side, C]."""
        shape = (_SIDE, _SIDE, self._takes.shape[2])
        patterns = unit(golden_inputs(Input(shape=shape, dtype="uint8", value_range=(0.0, 1.0), color=None), 0))[1:]
        levels = golden_levels(len(patterns))[:, None, None, None]
        return patterns + levels * np.random.default_rng(0).standard_normal(patterns.shape, np.float32)

    def _restored(self, images: Floats) -> Floats:
        levels = golden_levels(len(images)) if self._noisy else None
        parts = [slice(i, i + 1) for i in range(len(images))]
        return np.concatenate([self._runtime.restore(images[p], None if levels is None else levels[p]) for p in parts])


def _window(images: Floats, begin: int, side: int) -> Floats:
    return images[:, begin : begin + side, begin : begin + side]


def _sizes(multiple: int) -> list[tuple[int, int]]:
    """The smallest image of these sides, and one whose sides are multiples of nothing larger."""
    odd = max(3, MAX_MULTIPLE // multiple + 1)
    return [(multiple, multiple), (multiple * odd, multiple * (odd + 2))]


def _powers(first: int) -> list[int]:
    """Powers of two from the first, one itself, to ``MAX_MULTIPLE``."""
    return [first << i for i in range(MAX_MULTIPLE.bit_length()) if first << i <= MAX_MULTIPLE]

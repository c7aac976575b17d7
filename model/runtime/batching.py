"""How a model's functions are called: padded, in parts where memory is short, and without the rows they fail for."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from math import isqrt, prod
from typing import Any, TypeAlias, TypeVar

import numpy as np

from lake.core.stopwatch import spent_on
from model.input_spec import Shape
from model.pixels import Floats, Pixels
from model.runtime.executor import Compiled, Executor, ModelError
from model.runtime.few_rows import FewRows
from model.spec import Spec

_T = TypeVar("_T")
Failed: TypeAlias = dict[int, str]  # row -> why the model fails for it
Mapped: TypeAlias = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]  # map, or what does the same

_LOG = logging.getLogger(__name__)
_MAX_COMPILED = 32  # functions that are kept
_IN_CACHE = 1 << 16  # pixels of a call
_SAME_BITS = 16  # rows of a call: with fewer, some kernels take another way, and some with no multiple of it


class BatchedCalls:
    """Calls the functions of a model; thread-safe.

    A function is compiled for one number of rows, ``batch_size``, and fewer are padded, so that the bits of a row do
    not depend on how many came with it. Where they do not depend on it anyway, small calls have functions of their own.
    A model of any size is compiled for any number. Where functions come compiled for any number and the bits do not
    depend on it, rows are padded to a multiple of 16: some operations compute in vectors of up to 16 numbers, and what
    is left over in another way. There a call has as many rows as suit the processor's cache, and not a whole batch.

    Where memory runs out, the rows of a call are halved for good. Where the model raises another error, the rows that
    cause it are found: each of some parts is called without the others, then each row of those that fail. A part has
    the square root of the rows, so a batch costs three times itself at the worst, and two more sizes are compiled. All
    other rows are then computed together again, as if those had never been there.
    """

    def __init__(self, executor: Executor, spec: Spec) -> None:
        self.size_by_size = False  # images of each size have a function of their own
        self.any_rows = executor.any_rows  # as of the executor, unless trying shows that it is not so
        self._spec, self._any_size = spec, spec.input.any_size
        self._executor = executor
        self._lock = threading.Lock()
        self._few_rows = FewRows()
        self._functions: dict[tuple[str, str, int | None, Shape], Compiled] = {}
        self._most: int | None = None if self._any_size else spec.batch_size  # rows, or pixels of any size, of a call

    @property
    def compiled(self) -> bool:
        """As of the executor."""
        return self._executor.compiled

    @property
    def _in_cache(self) -> int:
        """Rows whose activations a core's cache about holds: calls of more are no faster, and take more memory."""
        # Layers of vectors have more weights than activations, which are read once for each call.
        if self._spec.numeric:
            return self._spec.batch_size
        return max(_SAME_BITS, _IN_CACHE // prod(self._spec.input.shape[:2]) // _SAME_BITS * _SAME_BITS)

    @property
    def _few(self) -> bool:
        """Whether a call may have as few rows as there are."""
        return self.compiled and self.any_rows

    def run(self, name: str, failed: Failed | None, *arrays: Pixels) -> list[Floats]:
        """What a function gives for n rows, each float32 [n, ...].

        Args:
          name: of a function that an executor compiles.
          failed: receives the rows that the model fails for; their results are NaN.
          arrays: what the function takes, [n, ...] each.

        Raises:
          ModelError: the model fails, and ``failed`` is None.
        """
        n = len(arrays[0])
        if not n:
            return self._missing(name, arrays)
        size = self._size(name, arrays)
        with spent_on("model"):
            parts = in_parts(lambda part, found: self._part(name, found, size, _cut(arrays, part)), n, size, failed)
        return parts[0] if len(parts) == 1 else [np.concatenate(some) for some in zip(*parts, strict=True)]

    def _part(self, name: str, failed: Failed | None, size: int, arrays: Sequence[Pixels]) -> list[Floats]:
        """What a function gives for as many rows as one call takes, or fewer."""
        if self._any_size:
            size = len(arrays[0])  # nothing is padded
        try:
            return self._call(name, size, arrays)
        except ModelError as error:
            alone, why = self._culprits(error, name, size, arrays, failed is not None), error.reason
        if not alone or failed is None:  # it is the size that fails
            self._halve(size, self._pixels(name, arrays[0]), why)
            return self.run(name, failed, *arrays)
        return self._without(alone, name, failed, arrays)

    def _culprits(self, error: ModelError, name: str, size: int, arrays: Sequence[Pixels], wanted: bool) -> Failed:
        """The rows that a call failed for; none where fewer rows at once may help."""
        if size > 1 and error.out_of_memory:
            return {}
        if not wanted:
            raise error
        return self._alone(name, size, arrays) if size > 1 else {0: error.reason}

    def _without(self, alone: Failed, name: str, failed: Failed, arrays: Sequence[Pixels]) -> list[Floats]:
        """What a function gives for the other rows, as if they had come without those that fail."""
        failed.update(alone)
        rest = np.delete(np.arange(len(arrays[0])), list(alone))
        found: Failed = {}
        results = self._missing(name, arrays)
        for result, values in zip(results, self.run(name, found, *(array[rest] for array in arrays)), strict=True):
            result[rest] = values
        failed.update({int(rest[row]): why for row, why in found.items()})
        return results

    def _alone(self, name: str, size: int, arrays: Sequence[Pixels]) -> Failed:
        """The rows that fail by themselves."""
        n, length = len(arrays[0]), size
        suspects = {0: ""}  # first row of each part that fails
        for step in (isqrt(size), 1):
            starts = [i for start in suspects for i in range(start, min(start + length, n), step)]
            found = ((i, self._problem(name, step, _cut(arrays, slice(i, i + step)))) for i in starts)
            suspects, length = {i: problem for i, problem in found if problem}, step
        return suspects

    def _problem(self, name: str, size: int, arrays: Sequence[Pixels]) -> str | None:
        try:
            self._call(name, size, arrays)
        except ModelError as error:
            return error.reason
        return None

    def _call(self, name: str, size: int, arrays: Sequence[Pixels]) -> list[Floats]:
        n, function = len(arrays[0]), self._function(name, size, arrays[0])
        outputs = function(*(arrays if self._any_size else (_padded(array, size) for array in arrays)))
        return [output[:n] for output in outputs]

    def _size(self, name: str, arrays: Sequence[Pixels]) -> int:
        """Rows of one call."""
        most, n = self._most, len(arrays[0])
        if self._any_size:
            return n if most is None else min(n, max(1, most // self._pixels(name, arrays[0])))
        assert most is not None
        if self._few:
            return min(most, self._in_cache, -(-n // _SAME_BITS) * _SAME_BITS)
        if not self.any_rows:
            return most
        return self._few_rows.size((name, arrays[0].dtype), n, most, lambda size: self._call(name, size, arrays))

    def _pixels(self, name: str, array: Pixels) -> int:
        """Of the image of one row, where images have any size."""
        return prod(array.shape[1:3]) * (self._spec.stride**2 if name == "decode" else 1)

    def _halve(self, size: int, pixels: int, why: str) -> None:
        """Let calls be half of what one was that failed, unless they are so already."""
        of_one, unit = (pixels, "pixels") if self._any_size else (1, "records")
        now = size * of_one // 2
        with self._lock:
            if self._most is not None and self._most <= now:
                return
            self._most = now
        same = self.any_rows and now >= _SAME_BITS
        bits = "" if same else "; the last bits of what it gives may differ"
        _LOG.warning(
            "the model fails for %d %s at once, and is given %d from now on%s: %s", size * of_one, unit, now, bits, why
        )

    def _missing(self, name: str, arrays: Sequence[Pixels]) -> list[Floats]:
        """Results that are NaN."""
        latent, image = self._shapes(name, arrays[0])
        shapes: dict[str, list[Shape]] = {
            "encode": [latent],
            "encode_variance": [latent, latent],
            "encode_all": [latent, *((one.dimension,) for one in self._spec.further)],
            "reconstruct": [latent, image, ()],
            "decode": [image],
            "restore": [image],
        }
        return [np.full((len(arrays[0]), *shape), np.nan, np.float32) for shape in shapes[name]]

    def _shapes(self, name: str, array: Pixels) -> tuple[Shape, Shape]:
        """The shapes of the latent and of the image of one row."""
        takes, latent = self._spec.input, self._spec.latent
        if not self._any_size or latent is None:
            return (self._spec.dimension,), takes.shape if latent else array.shape[1:]
        stride = self._spec.stride
        h, w = (side // (1 if name == "decode" else stride) for side in array.shape[1:3])
        return (h, w, latent.shape[2]), (h * stride, w * stride, takes.shape[2])

    def _function(self, name: str, size: int, array: Pixels) -> Compiled:
        if self.compiled:
            return self._compiled(name, array.dtype.name, None, ())
        if not self._any_size:
            return self._compiled(name, array.dtype.name, size, ())
        if not self.size_by_size:
            try:
                return self._compiled(name, array.dtype.name, None, ())
            except TypeError:  # a layer decides something by the sides, as UpSampling2D does to interpolate
                self.size_by_size = True
        return self._compiled(name, array.dtype.name, None, array.shape[1:3])

    def _compiled(self, *key: Any) -> Compiled:
        function = self._functions.get(key)
        if function is None:
            with self._lock:
                function = self._functions.get(key) or self._executor.compile(*key)
                self._functions[key] = function
                if len(self._functions) > _MAX_COMPILED:
                    del self._functions[next(iter(self._functions))]
        return function


def in_parts(
    run: Callable[[slice, Failed | None], _T], n: int, step: int, failed: Failed | None, mapped: Mapped = map
) -> list[_T]:
    """What ``run`` gives for each slice of ``step`` of n rows; it counts failed rows from the slice's start.

    Args:
      run: function of a slice and of what receives the rows that it fails for.
      n: number of rows.
      step: rows of a slice.
      failed: receives the failed rows; None to raise what ``run`` raises.
      mapped: like ``map``, perhaps on several threads.
    """

    def part(start: int) -> tuple[_T, Failed]:
        found: Failed = {}
        return run(slice(start, start + step), None if failed is None else found), found

    results, starts = [], range(0, n, step)
    for start, (result, found) in zip(starts, mapped(part, starts), strict=True):
        results.append(result)
        if failed is not None:
            failed.update({start + row: why for row, why in found.items()})
    return results


def _cut(arrays: Iterable[Pixels], part: slice) -> list[Pixels]:
    return [array[part] for array in arrays]


def _padded(rows: Pixels, size: int) -> Pixels:
    """The rows, and the first one again up to ``size``: nothing that the model may fail for is added."""
    if len(rows) == size:
        return rows
    padded = np.empty((size, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)], padded[len(rows) :] = rows, rows[0]
    return padded

"""Functions that come compiled each by itself: whether they agree, and whether bits depend on the number of rows."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from lake.core.records import Array
from model.golden import golden_levels
from model.pixels import Floats, Pixels

if TYPE_CHECKING:
    from model.runtime.runtime import Runtime

_TRIED = 64  # rows of a batch in which the first ones must have the bits that they have alone
_ODD = (5, 7)  # sides of images that are tried too, in multiples of what the model takes


def each_alone(runtime: "Runtime", golden: Mapping[str, Pixels]) -> Iterator[tuple[str, Floats]]:
    """Golden outputs, with their names, by what ``Runtime.outputs`` does not call, or takes another one from.

    Args:
      runtime: the model.
      golden: its golden inputs and outputs.
    """
    functions, condition = runtime.spec.functions, golden.get("condition")
    if runtime.spec.latent is None:
        return

    def computed(function: Callable[..., Floats], rows: Pixels) -> Floats:
        parts = [slice(i, i + runtime.batch_size) for i in range(0, len(rows), runtime.batch_size)]
        return np.concatenate([function(rows[part], condition=cut(condition, part)) for part in parts])

    if runtime.spec.further:
        yield "latent", computed(lambda rows, condition: runtime.encode_all(rows, None, condition)[0], golden["input"])
    if "reconstruct" in functions:
        yield "latent", computed(runtime.encode, golden["input"])
    if "reconstruct" in functions and "decode" in functions:
        yield "output", computed(runtime.decode, golden["latent"].astype(np.float32))


def same_bits(runtime: "Runtime", inputs: Pixels, condition: Pixels | None) -> bool:
    """Whether rows get the same bits alone as in a batch, also images of odd sides where any are taken.

    Args:
      runtime: the model.
      inputs: golden inputs.
      condition: their conditions; None where the model is not conditional.
    """
    takes = runtime.spec.input
    if not takes.any_size:
        # Large images come in small batches, and take long.
        count = max(1, min(_TRIED, runtime.batch_size // 8))
        many = np.resize(inputs, (count, *inputs.shape[1:]))
        told = None if condition is None else np.resize(condition, (count, *condition.shape[1:]))
        return _as_alone(runtime, many, len(inputs), told)
    sides = [takes.multiple * n for n in _ODD]
    return all(_as_alone(runtime, part, len(part)) for part in (inputs, inputs[:, : sides[0], : sides[1]]))


def _as_alone(runtime: "Runtime", rows: Pixels, distinct: int, condition: Pixels | None = None) -> bool:
    """Whether what the model gives for rows is what it gives for the first ones, each alone."""
    levels = golden_levels(len(rows))
    together = runtime.outputs(rows, condition, levels)
    each = [slice(i, i + 1) for i in range(min(distinct, len(rows)))]
    alone = [runtime.outputs(rows[one], cut(condition, one), levels[one]) for one in each]
    return all(np.array_equal(np.concatenate([one[k] for one in alone]), v[:distinct]) for k, v in together.items())


def cut(values: Array | None, part: slice) -> Array | None:
    """What a part of the rows is given besides; None where that is nothing."""
    return None if values is None else values[part]

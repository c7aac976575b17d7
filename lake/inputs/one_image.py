"""Tell whether ``.npy`` files hold one image each, or a stack of them: their names are the same."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from math import prod

from lake.core.errors import LatentlakeError
from lake.core.records import Shard
from lake.formats.array.members import members
from lake.formats.common.pixels import channels_first
from lake.formats.common.shard_errors import as_shard_error
from lake.formats.reader import ColumnSelection
from lake.images.types import PixelLayout
from lake.inputs.discover import Found

STACKS, ONE_EACH = "array", "npy"  # names of formats
_LOOKED_AT = 10  # files that are tried, since some may be damaged
_CHANNELS = range(1, 5)


def told_apart(found: Found, selection: ColumnSelection) -> Found:
    """An input of arrays as one of single images or vectors, where the first readable array can only be one.

    Args:
      found: an input whose format was told by its names.
      selection: what the user and the model ask for.
    """
    if found.format != STACKS or not all(shard.path.lower().endswith(".npy") for shard in found.shards):
        return found
    for shard in islice(found.shards, _LOOKED_AT):
        if (shape := _shape(shard)) is not None:
            return replace(found, format=ONE_EACH) if _is_one(shape, selection) else found
    return found


def _shape(shard: Shard) -> Sequence[int] | None:
    try:
        with as_shard_error(shard), ExitStack() as stack:
            return members(shard, stack)["image"]().layout.shape
    except LatentlakeError:
        return None  # for the shard's own unit to say


def _is_one(shape: Sequence[int], selection: ColumnSelection) -> bool:
    """Whether an array is one record. What may be a stack is one.

    >>> fixed, any_size = ColumnSelection(shape=(28, 28, 3)), ColumnSelection()
    >>> _is_one((28, 28, 3), fixed), _is_one((10, 28, 28), fixed), _is_one((10, 28, 28, 3), fixed)
    (True, False, False)
    >>> _is_one((480, 640), any_size), _is_one((480, 640, 3), any_size), _is_one((10, 480, 640), any_size)
    (True, True, False)
    """
    if selection.numeric:
        return len(shape) == 1
    sides, first = selection.shape, selection.layout in (PixelLayout.CHW, PixelLayout.AUTO)
    if len(shape) == 2:
        return sides is None or shape[1] != prod(sides)
    if len(shape) != 3:
        return False
    if sides and tuple(shape[1:]) == sides[:2]:  # a stack of grey images, unless the user speaks of channels first
        return first and shape[0] == sides[2] > 1
    first = selection.layout == PixelLayout.CHW or (first and channels_first(shape))
    return (shape[0] if first else shape[2]) in {*_CHANNELS, *(sides[2:] if sides else ())}

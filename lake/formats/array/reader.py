"""Arrays of pixels or vectors: ``.npy``, ``.npz``, and IDX as MNIST is distributed, plain or gzip.

Rows ``[n, H, W]`` or ``[n, H, W, C]`` are pixels, or ``[n, C, H, W]`` if the selection says so: uint8, uint16, or
floating, which becomes float32; other integers and booleans become uint8. Rows ``[n, d]`` are vectors of any number
type, which become float32. Arrays are chosen by the selection, or else by these names:

- image: the ``.npz`` member ``x``, ``images``, ``image``, ``x_train`` or ``arr_0``, or the only one with rows.
- key: the row's number; a member of text or integers if the selection names one.
- carried: ``label``, which is the member ``y…`` of an image ``x…``, or else ``label``, ``labels``, ``y`` or
  ``y_train``; for MNIST's ``…-images-idx3-ubyte`` the file ``…-labels-idx1-ubyte`` beside it. Any other member by its
  name.
- ``Records.source``: every other array that has one row for each image, by name, ``[n, ...]`` as it is stored.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from lake.core.errors import InputError, ShardError, UnreadableError
from lake.core.records import Array, Records, Shard, Unit
from lake.formats.array import idx
from lake.formats.array.choose import (
    carry_of,
    described,
    image_of,
    key_of,
    layout_of,
    misfit_of,
    problem_of,
    source_of,
    type_of,
)
from lake.formats.array.members import (
    ArrayMember,
    Members,
    beside,
    has_rows,
    is_packed,
    members,
)
from lake.formats.common import npy
from lake.formats.common.array_rows import RowLayout
from lake.formats.common.pixels import payload_of
from lake.formats.common.shard_errors import as_planned
from lake.formats.common.text import text
from lake.formats.reader import BATCH_BYTES, ColumnSelection, Reader, RecordSchema
from lake.images.types import PixelLayout
from lake.storage import Stat, store_for

_LABEL_FILE = re.compile(r"(^|[-_.])labels?\.np[yz]$")
_STACK = 4  # sides of an array of images that have channels
_PART = 8 << 20  # bytes of rows in one independently readable part


class ArrayReader(Reader):
    """Reads arrays. A plain array can be split at any row; a compressed one is read from its start."""

    suffixes = (".npy", ".npz", ".idx3-ubyte")

    def recognises(self, name: str, head: bytes) -> bool:
        """By suffix, MNIST's names or content. A file of labels is no shard beside those of images."""
        name = name.lower().rpartition("/")[2]
        if not head and _LABEL_FILE.search(name):
            return False
        zipped = head[:2] == b"PK" and head[30 : 30 + int.from_bytes(head[26:28], "little")].endswith(b".npy")
        return name.endswith(self.suffixes) or head.startswith(npy.MAGIC) or zipped or idx.is_images(name, head)

    def settle(self, shard: Shard, selection: ColumnSelection) -> RecordSchema:
        """Choose arrays by their headers. ``numeric`` is always true, since arrays hold numbers."""
        with ExitStack() as stack:
            found = members(shard, stack)
            image = image_of(shard, found, selection)
            layout = found[image]().layout
            problem = problem_of(layout, selection.max_record_bytes) or misfit_of(layout, selection)
            if problem:
                raise InputError(f"{shard.path}: array {image!r} {problem}; name another with --image")
            columns = selection.resolved(
                image=image,
                key=key_of(shard, found, layout, selection),
                carry=carry_of(shard, found, image, layout, selection),
                length=layout.shape[1] if len(layout.shape) == 2 else None,
            )
            return replace(columns, numeric=True, layout=layout_of(layout, selection))

    def identity(self, stat: Stat) -> str:
        """The file's identity, joined with that of MNIST's label file beside it, which is read too."""
        folder, slash, name = stat.uri.rpartition("/")
        found = (store_for(stat.uri).stat(folder + slash + other) for other in idx.labels_of(name))
        return "+".join([stat.identity, *(labels.identity for labels in found if labels is not None)])

    def rows(self, shard: Shard) -> Sequence[int] | None:
        """Parts of equal size. Their number of rows is a power of two, so that batches rarely straddle their edges."""
        if is_packed(shard):
            return None
        with ExitStack() as stack:
            layout = members(shard, stack)["image"]().layout
        part = 1 << max(0, (_PART // max(1, layout.row_bytes)).bit_length() - 1)
        whole, rest = divmod(layout.rows, part)
        return (part,) * whole + (rest,) * (rest > 0)

    def count(self, shard: Shard) -> int | None:
        """Rows of the array of images, by its header; of an archive of that with one of the usual names."""
        with ExitStack() as stack:
            found = members(shard, stack)
            return found[image_of(shard, found, ColumnSelection())]().layout.rows

    def read(self, unit: Unit, columns: RecordSchema, size: int, room: int = BATCH_BYTES) -> Iterator[Records]:
        """Records of the rows ``[unit.start, unit.stop)``.

        An array has no framing that would tell where damage begins. With ``salvage`` an array is therefore read
        completely or not at all, for which a compressed array is read twice.
        """
        (shard,) = unit.shards
        with as_planned(shard, *beside(shard)), ExitStack() as stack:
            found = members(shard, stack, proven=columns.salvage)
            image = _opened(shard, found, columns.image)
            problem = problem_of(image.layout, columns.max_record_bytes)
            if problem:
                raise ShardError(shard.path, f"array {columns.image!r} {problem}")
            arrays = _arrays(shard, found, columns, image)
            row = sum(member.layout.row_bytes for member in arrays.opened.values())
            yield from _records(unit, columns, min(size, max(1, room // row)), arrays)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrays:
    """The arrays that are read of one shard.

    Attributes:
      opened: by name, the image first.
      columns: names of the carried columns, followed by the key if it is an array.
      others: names of the arrays in ``Records.source``.
    """

    opened: Mapping[str, ArrayMember]
    columns: Sequence[str]
    others: Sequence[str]


def _arrays(shard: Shard, found: Members, columns: RecordSchema, image: ArrayMember) -> _Arrays:
    chosen = dict(_columns(shard, found, columns, image.layout))
    others = dict(_others(shard, found, columns, image.layout)) if columns.whole else {}
    names = [source_of(found, columns.image, name) for name in columns.carry.names]
    return _Arrays(
        opened={columns.image: image} | others | chosen,
        columns=names if columns.key is None else [*names, columns.key],
        others=[*others],
    )


def _others(
    shard: Shard, found: Members, columns: RecordSchema, images: RowLayout
) -> Iterator[tuple[str, ArrayMember]]:
    """Every other array that has one row for each image, by name."""
    for name, opened in found.items():
        if name != columns.image and has_rows((member := opened()).layout, images):
            if member.layout.row_bytes > columns.max_record_bytes:
                problem = f"has rows of {member.layout.row_bytes} bytes; the most is {columns.max_record_bytes}"
                raise ShardError(shard.path, f"array {name!r} {problem}")
            yield name, member


def _columns(
    shard: Shard, found: Members, columns: RecordSchema, images: RowLayout
) -> Iterator[tuple[str, ArrayMember]]:
    """The arrays of the carried columns and of the key by name, with the types that the first shard had."""
    for field in columns.carry:
        name = source_of(found, columns.image, field.name)
        member = _opened(shard, found, name)
        if type_of(member.layout) != field.type or member.layout.rows != images.rows:
            raise ShardError(
                member.shard.path,
                f"column {field.name!r} is {described(member.layout)}, not {images.rows} values of {field.type}",
            )
        yield name, member
    if columns.key is not None:
        member = _opened(shard, found, columns.key)
        if type_of(member.layout) is None or member.layout.rows != images.rows:
            raise ShardError(shard.path, f"array {columns.key!r} is {described(member.layout)}, not {images.rows} keys")
        yield columns.key, member


def _opened(shard: Shard, found: Members, name: str) -> ArrayMember:
    if name not in found:
        raise ShardError(shard.path, f"no array {name!r} as in the first shard; there are: {', '.join(found)}")
    return found[name]()


def _records(unit: Unit, columns: RecordSchema, size: int, arrays: _Arrays) -> Iterator[Records]:
    shard, rows = unit.shards[0], arrays.opened[columns.image].layout.rows
    stop = rows if unit.stop is None else unit.stop
    if not 0 <= unit.start <= stop <= rows:
        raise UnreadableError(shard.path, f"no rows {unit.start} to {stop}; it changed since it was planned")
    # All arrays advance together, so that one block of each is in memory.
    readers = [member.blocks(unit.start, stop, size) for member in arrays.opened.values()]
    for at, parts in zip(range(unit.start, stop, size), zip(*readers, strict=True), strict=True):
        blocks = dict(zip(arrays.opened, parts, strict=True))
        values = [_values(shard, blocks[name]) for name in arrays.columns]
        index = np.arange(at, at + len(parts[0]))
        images = blocks[columns.image]
        if columns.layout == PixelLayout.CHW and images.ndim == _STACK:
            images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        payload, faults = payload_of(images)
        yield Records(
            shard=shard.path,
            index=index,
            key=text(pa.array(index) if columns.key is None else values.pop()),
            payload=payload,
            faults=faults,
            carried=dict(zip(columns.carry.names, values, strict=True)),
            source={name: blocks[name] for name in arrays.others} if columns.whole else None,
        )


def _values(shard: Shard, rows: Array) -> pa.Array:
    native = np.ascontiguousarray(rows.reshape(-1), rows.dtype.newbyteorder("="))
    try:
        if native.dtype.kind in "US":  # from a NumPy array, Arrow would cut text at its first NUL
            return pa.array(native.tolist(), pa.string() if native.dtype.kind == "U" else pa.binary())
        return pa.array(native)
    except ValueError as error:  # surrogates or code points beyond Unicode
        raise ShardError(shard.path, f"text that is not Unicode: {error}") from error

"""Where a large shard is cut into slices, and the check that a slice holds what it was cut for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from lake.core.errors import ShardError, UnreadableError
from lake.core.records import Array, ByteRange, RawBatch, Shard, Unit
from lake.formats.common.shard_errors import reading
from lake.storage import Stat, store_for

SLICE_BYTES = 128 << 20  # of a slice, about
_MOST = 1 << 30  # bytes of an index; 30 million records


# Format, path, size and identity: what a giant shard is known by from one run to the next.
Giant: TypeAlias = tuple[str, str, int, str]


def giant(format: str, shard: Shard) -> Giant:
    """What a shard is known by from one run to the next.

    Args:
      format: of the shard.
      shard: the shard.
    """
    return format, shard.path, shard.size, shard.identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """Slices of one shard.

    Attributes:
      rows: the first row of each slice, and the number of all rows; () for a shard that is not cut.
      offsets: the first byte of each slice.
      index: name of the file beside the shard that says so; "" if the shard itself was looked through.
      index_identity: of that file.
    """

    rows: tuple[int, ...] = ()
    offsets: tuple[int, ...] = ()
    index: str = ""
    index_identity: str = ""

    def slices(self) -> Iterator[tuple[int, int, ByteRange]]:
        """First row, end, and bytes of each slice; none of a shard that is not cut.

        >>> [*Cuts().slices()]
        []
        >>> [(start, stop, of.end) for start, stop, of in Cuts(rows=(0, 3, 9), offsets=(0, 512)).slices()]
        [(0, 3, 512), (3, 9, None)]
        """
        if not self.offsets:
            return
        ends = (*self.offsets[1:], None)
        for (start, stop), begin, end in zip(pairwise(self.rows), self.offsets, ends, strict=True):
            yield start, stop, ByteRange(begin=begin, end=end, index=self.index)


class Edges:
    """Chooses where slices begin, among the places where records do, told one after the other.

    Slices are about equal in bytes. The first record that begins at or after the place of an equal division begins one,
    so where a shard is cut depends on its records alone.

    Args:
      size: bytes of the shard.

    Attributes:
      due: the offset from which on the next record begins a slice.

    >>> edges = Edges(3 * SLICE_BYTES)
    >>> for row, offset in enumerate(range(0, 3 * SLICE_BYTES, SLICE_BYTES // 2)):
    ...     edges.add(row, offset)
    >>> edges.cuts(6)
    Cuts(rows=(0, 2, 4, 6), offsets=(0, 134217728, 268435456), index='', index_identity='')
    """

    def __init__(self, size: int) -> None:
        self._size, self._count = size, max(1, round(size / SLICE_BYTES))
        self._rows, self._offsets = [0], [0]
        self.due = self._after(0)

    def add(self, row: int, offset: int) -> None:
        """A record begins at an offset; a hot loop may leave out those before ``due``."""
        if offset >= self.due:
            self._rows.append(row)
            self._offsets.append(offset)
            self.due = self._after(offset)

    def _after(self, offset: int) -> int:
        """The place of an equal division that follows an offset."""
        return -(-self._size * (offset * self._count // self._size + 1) // self._count)

    def cuts(self, rows: int) -> Cuts:
        """The slices, once all records were told.

        Args:
          rows: how many there were.
        """
        if len(self._offsets) < 2:
            return Cuts()
        return Cuts(rows=(*self._rows, rows), offsets=tuple(self._offsets))


def cuts_among(starts: Array, size: int) -> Cuts:
    """The slices of a shard all of whose records' offsets are known.

    Args:
      starts: offset of each record, int64 ``[n]``, ascending; the first is 0.
      size: bytes of the shard.
    """
    edges = Edges(size)
    while (row := int(np.searchsorted(starts, edges.due))) < len(starts):
        edges.add(row, int(starts[row]))
    return edges.cuts(len(starts))


def index_text(shard: Shard, index: Stat) -> bytes:
    """The content of a file beside a shard.

    Args:
      shard: for errors.
      index: the file.

    Raises:
      ShardError: it is too large.
      UnreadableError: the store failed.
    """
    if index.size > _MOST:
        raise ShardError(shard.path, f"its index has {index.size} bytes; at most {_MOST} are read")
    with reading(shard), store_for(index.uri).open(index.uri) as file:
        return file.read()


def as_cut(batches: Iterable[RawBatch], unit: Unit, *, salvage: bool) -> Iterator[RawBatch]:
    """Yield the batches of a unit. If it is a slice, compare their records with those that it was cut for.

    So the rows of a slice have the numbers that they have in the whole shard, or the slice fails. Damage after which
    reading stops, within a slice that was cut by an index, cannot be told from an index that is wrong, so none of it is
    kept.

    Args:
      batches: the batches of the unit.
      unit: the unit.
      salvage: whether they are read around damage. Otherwise the next attempt may do so.

    Raises:
      UnreadableError: there is another number of records, or with ``salvage`` damage where an index said that records
        are.
      ShardError: there is damage.
    """
    if unit.byte_range is None or unit.stop is None:
        yield from batches
        return
    found, index = 0, unit.byte_range.index
    try:
        for batch in batches:
            found += len(batch)
            yield batch
    except UnreadableError:
        raise
    except ShardError as error:
        if not index:
            raise
        at = "" if error.offset is None else f" at byte {error.offset}"
        why = f"its slices are those of {index}, which cannot be checked past that; remove {index}, or mend the shard"
        kind = UnreadableError if salvage else ShardError
        raise kind(error.shard, f"{error.problem}{at}; {why}") from error
    if found != unit.stop - unit.start:
        said = f"records {unit.start} to {unit.stop - 1} from byte {unit.byte_range.begin} on, and there are {found}"
        remedy = f"{index} is wrong; remove it" if index else "the shard was changed under its name and time; touch it"
        raise UnreadableError(unit.shards[0].path, f"it was cut for {said}; {remedy}, and run again")

"""Record batches of a shard: opened, checked against themselves, and cut into pieces of bounded size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from lake.core.errors import ShardError, UnreadableError
from lake.core.records import Shard
from lake.formats.arrow.messages import MessageStream
from lake.formats.arrow.row_bytes import row_bytes
from lake.formats.common.shard_errors import damage
from lake.formats.parquet import types
from lake.formats.parquet.pixel_columns import LINE, folded, pixel_columns, with_line
from lake.storage import store_for

_MOST = 64 << 30  # bytes of the rows of a shard that unpack to more than _TIMES its size
_TIMES = 100_000
_MOST_LOST = 256  # record batches that are read over, each from the first message on


class LostRows(NamedTuple):
    """A record batch that cannot be read.

    Attributes:
      num_rows: how many rows it has.
      problem: why.
    """

    num_rows: int
    problem: str


@dataclass(frozen=True, kw_only=True)
class OpenedStream:
    """An open Arrow stream or file.

    Attributes:
      shard: the file.
      stream: its bytes.
      schema: its columns, with Arrow's types.
    """

    shard: Shard
    stream: BinaryIO
    schema: pa.Schema

    @cached_property
    def columns(self) -> pa.Schema:
        """The columns that records are read from: those of ``schema``, or the columns of pixels as one."""
        return with_line(types.stored_schema(self.schema))

    def batches(self, columns: Sequence[str], size: int, room: int) -> Iterator[pa.RecordBatch]:
        """All rows in order, some columns of them.

        Args:
          columns: names of the columns to read, each of which is there once.
          size: the most rows of a batch.
          room: bytes at which a batch ends.

        Raises:
          ShardError: a record batch cannot be read, or contradicts itself; the text names it.
          UnreadableError: the store failed.
        """
        return (part for part in self.parts(columns, size, room, salvage=False) if not isinstance(part, LostRows))

    def parts(
        self, columns: Sequence[str], size: int, room: int, *, salvage: bool
    ) -> Iterator[pa.RecordBatch | LostRows]:
        """All rows in order, some columns of them, and what damage costs.

        Args:
          columns: as of ``batches``, and so are ``size``, ``room`` and what is raised.
          size: the most rows of a batch.
          room: bytes at which a batch ends.
          salvage: go on after a record batch that cannot be read, if its head says how many rows are lost.
        """
        pixels = pixel_columns(self.schema) if LINE in columns else []
        names = [*(name for name in columns if name != LINE or not pixels), *pixels]
        unpacked = 0
        for batch in self._checked({self.schema.get_field_index(name) for name in names}, salvage):
            if isinstance(batch, LostRows):
                yield batch
                continue
            for start in range(0, batch.num_rows, size):
                part = batch.slice(start, size)
                sizes = np.sum([row_bytes(column) for column in part.columns], axis=0)
                unpacked += int(sizes.sum())
                self._check(unpacked)
                yield from (folded(piece, pixels) if pixels else piece for piece in _pieces(part, sizes, room))

    def _checked(self, places: set[int], salvage: bool) -> Iterator[pa.RecordBatch | LostRows]:
        """Record batches that nothing contradicts. Arrow believes what they say of offsets and of dictionaries."""
        source, batches = self._opened(places, 0)
        rows = number = lost = 0
        while True:
            try:
                if (batch := self._next(batches)) is None:
                    return
            except UnreadableError:
                raise
            except ShardError as error:
                if not salvage or source.rows is None or lost == _MOST_LOST:
                    where = f"record batch {number}, from row {rows} on, and what follows cannot be read"
                    raise ShardError(self.shard.path, f"{where}: {error.problem}") from error
                batch = LostRows(source.rows, f"record batch {number} cannot be read: {error.problem}")
                # After a head that it refuses Arrow takes the wrong bytes for the next message.
                source, batches = self._opened(places, number + 1)
                lost += 1
            yield batch
            rows, number = rows + batch.num_rows, number + 1

    def _opened(self, places: set[int], passed: int) -> tuple[MessageStream, pa.RecordBatchReader]:
        """The messages, without the first record batches, and what Arrow reads of them."""
        options = pa.ipc.IpcReadOptions(included_fields=sorted(places), use_threads=False)
        source = MessageStream(self.stream, passed)
        with damage(self.shard):
            return source, pa.ipc.open_stream(source, options=options)

    def _next(self, batches: pa.RecordBatchReader) -> pa.RecordBatch | None:
        """The next record batch, checked; None after the last one."""
        with damage(self.shard):
            if (batch := next(batches, None)) is not None:
                for column in batch.columns:
                    _validate(column)
            return batch

    def _check(self, unpacked: int) -> None:
        """Refuse a shard whose rows would take hours to unpack from almost nothing."""
        if unpacked > max(_MOST, _TIMES * self.shard.size):
            problem = f"its rows unpack to more than {unpacked:,} bytes, from a file of {self.shard.size:,}"
            raise ShardError(self.shard.path, problem)


@contextmanager
def opened_stream(shard: Shard, *, sparse: bool = False) -> Iterator[OpenedStream]:
    """Open a shard.

    Args:
      shard: the file; errors inside the block name it.
      sparse: only the schema and a few rows are read.

    Raises:
      ShardError: its schema cannot be read.
      UnreadableError: the store failed.
    """
    with damage(shard), store_for(shard.uri).open(shard.uri, sparse=sparse) as stream:
        yield OpenedStream(shard=shard, stream=stream, schema=pa.ipc.open_stream(MessageStream(stream)).schema)


def _pieces(batch: pa.RecordBatch, sizes: np.ndarray, room: int) -> Iterator[pa.RecordBatch]:
    """A batch in parts that end with the row by which they reach ``room`` bytes."""
    at = 0
    while at < batch.num_rows:
        reached = np.flatnonzero(np.cumsum(sizes[at:]) >= room)
        count = int(reached[0]) + 1 if len(reached) else batch.num_rows - at
        yield batch.slice(at, count)
        at += count


def _validate(column: pa.Array) -> None:
    """Check a column against itself. Text that is not UTF-8 is no damage: its records are told by name later.

    Raises:
      pa.ArrowInvalid: an offset, a length or an index leads out of its buffer.
    """
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        column.view(_without_text(column.type)).validate(full=True)


def _without_text(kind: pa.DataType) -> pa.DataType:
    """A type of the same layout with bytes in the place of text."""
    if isinstance(kind, pa.BaseExtensionType):
        return _without_text(kind.storage_type)
    for is_text, other in _BYTES:
        if is_text(kind):
            return other
    if pa.types.is_struct(kind):
        return pa.struct([item.with_type(_without_text(item.type)) for item in kind])
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _without_text(kind.value_type), kind.ordered)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_without_text(kind.value_type)))
    return kind


_BYTES = (
    (pa.types.is_string, pa.binary()),
    (pa.types.is_large_string, pa.large_binary()),
    (pa.types.is_string_view, pa.binary_view()),
)

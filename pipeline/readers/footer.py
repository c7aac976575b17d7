"""Parquet files by their footers: opening one, its row groups, and whether it contradicts itself.

A footer has no checksum. What is checked here is what nothing else would notice.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from itertools import accumulate, pairwise
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ShardError, UnreadableError
from pipeline.readers.damage import damage
from pipeline.records import Shard, Unit
from pipeline.storage import store_for

_READ_AHEAD = 1 << 20  # bytes of each column that are held; without it a whole row group would be
_TAIL = 8  # bytes behind the footer: its length and the magic number
_STRING = b"\x18"  # in Thrift's compact protocol: the next field, a string


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An open file.

    Arrow does not read a null in a fixed-size list. It reads the same column as lists, nulls and all, from a file that
    it has not written, and casts them.

    file: as it is.
    plain: the same as of another writer; None where no column needs it.
    """

    file: pq.ParquetFile
    plain: pq.ParquetFile | None

    @property
    def schema(self) -> pa.Schema:
        """The columns, with Arrow's own types."""
        return self.file.schema_arrow

    @property
    def metadata(self) -> pq.FileMetaData:
        """What the footer says."""
        return self.file.metadata

    def batches(
        self, size: int, *, columns: list[str] | None, groups: list[int] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Rows of some row groups, or of all, in the file's order of columns.

        Args:
          size: rows of a batch, at most.
          columns: paths of those that are read, None for all.
          groups: numbers of the row groups.
        """
        paths = self.schema.names if columns is None else columns
        lists = [path for path in paths if self.plain and path in self.schema.names and _is_fixed(self.schema, path)]
        if not lists:
            return _read(self.file, size, columns, groups)
        others = [path for path in paths if path not in lists]
        parts = [_read(self.file, size, others, groups)] if others else []
        return map(self._joined, _in_step([*parts, _read(self.plain, size, lists, groups)]))

    def _joined(self, parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
        found = {name: values for part in parts for name, values in zip(part.schema.names, part.columns, strict=True)}
        names = [name for name in self.schema.names if name in found]
        arrays = [
            found[name].cast(self.schema.field(name).type) if name in parts[-1].schema.names else found[name]
            for name in names
        ]
        return pa.RecordBatch.from_arrays(arrays, names)


def _read(
    file: pq.ParquetFile, size: int, columns: list[str] | None, groups: list[int] | None
) -> Iterator[pa.RecordBatch]:
    yield from file.iter_batches(size, row_groups=groups, columns=columns, use_threads=False)


def _in_step(parts: Sequence[Iterator[pa.RecordBatch]]) -> Iterator[list[pa.RecordBatch]]:
    """The same rows of each part, for a column that comes in several chunks ends its batches early."""
    held: list[Any] = [next(part, None) for part in parts]
    while None not in held:
        count = min(batch.num_rows for batch in held)
        yield [batch.slice(0, count) for batch in held]
        rest = [batch.slice(count) for batch in held]
        held = [some if some.num_rows else next(part, None) for some, part in zip(rest, parts, strict=True)]
    if held != [None] * len(held):
        raise pa.ArrowInvalid("columns of different numbers of rows")


@contextmanager
def opened(shard: Shard, *, names: bool = False, sparse: bool = False) -> Iterator[Opened]:
    """An open file that verifies the checksums of pages and reads only what is asked for.

    Args:
      shard: what is opened; errors in the block name it.
      names: make sure of the columns' names too, for whoever does not know them beforehand.
      sparse: only the footer and few rows are read.

    Raises:
      ShardError: the footer cannot be read or contradicts itself.
      UnreadableError: the store failed.
    """
    with damage(shard), store_for(shard.uri).open(shard.uri, sparse=sparse) as stream:
        file = _file(stream)
        if names:
            _check_names(shard, file, stream)
        yield Opened(file=file, plain=None if sparse else _plain(file, stream))


def _file(stream: BinaryIO, **options: Any) -> pq.ParquetFile:
    options |= {"buffer_size": _READ_AHEAD, "pre_buffer": False, "page_checksum_verification": True}
    return pq.ParquetFile(stream, **options)


def _is_fixed(schema: pa.Schema, name: str) -> bool:
    return bool(pa.types.is_fixed_size_list(schema.field(name).type))


def _plain(file: pq.ParquetFile, stream: BinaryIO) -> pq.ParquetFile | None:
    """The file without Arrow's schema, which its footer has under a name; None where no column can be had by it."""
    names = file.schema_arrow.names
    if len({*names}) < len(names) or not any(_is_fixed(file.schema_arrow, name) for name in names):
        return None
    key = _framed("ARROW:schema") + _STRING
    footer = _footer(file, stream).replace(key, key.lower())
    tail = len(footer).to_bytes(4, "little") + b"PAR1"
    return _file(stream, metadata=pq.read_metadata(BytesIO(b"PAR1" + footer + tail)))


def _check_names(shard: Shard, file: pq.ParquetFile, stream: BinaryIO) -> None:
    """A footer has no checksum, but it has a column's names in the schema and once more in each row group."""
    footer = _footer(file, stream)
    names = {*file.schema_arrow.names, *(file.schema.column(at).name for at in range(len(file.schema)))}
    lone = sorted(name for name in names if footer.count(_framed(name)) <= file.metadata.num_row_groups)
    if lone and len(lone) < len(names):
        raise ShardError(shard.path, f"its footer has other names than {', '.join(lone)} in row groups; it is damaged")


def _footer(file: pq.ParquetFile, stream: BinaryIO) -> bytes:
    size = file.metadata.serialized_size
    stream.seek(-_TAIL - size, SEEK_END)
    return stream.read(size)


def _framed(name: str) -> bytes:
    """A string as Thrift's compact protocol has it: its length in groups of 7 bits, lowest first, and its bytes."""
    data, length = name.encode(), b""
    rest = len(data)
    while rest > 127:
        length, rest = length + bytes([rest & 127 | 128]), rest >> 7
    return length + bytes([rest]) + data


def row_counts(shard: Shard, metadata: pq.FileMetaData) -> tuple[int, ...]:
    """Rows of each row group.

    Raises:
      ShardError: they are not as many as the file has.
    """
    sizes = tuple(metadata.row_group(at).num_rows for at in range(metadata.num_row_groups))
    if sum(sizes) != metadata.num_rows:  # nothing else tells of a flipped bit there
        raise ShardError(
            shard.path, f"{sum(sizes)} rows in its row groups and {metadata.num_rows} in all; it is damaged"
        )
    return sizes


def chosen_groups(shard: Shard, metadata: pq.FileMetaData, unit: Unit) -> tuple[list[int], int]:
    """The row groups of a unit, and the row that it ends before.

    Raises:
      UnreadableError: it does not begin and end between row groups, as it did when it was planned.
    """
    edges = [0, *accumulate(row_counts(shard, metadata))]
    stop = edges[-1] if unit.stop is None else unit.stop
    if unit.start not in edges or stop not in edges:
        problem = f"no row groups at rows {unit.start} to {stop}; it changed since it was planned"
        raise UnreadableError(shard.path, problem)
    return [at for at, (a, b) in enumerate(pairwise(edges)) if unit.start <= a < b <= stop], stop

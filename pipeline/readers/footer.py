"""Parquet files by their footers: opening one, its row groups, and whether it contradicts itself.

A footer has no checksum. What is checked here is what nothing else would notice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import SEEK_END
from itertools import accumulate, pairwise
from typing import BinaryIO

import pyarrow.parquet as pq

from pipeline.errors import ShardError, UnreadableError
from pipeline.readers.damage import damage
from pipeline.records import Shard, Unit
from pipeline.storage import store_for

_READ_AHEAD = 1 << 20  # bytes of each column that are held; without it a whole row group would be
_TAIL = 8  # bytes behind the footer: its length and the magic number


@contextmanager
def opened(shard: Shard, *, names: bool = False, sparse: bool = False) -> Iterator[pq.ParquetFile]:
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
        file = pq.ParquetFile(stream, buffer_size=_READ_AHEAD, pre_buffer=False, page_checksum_verification=True)
        if names:
            _check_names(shard, file, stream)
        yield file


def _check_names(shard: Shard, file: pq.ParquetFile, stream: BinaryIO) -> None:
    """A footer has no checksum, but it has a column's names in the schema and once more in each row group."""
    size = file.metadata.serialized_size
    stream.seek(-_TAIL - size, SEEK_END)
    footer = stream.read(size)
    names = {*file.schema_arrow.names, *(file.schema.column(at).name for at in range(len(file.schema)))}
    lone = sorted(name for name in names if footer.count(_framed(name)) <= file.metadata.num_row_groups)
    if lone and len(lone) < len(names):
        raise ShardError(shard.path, f"its footer has other names than {', '.join(lone)} in row groups; it is damaged")


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

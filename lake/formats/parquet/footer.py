"""Parquet files by their footers: opening a file, its row groups, and checks of the footer against itself.

See https://github.com/apache/parquet-format. A footer has no checksum, so it is checked here for contradictions that
nothing else would notice.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from lake.core.errors import ShardError, UnreadableError
from lake.core.records import Shard, Unit
from lake.formats.common.parquet_file import open_parquet, parse_footer, read_footer, without_arrow_schema
from lake.formats.common.parquet_footer import scan_footer
from lake.formats.common.shard_errors import damage
from lake.formats.parquet import types
from lake.formats.parquet.page_watch import PageWatch
from lake.formats.parquet.pages import StoredPage, WithoutPages
from lake.formats.parquet.pixel_columns import LINE, folded, pixel_columns, with_line
from lake.formats.parquet.row_size import RowSizes, among
from lake.storage import store_for


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An open Parquet file.

    Arrow cannot read nulls in a fixed-size list. It does read such a column as variable-size lists if the file does not
    seem to be written by Arrow. So the file is opened twice, and those columns are cast.

    Attributes:
      file: the file as it is.
      plain: the same file without Arrow's schema in its footer; None if no column needs it.
      row_sizes: how large its rows can be.
      stream: its bytes.
      footer: the bytes of its footer.
    """

    file: pq.ParquetFile
    plain: pq.ParquetFile | None
    row_sizes: RowSizes
    stream: BinaryIO
    footer: bytes

    @property
    def schema(self) -> pa.Schema:
        """The columns, with Arrow's types."""
        return self.file.schema_arrow

    @cached_property
    def columns(self) -> pa.Schema:
        """The columns that records are read from: those of ``schema``, or the columns of pixels as one."""
        return with_line(types.stored_schema(self.schema))

    @property
    def metadata(self) -> pq.FileMetaData:
        """The footer."""
        return self.file.metadata

    def leaves(self, names: Sequence[str] | None) -> list[str]:
        """Paths of the columns of numbers and bytes that some columns consist of.

        Args:
          names: of columns, or paths; None for all.
        """
        paths = [self.file.schema.column(at).path for at in range(len(self.file.schema))]
        if names is None:
            return paths
        chosen = {*names, *(pixel_columns(self.schema) if LINE in names else ())}
        return [path for path in paths if among(path, chosen)]

    def batches(
        self, size: int, *, columns: list[str] | None, groups: list[int] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Rows of some row groups, in the file's order of columns; a line of pixels comes last.

        Args:
          size: the most rows in a batch.
          columns: paths of the columns to read; None for all.
          groups: numbers of the row groups; None for all. Those without rows are left out.
        """
        every = range(self.file.num_row_groups) if groups is None else groups
        groups = [group for group in every if self.file.metadata.row_group(group).num_rows]
        if columns is not None and LINE in columns and LINE not in self.schema.names:
            names = pixel_columns(self.schema)
            paths = [*(path for path in columns if path != LINE), *names]
            return (folded(batch, names) for batch in self.batches(size, columns=paths, groups=groups))
        if not self.plain:
            return _read(self.file, size, columns, groups)
        fixed = {field.name for field in self.schema if _is_fixed(field.type)}
        paths = self.schema.names if columns is None else columns
        lists, others = [p for p in paths if p in fixed], [p for p in paths if p not in fixed]
        parts = [_read(self.file, size, others, groups)] if others else []
        parts += [_read(self.plain, size, lists, groups)] if lists else []
        return map(self._joined, in_step(parts))

    def without(self, pages: Sequence[StoredPage], *, checked: bool = True) -> "Opened":
        """The same file without some of its pages: where it lacks one, a column has fewer rows.

        Args:
          pages: that are passed over.
          checked: pages are compared with their checksums.
        """
        stream = cast(BinaryIO, PageWatch(cast(BinaryIO, WithoutPages(self.stream, pages)), self.footer))
        options = {} if checked else {"page_checksum_verification": False}
        file = open_parquet(stream, metadata=self.file.metadata, **options)
        plain = self.plain and open_parquet(stream, metadata=self.plain.metadata, **options)
        return replace(self, file=file, plain=plain, row_sizes=RowSizes(stream, self.footer, file.schema))

    def _joined(self, parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
        found = {name: values for part in parts for name, values in zip(part.schema.names, part.columns, strict=True)}
        fields = [field for field in self.schema if field.name in found]
        arrays = [_fixed(found[f.name], f.type) if _is_fixed(f.type) else found[f.name] for f in fields]
        return pa.RecordBatch.from_arrays(arrays, [field.name for field in fields])


def _read(
    file: pq.ParquetFile, size: int, columns: list[str] | None, groups: list[int] | None
) -> Iterator[pa.RecordBatch]:
    # Units run in parallel already, so Arrow's own threads would only compete for cores.
    yield from file.iter_batches(size, row_groups=groups, columns=columns, use_threads=False)


def in_step(parts: Sequence[Iterator[pa.RecordBatch]]) -> Iterator[list[pa.RecordBatch]]:
    """The same rows of each part. Parts are aligned, since a column of several chunks ends its batches early."""
    current: list[Any] = [next(part, None) for part in parts]
    while None not in current:
        count = min(batch.num_rows for batch in current)
        yield [batch.slice(0, count) for batch in current]
        rest = [batch.slice(count) for batch in current]
        current = [some if some.num_rows else next(part, None) for some, part in zip(rest, parts, strict=True)]
    if current != [None] * len(current):
        raise pa.ArrowInvalid("columns of different numbers of rows")


@contextmanager
def opened(shard: Shard, *, names: bool = False, sparse: bool = False) -> Iterator[Opened]:
    """Open a Parquet file that verifies page checksums and reads only what is asked for.

    Args:
      shard: the file; errors inside the block name it.
      names: verify column names too, for callers that do not know them beforehand.
      sparse: only the footer and a few rows are read.

    Raises:
      ShardError: the footer cannot be read or contradicts itself.
      UnreadableError: the store failed.
    """
    with damage(shard), store_for(shard.uri).open(shard.uri, sparse=sparse) as stream:
        footer = read_footer(stream)
        stream = cast(BinaryIO, PageWatch(stream, footer))
        file = open_parquet(stream, metadata=parse_footer(footer))
        if names:
            _check_names(shard, file, footer)
        fixed = not sparse and _has_fixed_lists(file.schema_arrow)
        plain = open_parquet(stream, metadata=without_arrow_schema(footer)) if fixed else None
        sizes = RowSizes(stream, footer, file.schema)
        yield Opened(file=file, plain=plain, row_sizes=sizes, stream=stream, footer=footer)


def _has_fixed_lists(schema: pa.Schema) -> bool:
    """Whether a column has fixed-size lists, unless columns share a name: then none can be told from another."""
    return len({*schema.names}) == len(schema) and any(map(_is_fixed, schema.types))


def _is_fixed(kind: pa.DataType) -> bool:
    """Whether a column of this type, maybe of an extension such as tensors of one shape, has fixed-size lists."""
    return bool(pa.types.is_fixed_size_list(kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind))


def _fixed(lists: pa.Array, kind: pa.DataType) -> pa.Array:
    if not isinstance(kind, pa.BaseExtensionType):
        return lists.cast(kind)
    return pa.ExtensionArray.from_storage(kind, lists.cast(kind.storage_type))


def _check_names(shard: Shard, file: pq.ParquetFile, footer: bytes) -> None:
    """Check that each column's name is in the schema and again in each row group, since the footer has no checksum."""
    there, groups = scan_footer(footer).strings, file.metadata.num_row_groups
    names = {*file.schema_arrow.names, *(file.schema.column(at).name for at in range(len(file.schema)))}
    lone = sorted(name for name in names if there[name.encode()] <= groups)
    if lone and len(lone) < len(names):
        raise ShardError(shard.path, f"its footer has other names than {', '.join(lone)} in row groups; it is damaged")


def row_counts(shard: Shard, metadata: pq.FileMetaData) -> tuple[int, ...]:
    """Number of rows of each row group.

    Args:
      shard: for errors.
      metadata: its footer.

    Raises:
      ShardError: they do not add up to the rows of the file.
    """
    sizes = tuple(metadata.row_group(at).num_rows for at in range(metadata.num_row_groups))
    if sum(sizes) != metadata.num_rows:  # nothing else would notice a flipped bit in these numbers
        raise ShardError(
            shard.path, f"{sum(sizes)} rows in its row groups and {metadata.num_rows} in all; it is damaged"
        )
    return sizes


def chosen_groups(shard: Shard, metadata: pq.FileMetaData, unit: Unit) -> tuple[list[int], int]:
    """The row groups of a unit, and the row at which the unit ends.

    Args:
      shard: for errors.
      metadata: its footer.
      unit: a slice of its rows.

    Raises:
      UnreadableError: the unit does not begin and end between row groups, as it did when it was planned.
    """
    edges = [0, *accumulate(row_counts(shard, metadata))]
    stop = edges[-1] if unit.stop is None else unit.stop
    if unit.start not in edges or stop not in edges:
        problem = f"no row groups at rows {unit.start} to {stop}; it changed since it was planned"
        raise UnreadableError(shard.path, problem)
    return [at for at, (a, b) in enumerate(pairwise(edges)) if unit.start <= a < b <= stop], stop

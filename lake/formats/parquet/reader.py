"""Read Parquet: image files in a binary or ``struct<bytes, path>`` column, or vectors in a list column.

The struct is what Hugging Face ``datasets`` writes for its ``Image`` feature. ``columns`` says how columns are chosen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from lake.core.errors import InputError, NoRecordsError, ShardError, UnreadableError
from lake.core.records import Fault, Records, Shard, Unit
from lake.formats.common.shard_errors import as_planned, damage
from lake.formats.parquet.columns import SHAPES, check_columns, has_path, path_of, widened
from lake.formats.parquet.footer import Opened, chosen_groups, opened, row_counts
from lake.formats.parquet.row_size import MOST
from lake.formats.parquet.rows import flat_rows, in_blocks, storage_in, table_records
from lake.formats.parquet.settle import settle_table
from lake.formats.reader import BATCH_BYTES, ColumnSelection, Reader, RecordSchema


class ParquetReader(Reader):
    """Reads Parquet. Row groups can be read independently; within one, pages are streamed."""

    suffixes = (".parquet", ".pq")
    bare = True

    def recognises(self, name: str, head: bytes) -> bool:
        """By suffix, or by the magic number at the start."""
        return name.lower().endswith(self.suffixes) or head.startswith(b"PAR1")

    def settle(self, shard: Shard, selection: ColumnSelection) -> RecordSchema:
        """Choose columns by the footer's schema, and for vectors their length, from the type or the first rows."""
        with opened(shard, names=True, sparse=True) as file:
            try:
                return settle_table(shard, file.columns, selection, lambda name: file.batches(1024, columns=[name]))
            except InputError as error:
                if file.metadata.num_rows:
                    raise
                # Without a value a writer may not know a column's type, or write none of the columns.
                raise NoRecordsError(f"{shard.path}: it has no rows ({error})") from error

    def widen(self, shard: Shard, columns: RecordSchema) -> RecordSchema:
        """Carried columns whose types differ only by writer get the type that holds the values of both shards."""
        if not len(columns.carry):
            return columns
        with opened(shard, sparse=True) as file:
            return replace(columns, carry=widened(file.columns, columns.carry))

    def rows(self, shard: Shard) -> Sequence[int]:
        """Number of rows of each row group."""
        with opened(shard, sparse=True) as file:
            return row_counts(shard, file.metadata)

    def read(self, unit: Unit, columns: RecordSchema, size: int, room: int = BATCH_BYTES) -> Iterator[Records]:
        """Records of the row groups between ``unit.start`` and ``unit.stop``. Page checksums are verified.

        Page headers have no checksum. A damaged one may shift a column against the others, which shows at the row
        group's end at the earliest. With ``salvage`` a row group is therefore read completely or not at all, and
        decoded twice.

        With ``whole``, ``Records.source`` is a ``pa.RecordBatch`` of the file's schema and metadata in which only the
        image files are null. Its bytes count for ``room`` too.
        """
        (shard,) = unit.shards
        with as_planned(shard), opened(shard, names=columns.whole) as file:
            groups, stop = chosen_groups(shard, file.metadata, unit)
            if groups:
                check_columns(shard, file.columns, columns)
            at, faults = unit.start, dict[int, Fault]()
            most = _Most(rows=size, room=room)
            intact, lost = _proof(shard, file, groups, columns, most, at) if columns.salvage else (groups, None)
            for batch in in_blocks(size, room, _named(shard, file, intact, columns, most, at, faults)):
                yield table_records(shard, batch, columns, at, faults, file.schema)
                at += batch.num_rows
            if lost is not None:
                raise lost
            if at != stop:
                raise ShardError(
                    shard.path, f"{at - unit.start} rows read, {stop - unit.start} in its footer; it is damaged"
                )


def schema_of(shard: Shard) -> pa.Schema:
    """The schema of a shard, with its metadata.

    Raises:
      ShardError: the footer cannot be read.
      UnreadableError: the store failed.
    """
    with opened(shard, sparse=True) as file:
        return file.schema


@dataclass(frozen=True, slots=True, kw_only=True)
class _Most:
    """How much is read at once.

    Attributes:
      rows: in a batch.
      room: bytes of a batch.
    """

    rows: int
    room: int

    def of(self, file: Opened, group: int, leaves: list[str] | None) -> int:
        """How many rows of a row group to read at once: ``rows``, or fewer if so many could exceed ``room`` bytes.

        The row group has some. Its size as a whole is used. PyArrow crashes if it is asked for the size of a column in
        a damaged footer.
        """
        metadata = file.metadata.row_group(group)
        rows = metadata.num_rows
        longest = file.row_sizes.longest(group, leaves, min(self.room // min(self.rows, rows), MOST // rows))
        file.row_sizes.check(group, rows, longest)
        average = metadata.total_byte_size / rows
        return min(self.rows, max(1, int(self.room / max(average, longest, 1))))


def _named(
    shard: Shard,
    file: Opened,
    groups: list[int],
    columns: RecordSchema,
    most: _Most,
    at: int,
    faults: dict[int, Fault],
) -> Iterator[pa.RecordBatch]:
    """All rows of row groups. An error names the first row group that cannot be read."""
    try:
        with damage(shard):
            storage = storage_in(shard, file.columns, columns)
            yield from flat_rows(shard, _batches(file, groups, columns, most), columns, at, faults, storage)
    except UnreadableError:
        raise
    except ShardError as error:
        raise _proof(shard, file, groups, columns, most, at)[1] or error from error


def _proof(
    shard: Shard, file: Opened, groups: list[int], columns: RecordSchema, most: _Most, at: int
) -> tuple[list[int], ShardError | None]:
    """The row groups before the first damaged one, and the error that names that one; ``at`` is their first row."""
    for number, group in enumerate(groups):
        rows = file.metadata.row_group(group).num_rows
        try:
            with damage(shard):
                found = sum(batch.num_rows for batch in _batches(file, [group], columns, most))
            problem = None if found == rows else f"it has {found} rows"
        except UnreadableError:
            raise
        except ShardError as error:
            problem = error.problem
        if problem is not None:
            lost = f"rows {at} to {at + rows - 1} (row group {group}) and what follows cannot be read: {problem}"
            return groups[:number], ShardError(shard.path, lost)
        at += rows
    return groups, None


def _batches(file: Opened, groups: list[int], columns: RecordSchema, most: _Most) -> Iterator[pa.RecordBatch]:
    for group in groups:
        if not file.metadata.row_group(group).num_rows:
            continue
        leaves = None if columns.whole else _leaves(file.columns, columns)
        yield from file.batches(most.of(file, group, leaves), columns=leaves, groups=[group])


def _leaves(schema: pa.Schema, columns: RecordSchema) -> list[str]:
    """The paths of the columns that are read; of an image struct only the children that are needed."""
    kind = schema.field(columns.image).type
    images = [f"{columns.image}.bytes"] if pa.types.is_struct(kind) else [columns.image]
    # The path is where the image is, in rows without bytes.
    images += [SHAPES] if columns.shaped else []
    images += [path_of(columns.image)] if has_path(kind) and columns.key != path_of(columns.image) else []
    no_key = columns.key is None or (columns.key == path_of(columns.image) and not has_path(kind))
    return [*images, *([] if no_key else [columns.key]), *columns.carry.names]

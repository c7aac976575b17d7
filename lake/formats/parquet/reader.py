"""Read Parquet: image files in a binary or ``struct<bytes, path>`` column, or vectors in a list column.

The struct is what Hugging Face ``datasets`` writes for its ``Image`` feature. ``columns`` says how columns are chosen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import attrgetter

import pyarrow as pa

from lake.core.errors import InputError, NoRecordsError, ShardError, UnreadableError
from lake.core.records import Fault, Records, Shard, Unit
from lake.formats.common.shard_errors import as_planned, damage
from lake.formats.common.vector_storage import VectorStorage
from lake.formats.parquet.columns import SHAPES, check_columns, has_path, is_files, path_of, widened
from lake.formats.parquet.footer import Opened, chosen_groups, opened, row_counts
from lake.formats.parquet.row_size import MOST
from lake.formats.parquet.rows import flat_rows, in_blocks, lost_records, storage_in, table_records
from lake.formats.parquet.salvage import Salvage
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
        group's end at the earliest. With ``salvage`` a row group is therefore decoded twice: first to see that it can
        be. A row that is lost is a fault (CORRUPT_RECORD), and reading goes on after it.

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
            if columns.salvage and groups:
                yield from _salvaged(shard, file, groups, columns, most, at)
                return
            for batch in in_blocks(size, room, _named(shard, file, groups, columns, most, at, faults)):
                yield table_records(shard, batch, columns, at, faults, file.schema)
                at += batch.num_rows
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


_REPEATED = 4  # times the room of a batch that rows may take which all have the longest value


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
        a damaged footer. Rows that all have the longest value may have a few times ``room``: so the sizes of small
        images need not be looked up.
        """
        metadata = file.metadata.row_group(group)
        rows, room = metadata.num_rows, _REPEATED * self.room
        longest = file.row_sizes.longest(group, leaves, min(room // min(self.rows, rows), MOST // rows))
        file.row_sizes.check(group, rows, longest)
        average = metadata.total_byte_size / rows
        return min(self.rows, max(1, int(min(self.room / max(average, 1), room / max(longest, 1)))))


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
        raise _first_damage(shard, file, groups, columns, most, at) or error from error


def _salvaged(
    shard: Shard, file: Opened, groups: list[int], columns: RecordSchema, most: _Most, at: int
) -> Iterator[Records]:
    """All rows of row groups, with a fault in place of each that is lost."""
    faults = dict[int, Fault]()
    with damage(shard):
        storage = storage_in(shard, file.columns, columns)
        source = _salvage_of(shard, file, columns, most).runs(groups, at)
        for problem, runs in groupby(source, attrgetter("problem")):
            if problem is not None:
                for run in runs:
                    rows = range(at, at + run.rows)
                    yield from lost_records(shard, run.batch, columns, rows, most.rows, problem)
                    at += run.rows
                continue
            there = (run.batch for run in runs if run.batch is not None)
            for batch in in_blocks(most.rows, most.room, _flat(shard, there, columns, at, faults, storage)):
                yield table_records(shard, batch, columns, at, faults, file.schema)
                at += batch.num_rows


def _flat(
    shard: Shard,
    batches: Iterator[pa.RecordBatch],
    columns: RecordSchema,
    at: int,
    faults: dict[int, Fault],
    storage: VectorStorage,
) -> Iterator[pa.RecordBatch]:
    """As ``flat_rows``, with errors that name the shard."""
    with damage(shard):
        yield from flat_rows(shard, batches, columns, at, faults, storage)


def _salvage_of(shard: Shard, file: Opened, columns: RecordSchema, most: _Most) -> Salvage:
    names = None if columns.whole else _leaves(file.columns, columns)
    kind = file.columns.field(columns.image).type
    image = f"{columns.image}.bytes" if pa.types.is_struct(kind) else columns.image
    files = image if is_files(kind) and columns.image_dtype is None and not columns.numeric else None
    size = partial(_rows_at_once, most, names)
    return Salvage(shard=shard, file=file, names=names, image=files, size=size, room=most.room)


def _rows_at_once(most: _Most, names: list[str] | None, file: Opened, group: int) -> int:
    return most.of(file, group, names)


def _first_damage(
    shard: Shard, file: Opened, groups: list[int], columns: RecordSchema, most: _Most, at: int
) -> ShardError | None:
    """The error that names the first row group that cannot be read; ``at`` is the first row of all."""
    for group in groups:
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
            return ShardError(shard.path, lost)
        at += rows
    return None


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

"""Read Arrow IPC: streams, as Hugging Face ``save_to_disk`` writes them, and files, as Feather's version 2 is.

What the columns are is decided as for Parquet (``lake.formats.parquet.columns``).
"""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from itertools import groupby

import pyarrow as pa
import pyarrow.parquet as pq

from lake.core.errors import InputError
from lake.core.records import Fault, Records, Shard, Unit
from lake.formats.arrow.batches import LostRows, opened_stream
from lake.formats.arrow.count import count_rows
from lake.formats.arrow.messages import begins_arrow
from lake.formats.common.shard_errors import as_planned, damage
from lake.formats.parquet.columns import SHAPES, check_columns, path_of, widened
from lake.formats.parquet.rows import flat_rows, in_blocks, lost_records, storage_in, table_records
from lake.formats.parquet.settle import settle_table
from lake.formats.reader import BATCH_BYTES, ColumnSelection, Reader, RecordSchema
from lake.storage import store_for

_COUNTED = 10_000  # most messages whose rows are counted beforehand
_LOOKED_AT = 1024  # rows of a batch in which the length of vectors is looked for


class ArrowReader(Reader):
    """Reads Arrow streams and files, one record batch after another."""

    suffixes = (".arrow", ".arrows", ".feather", ".ipc")
    bare = True

    def recognises(self, name: str, head: bytes) -> bool:
        """By suffix, the magic number of files, or the schema with which streams begin."""
        return name.lower().endswith(self.suffixes) or begins_arrow(head)

    def settle(self, shard: Shard, selection: ColumnSelection) -> RecordSchema:
        """Choose columns by the schema, and for vectors their length, from the type or the first rows."""
        with opened_stream(shard, sparse=True) as file:
            columns = settle_table(
                shard, file.columns, selection, lambda name: file.batches([name], _LOOKED_AT, BATCH_BYTES)
            )
            _check_carried(shard, columns.carry)
            return columns

    def widen(self, shard: Shard, columns: RecordSchema) -> RecordSchema:
        """Carried columns whose types differ only by writer get the type that holds the values of both shards."""
        if not len(columns.carry):
            return columns
        with opened_stream(shard, sparse=True) as file:
            return replace(columns, carry=widened(file.columns, columns.carry))

    def count(self, shard: Shard) -> int | None:
        """Rows of all record batches, if there are not too many."""
        with damage(shard), store_for(shard.uri).open(shard.uri, sparse=True) as stream:
            return count_rows(stream, _COUNTED)

    def read(self, unit: Unit, columns: RecordSchema, size: int, room: int = BATCH_BYTES) -> Iterator[Records]:
        """All records in order. Nothing in a stream is checksummed, but every length and offset is checked.

        With ``salvage`` each row of a record batch that cannot be read is a fault, if its head says how many they are.
        """
        (shard,) = unit.shards
        at, faults = 0, dict[int, Fault]()
        with as_planned(shard), opened_stream(shard) as file:
            check_columns(shard, file.columns, columns)
            storage = storage_in(shard, file.columns, columns)
            parts = file.parts(_needed(columns), size, room, salvage=columns.salvage)
            with damage(shard):
                for is_lost, run in groupby(parts, lambda part: isinstance(part, LostRows)):
                    for lost in run if is_lost else ():
                        rows = range(at, at + lost.num_rows)
                        yield from lost_records(shard, None, columns, rows, size, lost.problem)
                        at = rows.stop
                    for batch in in_blocks(size, room, flat_rows(shard, run, columns, at, faults, storage)):
                        yield table_records(shard, batch, columns, at, faults, file.schema)
                        at += batch.num_rows


def _needed(columns: RecordSchema) -> list[str]:
    """Names of the columns that are read."""
    key = [] if columns.key in (None, path_of(columns.image)) else [columns.key]
    shapes = [SHAPES] if columns.shaped else []
    return [columns.image, *shapes, *(name for name in key if name), *columns.carry.names]


def _check_carried(shard: Shard, carry: pa.Schema) -> None:
    """Check that the tables of the output can hold the carried columns, which some of Arrow's types cannot."""
    for column in carry:
        try:
            pq.write_table(pa.table([pa.nulls(0, column.type)], [column.name]), BytesIO())
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            problem = f"column {column.name!r} is {column.type}, which tables cannot hold"
            raise InputError(f"{shard.path}: {problem}; leave it out with --carry") from error

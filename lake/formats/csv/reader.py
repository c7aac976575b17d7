"""Read CSV of numbers, plain or compressed: ``label,pixel0,...,pixel783`` as of MNIST, or the numbers of vectors."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from math import prod

import pyarrow as pa

from lake.core.errors import InputError, NoRecordsError, ShardError
from lake.core.records import RawBatch, Shard, Unit
from lake.formats.common.byte_stream import decompressed
from lake.formats.common.runs import up_to_damage
from lake.formats.common.shard_errors import as_planned
from lake.formats.csv.batch import CsvBatch
from lake.formats.csv.lines import Lines
from lake.formats.csv.table import NUMBERED, CsvTable, fields_of, is_number, looks_numeric, table_of
from lake.formats.reader import BATCH_BYTES, ColumnSelection, Reader, RecordSchema

_SAMPLE = 16  # lines that tell types
_NAMES = 20  # that an error lists


class CsvReader(Reader):
    """A record is a line; one that cannot be read is one reject. A first line that is not of numbers is a header."""

    suffixes = (".csv",)
    bare = True

    def recognises(self, name: str, head: bytes) -> bool:
        """By name and content: tables in CSV lie beside other inputs, and are no shards there."""
        named = name.lower().removesuffix(".gz").endswith(self.suffixes)
        return named and looks_numeric(decompressed(head).splitlines()[:2])

    def settle(self, shard: Shard, selection: ColumnSelection) -> RecordSchema:
        """Choose columns by the header, and their types by the first lines."""
        if selection.image is not None:
            raise InputError(f"{shard.path}: the numbers of a line have no name {selection.image!r}; leave out --image")
        shape = None if selection.numeric else _shape(shard, selection)
        length = selection.length if shape is None else prod(shape)
        table, rows = _first(shard, selection, length)
        carry = table.labels() if selection.carry is None else [*selection.carry]
        key = selection.key or table.usual_key()
        pixels = _chosen(shard, table, carry, key, length)
        columns = dict(zip(table.names, zip(*rows, strict=True), strict=True))
        whole = all(text.strip().isdigit() for name in pixels for text in columns[name])
        schema = selection.resolved(
            image=table.title(pixels),
            key=key,
            carry=pa.schema([(name, _type(columns[name])) for name in carry]),
            length=len(pixels),
        )
        dtype = None if shape is None else selection.image_dtype or ("int64" if whole else "float64")
        return replace(schema, numeric=True, image_shape=shape, image_dtype=dtype)

    def read(self, unit: Unit, columns: RecordSchema, size: int, room: int = BATCH_BYTES) -> Iterator[RawBatch]:
        """Lines in order."""
        (shard,) = unit.shards
        with as_planned(shard), closing(Lines(shard, columns.max_record_bytes, salvage=columns.salvage)) as lines:
            header, damage = lines.take(1, room)
            if damage is not None:
                raise damage
            if header:
                table = _table(shard, header[0].text, columns)
                lines.give_back([] if table.header else header)
            start = 0
            for found in up_to_damage(partial(lines.take, size, room)):
                yield CsvBatch(shard=shard.path, start=start, lines=found, table=table, columns=columns)
                start += len(found)


def _shape(shard: Shard, selection: ColumnSelection) -> tuple[int, ...]:
    shape = selection.image_shape or selection.shape
    if shape is None:
        raise InputError(f"{shard.path}: lines of numbers, and the model takes images of any size; give --image-shape")
    return shape


def _first(shard: Shard, selection: ColumnSelection, length: int | None) -> tuple[CsvTable, list[list[str]]]:
    """The columns of a shard, and the fields of its first lines that have as many."""
    with closing(Lines(shard, selection.max_record_bytes, salvage=selection.salvage)) as lines:
        first, damage = lines.take(_SAMPLE, selection.max_record_bytes)
    if not first:
        raise damage or NoRecordsError(f"{shard.path}: it has no lines")
    table = table_of(first[0].text, length)
    if (problem := table.problem()) is not None:
        raise InputError(f"{shard.path}: {problem}; rename them")
    rows = [fields_of(line.text, table.delimiter) for line in first[table.header :]]
    rows = [row for row in rows if len(row) == len(table.names)]
    if not rows:
        raise NoRecordsError(f"{shard.path}: it has no lines of {len(table.names)} fields")
    return table, rows


def _chosen(shard: Shard, table: CsvTable, carry: Sequence[str], key: str | None, length: int | None) -> list[str]:
    """Names of the columns with the numbers of a record."""
    for option, name in (("--key", key), *(("--carry", name) for name in carry)):
        if name is not None and name not in table.names:
            there = ", ".join(table.names[:_NAMES])
            raise InputError(f"{shard.path}: no column {name!r}; set {option} to one of: {there}")
    pixels = table.pixels(carry, key)
    if not pixels or length not in (None, len(pixels)):
        raise InputError(f"{shard.path}: {len(pixels)} numbers in a line, and the model takes {length}")
    return pixels


def _table(shard: Shard, line: bytes, columns: RecordSchema) -> CsvTable:
    table = table_of(line, columns.length)
    if (unclear := table.problem()) is not None:
        raise ShardError(shard.path, unclear)
    lacking = [name for name in (columns.key, *columns.carry.names) if name is not None and name not in table.names]
    pixels = table.pixels(columns.carry.names, columns.key)
    if lacking or len(pixels) != columns.length:
        problem = f"no column {lacking[0]!r}" if lacking else f"{len(pixels)} numbers in a line, not {columns.length}"
        raise ShardError(shard.path, f"{problem} as in the first shard")
    if NUMBERED not in (columns.image, table.title(pixels)) and table.title(pixels) != columns.image:
        raise ShardError(shard.path, "its columns of numbers have other names or another order than in the first shard")
    return table


def _type(values: Sequence[str]) -> pa.DataType:
    if all(text.strip().removeprefix("-").isdigit() for text in values):
        return pa.int64()
    return pa.float64() if all(map(is_number, values)) else pa.string()

"""The columns of output tables that identify a record (key, shard, index), and the names of carried columns."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from lake.core.records import Array, Records, pick


def table_rows(records: Records, positions: Array, made: Iterable[pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    """The rows of an output table: identity columns, result columns, carried columns.

    Args:
      records: the batch that was read, of ``n`` records.
      positions: of the results, int64 ``[m]``, ascending.
      made: the result columns, ``[m]`` each.
      schema: of the table.
    """
    key, *carried = (
        column if len(positions) == len(records) else pick(column, positions)
        for column in (records.key, *records.carried.values())
    )
    identity = [key, _shard_column(records, positions), pa.array(records.index[positions])]
    return pa.RecordBatch.from_arrays([*identity, *made, *carried], schema=schema)


def _shard_column(records: Records, positions: Array) -> pa.Array:
    if isinstance(records.shard, str):
        codes = pa.array(np.zeros(len(positions), np.int32))
        return pa.DictionaryArray.from_arrays(codes, pa.array([records.shard]))
    return pa.array([records.shard[p] for p in positions], pa.string()).dictionary_encode()


SHARD_TYPE = pa.dictionary(pa.int32(), pa.string())
_IDENTITY = ("key", "shard", "index")


def identity_fields() -> list[pa.Field]:
    """The fields that identify the record of a row: key, shard, index."""
    return [
        pa.field("key", pa.string(), nullable=False),
        pa.field("shard", SHARD_TYPE, nullable=False),
        pa.field("index", pa.int64(), nullable=False),
    ]


def carried_fields(carry: pa.Schema, own: Iterable[str]) -> list[pa.Field]:
    """The fields of carried columns. A name that the table uses itself becomes ``source_<name>``.

    Args:
      carry: the carried columns.
      own: names of the table's result columns.

    >>> carried_fields(pa.schema([("label", pa.int64()), ("key", pa.string())]), own=["latent"])
    [pyarrow.Field<label: int64>, pyarrow.Field<source_key: string>]
    """
    fixed = {*_IDENTITY, *own}
    taken = {*fixed, *carry.names}
    return [field.with_name(_free_name(field.name, fixed, taken)) for field in carry]


def carried_name(schema: pa.Schema, carry: pa.Schema, name: str) -> str:
    """What a table calls a carried column.

    Args:
      schema: of the table, whose last columns are the carried ones.
      carry: the carried columns.
      name: of one in the source; itself where it is not carried.

    >>> carry = pa.schema([("label", pa.int64()), ("key", pa.string())])
    >>> carried_name(pa.schema([*identity_fields(), *carried_fields(carry, [])]), carry, "key")
    'source_key'
    """
    at = carry.get_field_index(name)
    return name if at < 0 else str(schema.names[len(schema) - len(carry) + at])


def _free_name(name: str, fixed: set[str], taken: set[str]) -> str:
    if name not in fixed:
        return name
    while name in taken:
        name = f"source_{name}"
    return name

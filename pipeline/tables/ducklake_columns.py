"""What of an output's rows a DuckLake table has: columns as DuckDB knows them, and what directories say."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from lake.core.choices import quoted
from lake.core.errors import UsageError
from pipeline.tables.files import directory_keys, directory_values
from pipeline.tables.table_errors import why

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_FILENAME = "filename"  # a column that every table of DuckLake has; one of the rows would hide it


def hive_keys(names: Sequence[str]) -> list[str]:
    """The columns that the directories of files say.

    Args:
      names: of the files, relative to the output.

    Raises:
      UsageError: not all say the same ones, and DuckLake 1.0 reads what is no column of some files as garbage.

    >>> hive_keys(["latents/dt=2026-11-28/a.parquet", "latents/dt=2026-11-29/b.parquet"])
    ['dt']
    """
    keys = directory_keys(names)
    if odd := next((name for name in names if directory_values(name).keys() != {*keys}), None):
        wanted = " and ".join(f"{key}=" for key in keys)
        raise UsageError(
            f"--table ducklake: {quoted(odd)} is not in directories {wanted} as others are, and DuckLake misreads such "
            "tables; lay the shards out alike, or take --table iceberg"
        )
    return keys


def table_columns(connection: "DuckDBPyConnection", schema: pa.Schema, keys: Iterable[str]) -> dict[str, str]:
    """The columns of a table for rows of some schema, with their types as DuckDB says them.

    Args:
      connection: which knows DuckLake.
      schema: of the rows.
      keys: what directories say; those that are no columns of the rows are texts.

    Raises:
      UsageError: DuckLake has no such column, or takes two for the same.
    """
    columns = {field.name: _type(connection, field) for field in schema}
    return columns | {key: "VARCHAR" for key in keys if key not in columns}


def check_table_columns(connection: "DuckDBPyConnection", columns: Mapping[str, str]) -> None:
    """Check that DuckLake has tables of some columns, in a catalog in memory.

    Raises:
      UsageError: it has not.
    """
    import duckdb

    listed = ", ".join(f"{identifier(name)} {kind}" for name, kind in columns.items())
    try:
        connection.execute("ATTACH 'ducklake::memory:' AS probe (DATA_PATH 'memory/')")
        connection.execute(f"CREATE TABLE probe.main.rows ({listed})")
        connection.execute("DETACH probe")
    except duckdb.Error as error:
        raise UsageError(f"--table ducklake: {why(error)}; leave a column out with --carry") from error


def _type(connection: "DuckDBPyConnection", field: pa.Field) -> str:
    import duckdb

    if field.name.lower() == _FILENAME:
        raise UsageError(
            f"--table ducklake: a column is called {field.name}, as one of DuckLake; leave it out with --carry"
        )
    try:
        return str(connection.from_arrow(pa.schema([pa.field("x", _plain(field.type))]).empty_table()).types[0])
    except duckdb.Error as error:
        raise UsageError(
            f"--table ducklake: column {quoted(field.name)} is {field.type}, which DuckLake does not take; write "
            "latents as another type, such as --latent-type float32, and leave others out with --carry"
        ) from error


def _plain(kind: pa.DataType) -> pa.DataType:
    """A type as DuckLake has it: lists of any length, and no dictionaries.

    >>> _plain(pa.list_(pa.int8(), 8))
    ListType(list<item: int8>)
    """
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _plain(field.type)) for field in kind])
    return kind


def identifier(name: str) -> str:
    """A name in SQL.

    >>> identifier('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'

"""What a catalog of DuckLake says of one table and of the files of one output in it, and how these change."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake.core.errors import UsageError
from pipeline.output.layout import LATENTS
from pipeline.tables.ducklake_catalog import LAKE, MovedError
from pipeline.tables.ducklake_columns import identifier, table_columns
from pipeline.tables.files import place
from pipeline.tables.table import Snapshot, TableSpec
from pipeline.tables.table_errors import said

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_AUTHOR = "latentlake"
_META = f"__ducklake_metadata_{LAKE}"  # where the tables of DuckLake's specification are
_TABLE = f"""
SELECT t.table_id, concat(d.value, s.path, t.path)
FROM {_META}.ducklake_table t JOIN {_META}.ducklake_schema s USING (schema_id), {_META}.ducklake_metadata d
WHERE d.key = 'data_path' AND s.schema_name = ? AND t.table_name = ?
AND t.end_snapshot IS NULL AND s.end_snapshot IS NULL
"""
_FILES = f"""
SELECT if(path_is_relative, concat(?, path), path), file_size_bytes, record_count FROM {_META}.ducklake_data_file
WHERE table_id = ?
"""
_KEYS = f"""
SELECT c.column_name
FROM {_META}.ducklake_partition_info i JOIN {_META}.ducklake_partition_column p USING (partition_id)
JOIN {_META}.ducklake_column c ON c.table_id = i.table_id AND c.column_id = p.column_id
WHERE i.table_id = ? AND i.end_snapshot IS NULL AND c.end_snapshot IS NULL ORDER BY p.partition_key_index
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of a table.

    Attributes:
      size: bytes.
      rows: how many it has.
    """

    size: int
    rows: int


class Lake:
    """One table of an attached catalog, and the files of one output in it.

    The catalog's own tables are read outside of transactions: within one, DuckDB would keep SQLite's lock for reading,
    and DuckLake's commit, which is on another connection to that file, would wait for it forever.
    """

    def __init__(self, connection: "DuckDBPyConnection", spec: TableSpec, output: str) -> None:
        self._connection, self._spec, self._place = connection, spec, place(output)
        self._schema, self._name = spec.name.split(".")

    def head(self) -> int:
        """The last snapshot of the catalog."""
        return int(self._rows(f"SELECT max(snapshot_id) FROM {_META}.ducklake_snapshot")[0][0])

    def columns(self) -> Mapping[str, str]:
        """The types of the table's columns, by their names in small letters; none for a table that is not there."""
        if self._found() is None:
            return {}
        return {name.lower(): kind for name, kind, *_ in self._rows(f"DESCRIBE {self._quoted}")}

    def keys(self) -> list[str]:
        """The columns that the table is partitioned by."""
        found = self._found()
        return [] if found is None else [name for (name,) in self._rows(_KEYS, found[0])]

    def files(self, at: int | None = None) -> Mapping[str, Entry]:
        """The latent files of the output that a snapshot has, by their names relative to the output.

        Args:
          at: id of the snapshot; None for the head.
        """
        then = f"begin_snapshot <= {at} AND (end_snapshot IS NULL OR end_snapshot > {at})"
        return dict(self._named("end_snapshot IS NULL" if at is None else then))

    def files_of_all(self) -> set[str]:
        """The names of the latent files of the output that any snapshot has."""
        return {name for name, _ in self._named("TRUE")}

    def rows_of_files(self) -> Mapping[str, int]:
        """How many rows a reader of the head gets of each latent file of the output."""
        start = f"{self._place}{LATENTS}/"
        counted = f"SELECT filename, count(*) FROM {self._quoted} WHERE starts_with(filename, ?) GROUP BY filename"
        return {path.removeprefix(self._place): rows for path, rows in self._rows(counted, start)}

    def last(self) -> Snapshot | None:
        """The last snapshot that the output has published to this table.

        Raises:
          UsageError: the catalog is within an output that has been moved.
        """
        own = f"FROM {_META}.ducklake_snapshot_changes WHERE author = ? ORDER BY snapshot_id DESC"
        for number, text in self._rows(f"SELECT snapshot_id, commit_extra_info {own}", _AUTHOR):
            it = json.loads(text)
            if (it["output"], it["table"]) == (self._place, self._spec.name):
                return Snapshot(id=str(number), run=it["run"], digest=it["manifest"])
            if not self._spec.catalog:
                raise UsageError(
                    f"{said(self._spec)} has files of {it['output']}: the output was moved, and paths of DuckLake are "
                    "absolute; remove _ducklake/ and _table.json, and run the job again"
                )
        return None

    @contextmanager
    def change(self, head: int, run: str, digest: str) -> Iterator[None]:
        """Make what happens within it one snapshot, which says what it is of.

        Args:
          head: the snapshot that the change was made from.
          run: id of the run.
          digest: as of ``files_digest``.

        Raises:
          MovedError: the catalog has another head by now.
        """
        self._rows("BEGIN")
        try:
            if self._rows(f"FROM ducklake_current_snapshot('{LAKE}')") != [(head,)]:  # the one that is kept from now on
                raise MovedError(f"the catalog has gone on since snapshot {head}")
            yield
            it = {"output": self._place, "table": self._spec.name, "run": run, "manifest": digest}
            message = f"CALL ducklake_set_commit_message('{LAKE}', ?, ?, extra_info => ?)"
            self._rows(message, _AUTHOR, f"latents of {self._place}", json.dumps(it))
            self._rows("COMMIT")
        except BaseException:
            self._connection.close()  # which ends the transaction, also one that has failed to commit
            raise

    def committed(self) -> int:
        """The snapshot that this connection has committed."""
        return int(self._rows(f"FROM ducklake_last_committed_snapshot('{LAKE}')")[0][0])

    def types(self, schema: pa.Schema, keys: Iterable[str]) -> dict[str, str]:
        """The columns of a table for rows of some schema, as of ``table_columns``."""
        return table_columns(self._connection, schema, keys)

    def create(self, columns: Mapping[str, str], keys: Sequence[str]) -> None:
        """Make the table."""
        self._rows(f"CREATE SCHEMA IF NOT EXISTS {LAKE}.{identifier(self._schema)}")
        listed = ", ".join(f"{identifier(name)} {kind}" for name, kind in columns.items())
        self._rows(f"CREATE TABLE {self._quoted} ({listed})")
        if keys:
            self._rows(f"ALTER TABLE {self._quoted} SET PARTITIONED BY ({', '.join(map(identifier, keys))})")

    def widen(self, columns: Mapping[str, str]) -> None:
        """Add columns to the table."""
        for name, kind in columns.items():
            self._rows(f"ALTER TABLE {self._quoted} ADD COLUMN {identifier(name)} {kind}")

    def add(self, names: Sequence[str], *, hive: bool) -> None:
        """Add files, as they are.

        Args:
          names: relative to the output.
          hive: whether their directories say columns.
        """
        given = f"'{LAKE}', ?, ?, schema => ?, allow_missing => true, hive_partitioning => {hive}"
        paths = [escape(self._place + name) for name in names]
        self._rows(f"CALL ducklake_add_data_files({given})", self._name, paths, self._schema)

    def let_files_go(self) -> None:
        """Say of the table that the catalog takes no rows or deletions into itself, with which a file would stay.

        What a catalog says for all its tables is stronger than what a connection does. No snapshot comes of it.
        """
        options = f"CALL ducklake_set_option('{LAKE}', 'data_inlining_row_limit', '0', schema => ?, table_name => ?)"
        self._rows(options, self._schema, self._name)

    def remove(self, names: Sequence[str]) -> None:
        """Remove files. DuckLake drops a file whose rows are all deleted, and keeps it for earlier snapshots.

        Args:
          names: relative to the output.
        """
        paths = [self._place + name for name in names]
        self._rows(f"DELETE FROM {self._quoted} WHERE filename IN ?", paths)

    def touch(self) -> None:
        """Change what no reader minds: DuckLake makes no snapshot where nothing changes."""
        self._rows(f"COMMENT ON TABLE {self._quoted} IS 'latents'")

    @property
    def _quoted(self) -> str:
        return f"{LAKE}.{identifier(self._schema)}.{identifier(self._name)}"

    def _found(self) -> tuple[int, str] | None:
        """The table's id and folder; None if it is not there."""
        rows = self._rows(_TABLE, self._schema, self._name)
        return (rows[0][0], rows[0][1]) if rows else None

    def _named(self, valid: str) -> Iterator[tuple[str, Entry]]:
        found = self._found()
        if found is None:
            return
        for path, size, rows in self._rows(f"{_FILES} AND {valid}", found[1], found[0]):
            if path.startswith(f"{self._place}{LATENTS}/"):
                yield path.removeprefix(self._place), Entry(size=size, rows=rows)

    def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()

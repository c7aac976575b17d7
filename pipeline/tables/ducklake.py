"""A DuckLake table that has the files of an output, without a copy of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

import pyarrow as pa

from lake.core.choices import quoted
from lake.core.errors import UsageError
from lake.core.records import OutputFile
from lake.core.retry import retry
from lake.storage.location import is_local
from lake.storage.redact import clean
from pipeline.tables.ducklake_catalog import attach, connect, ducklake_policy, import_duckdb, named_lock
from pipeline.tables.ducklake_columns import check_table_columns, hive_keys, table_columns
from pipeline.tables.ducklake_lake import Entry, Lake
from pipeline.tables.files import filled, schema_of_file
from pipeline.tables.table import LakeTable, Snapshot, TableSpec, files_digest
from pipeline.tables.table_errors import differing_files, files_lost, named_errors, named_few, said, why


class DuckLakeTable(LakeTable):
    """A DuckLake table. Files are added, replaced and removed in one snapshot a commit.

    A snapshot is committed on condition that the catalog's head is still the one that it was made from. Otherwise the
    catalog is read again, the lease is looked at again, and what is missing is found anew. A file without rows is not
    in the table: DuckLake removes files by their rows.
    """

    def __init__(self, spec: TableSpec, output: str) -> None:
        super().__init__(spec, output)
        import_duckdb()

    def check(self, schema: pa.Schema, names: Iterable[str]) -> None:
        if not is_local(self.output):
            raise UsageError(f"--table ducklake: {self.output} is in a store, and the table is for a disk; name one")
        if self.spec.name.count(".") != 1:
            raise UsageError(f"--table ducklake: --table-name {self.spec.name} is no SCHEMA.TABLE")
        names = [*names]
        keys = hive_keys(names)
        with named_lock(self.spec), closing(connect()) as connection:
            columns = table_columns(connection, schema, keys)
            check_table_columns(connection, columns)
            if attach(connection, self.spec, self.output) and names:
                self._check_fits(Lake(connection, self.spec, self.output), columns, keys)

    def current(self) -> Snapshot | None:
        with self._opened() as lake:
            return None if lake is None else lake.last()

    def named(self) -> set[str]:
        with self._opened() as lake:
            return set() if lake is None else lake.files_of_all()

    def published(self, files: Sequence[OutputFile]) -> Sequence[OutputFile]:
        return filled(files)

    def publish(self, files: Sequence[OutputFile], known: int, run: str, hold: Callable[[], None]) -> Snapshot | None:
        with named_errors(self.spec):
            return retry(
                f"the commit of {said(self.spec)}",
                lambda _: self._publish(files, known, run, hold),
                ducklake_policy,
                lambda error: clean(str(error)),
            )

    def problems(self, files: Sequence[OutputFile]) -> Iterator[str]:
        with self._opened() as lake:
            if lake is None or not lake.columns():
                yield f"{said(self.spec)} is not in its catalog; run the job again, which makes it anew"
                return
            last = lake.last()
            if last is not None and last.digest != files_digest(files):
                yield f"snapshot {last.id} of {said(self.spec)} is of another manifest; run the job again"
            yield from self._differences(filled(files), lake)

    def _differences(self, files: Sequence[OutputFile], lake: Lake) -> Iterator[str]:
        import duckdb

        wanted, present, table = {file.name: file for file in files}, lake.files(), said(self.spec)
        yield from differing_files(self.spec, wanted.keys(), present.keys())
        try:
            read = lake.rows_of_files()
        except duckdb.Error as error:
            yield f"{table} cannot be read: {why(error)}"
            return
        for name in sorted(wanted.keys() & present.keys()):
            file, entry, rows = wanted[name], present[name], read.get(name, 0)
            if (file.size, file.rows, file.rows) != (entry.size, entry.rows, rows):
                yield f"{table} has {name} as {rows} of {entry.rows} rows in {entry.size} bytes"

    @contextmanager
    def _opened(self, *, write: bool = False) -> Iterator[Lake | None]:
        with named_lock(self.spec), closing(connect()) as connection:
            there = attach(connection, self.spec, self.output, write=write)
            yield Lake(connection, self.spec, self.output) if there else None

    def _publish(self, files: Sequence[OutputFile], known: int, run: str, hold: Callable[[], None]) -> Snapshot | None:
        wanted, digest = filled(files), files_digest(files)
        with self._opened(write=bool(wanted)) as lake:
            if lake is None:
                hold()
                return None
            head, there = lake.head(), lake.columns()
            present, last = lake.files(), lake.last()
            hold()
            if not there and not wanted:
                return None
            self._check_whole(lake, present, last, known if there else 0)
            added = [file for file in wanted if file.name not in present]
            removed = sorted(present.keys() - {file.name for file in wanted})
            if not added and not removed and last is not None and last.digest == digest:
                return last
            keys = hive_keys(_names(added))
            columns = lake.types(schema_of_file(self.output, added[0]), keys) if added else {}
            self._check_fits(lake, columns, keys)
            if removed:
                lake.let_files_go()
            with lake.change(head, run, digest):
                self._change(lake, columns, keys, there, added, removed)
            return Snapshot(id=str(lake.committed()), run=run, digest=digest)

    def _change(
        self,
        lake: Lake,
        columns: Mapping[str, str],
        keys: Sequence[str],
        there: Mapping[str, str],
        added: Sequence[OutputFile],
        removed: Sequence[str],
    ) -> None:
        if not there:
            lake.create(columns, keys)
        else:
            lake.widen({name: kind for name, kind in columns.items() if name.lower() not in there})
        if removed:
            lake.remove(removed)
        if added:
            lake.add(_names(added), hive=bool(keys))
        if not added and not removed:
            lake.touch()

    def _check_fits(self, lake: Lake, columns: Mapping[str, str], keys: Sequence[str]) -> None:
        """Check that the table can have rows of these columns.

        Raises:
          UsageError: it cannot.
        """
        there = lake.columns()
        if not there or not columns:
            return
        for name, kind in columns.items():
            if (has := there.get(name.lower(), kind)) != kind:
                raise UsageError(
                    f"{said(self.spec)} cannot take these rows: its column {quoted(name)} is {has}, and theirs {kind}; "
                    "name another table with --table-name"
                )
        if {*keys} != {*lake.keys()}:
            raise UsageError(
                f"{said(self.spec)} is partitioned by {lake.keys()}, and the directories of the files say {keys}; name "
                "another table"
            )

    def _check_whole(self, lake: Lake, present: Mapping[str, Entry], last: Snapshot | None, known: int) -> None:
        """Check that nobody else has rewritten or removed what this output has published: it would come twice.

        Raises:
          LatentlakeError: somebody has.
        """
        if last is None:  # its snapshots have expired
            lost = f"{known - len(present)} files" if known > len(present) else ""
        else:
            lost = named_few(lake.files(int(last.id)).keys() - present.keys())
        if lost:
            remedy = "make it anew: drop it, and remove _table.json"
            raise files_lost(self.spec, self.output, lost, remedy)


def _names(files: Iterable[OutputFile]) -> list[str]:
    return [file.name for file in files]

"""An Iceberg table that has the files of an output, without a copy of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake.core.errors import UsageError
from lake.core.records import OutputFile
from lake.core.retry import retry
from lake.storage.redact import clean
from pipeline.tables.files import directory_keys, place, schema_of_file
from pipeline.tables.iceberg_catalog import commit_policy, folder, loaded, opened_catalog
from pipeline.tables.iceberg_files import check_paths, data_files, files_of, files_of_all
from pipeline.tables.iceberg_schema import check_partitions, evolve, table_schema
from pipeline.tables.table import LakeTable, Snapshot, TableSpec, files_digest
from pipeline.tables.table_errors import differing_files, files_lost, named_errors, named_few, said, why

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot as TableSnapshot

_OUTPUT, _RUN, _DIGEST = "latentlake.output", "latentlake.run", "latentlake.manifest"
_AGE = "history.expire.max-snapshot-age-ms"
_FIVE_DAYS = 5 * 24 * 3600 * 1000  # what Iceberg takes where a table says nothing
# Else each night leaves one more manifest, which every reader reads, and one more copy of all metadata.
_NEW = {"commit.manifest-merge.enabled": "true", "write.metadata.delete-after-commit.enabled": "true"}
# A table of another copy of the metadata would be committed to by pyiceberg's own loop, without a look at the lease.
_NO_RETRIES = {"commit.retry.num-retries": "0"}


class IcebergTable(LakeTable):
    """An Iceberg table. Files are added by their footers, and replaced or removed by name, in one snapshot a commit.

    A snapshot is committed on condition that the table's head is still the one that it was made from. Otherwise the
    table is read again, the lease is looked at again, and what is missing is found anew: so a file is never added
    twice, and a run that has lost the output changes nothing.
    """

    def __init__(self, spec: TableSpec, output: str) -> None:
        super().__init__(spec, output)
        try:
            import pyiceberg.table  # noqa: F401
        except ImportError as error:
            raise UsageError(
                "--table iceberg needs pyiceberg, which is not installed; pip install 'latentlake[iceberg]', also on "
                "workers"
            ) from error

    def check(self, schema: pa.Schema, names: Iterable[str]) -> None:
        names, columns = [*names], table_schema(schema)
        check_paths(self.output, names)
        with opened_catalog(self.spec, self.output) as catalog:
            table = loaded(catalog, self.spec)
            if table is not None:
                self._check_fits(table, columns, directory_keys(names))

    def current(self) -> Snapshot | None:
        with opened_catalog(self.spec, self.output) as catalog:
            return self._said_by(self._own(loaded(catalog, self.spec)))

    def named(self) -> set[str]:
        with opened_catalog(self.spec, self.output) as catalog:
            table = loaded(catalog, self.spec)
            return set() if table is None else files_of_all(table, self.spec, self.output)

    def publish(self, files: Sequence[OutputFile], known: int, run: str, hold: Callable[[], None]) -> Snapshot | None:
        with named_errors(self.spec), opened_catalog(self.spec, self.output, write=True) as catalog:
            assert catalog is not None
            return retry(
                f"the commit of {said(self.spec)}",
                lambda _: self._publish(catalog, files, known, run, hold),
                commit_policy,
                lambda error: clean(str(error)),
            )

    def problems(self, files: Sequence[OutputFile]) -> Iterator[str]:
        with opened_catalog(self.spec, self.output) as catalog:
            table = loaded(catalog, self.spec)
            if table is None:
                yield f"{said(self.spec)} is not in its catalog; run the job again, which makes it anew"
                return
            snapshot = self._said_by(self._own(table))
            if snapshot is not None and snapshot.digest != files_digest(files):
                yield f"snapshot {snapshot.id} of {said(self.spec)} is of another manifest; run the job again"
            yield from self._differences(files, files_of(table, table.current_snapshot(), self.spec, self.output))

    def _differences(self, files: Sequence[OutputFile], present: "Iterable[tuple[str, DataFile]]") -> Iterator[str]:
        wanted, names, wrong = {file.name: file for file in files}, set[str](), list[str]()
        for name, entry in present:
            names.add(name)
            rows, size, file = entry.record_count, entry.file_size_in_bytes, wanted.get(name)
            if file is not None and (file.rows, file.size) != (rows, size):
                wrong.append(f"{said(self.spec)} has {name} as {rows} rows in {size} bytes")
        yield from differing_files(self.spec, wanted.keys(), names)
        yield from sorted(wrong)

    def _publish(
        self, catalog: "Catalog", files: Sequence[OutputFile], known: int, run: str, hold: Callable[[], None]
    ) -> Snapshot | None:
        table, digest = loaded(catalog, self.spec), files_digest(files)
        hold()
        if table is None:
            if not files:
                return None
            table = self._created(catalog, files[0])
        present, removed = self._head(table, {file.name for file in files})
        last = self._own(table)
        self._check_whole(table, present, last, known)
        added = [file for file in files if file.name not in present]
        said_before = self._said_by(last)
        if not added and not removed and said_before is not None and said_before.digest == digest:
            return said_before
        made = self._commit(table, added, removed, {_OUTPUT: place(self.output), _RUN: run, _DIGEST: digest})
        self._expire(table)
        return Snapshot(id=str(made), run=run, digest=digest)

    def _head(self, table: "Table", wanted: Set[str]) -> "tuple[set[str], list[DataFile]]":
        """The names of this output's files that a table has, and the entries of those that are not wanted."""
        names, unwanted = set[str](), []
        for name, entry in files_of(table, table.current_snapshot(), self.spec, self.output):
            names.add(name)
            if name not in wanted:
                unwanted.append(entry)
        return names, unwanted

    def _created(self, catalog: "Catalog", file: OutputFile) -> "Table":
        schema = table_schema(schema_of_file(self.output, file))
        catalog.create_namespace_if_not_exists(self.spec.name.rpartition(".")[0])
        location = None if self.spec.catalog else str(folder(self.output) / "table")
        return catalog.create_table_if_not_exists(self.spec.name, schema, location, properties=_NEW)

    def _commit(
        self, table: "Table", added: Sequence[OutputFile], removed: "Sequence[DataFile]", properties: dict[str, str]
    ) -> int:
        before = table.metadata
        table.metadata = before.model_copy(update={"properties": {**before.properties, **_NO_RETRIES}})
        with table.transaction() as transaction:
            if added:
                columns = table_schema(schema_of_file(self.output, added[0]))
                keys = directory_keys(file.name for file in added)
                self._check_fits(table, columns, keys)
                evolve(transaction, columns, keys)
            update = transaction.update_snapshot(snapshot_properties=properties)
            with update.overwrite() if removed else update.merge_append() as snapshot:
                for entry in data_files(self.output, added, transaction.table_metadata):
                    snapshot.append_data_file(entry)
                for entry in removed:
                    snapshot.delete_data_file(entry)
            return snapshot.snapshot_id

    def _check_fits(self, table: "Table", columns: pa.Schema, keys: Sequence[str]) -> None:
        """Check that a table can have rows of these columns, without changing it.

        Raises:
          UsageError: it cannot.
        """
        check_partitions(table.spec(), table.schema(), keys, said(self.spec))
        try:
            table.transaction().update_schema().union_by_name(columns)
        except Exception as error:  # what pyiceberg raises for types that do not go together is of no common class
            raise UsageError(
                f"{said(self.spec)} cannot take these rows: {why(error)}; name another table with --table-name"
            ) from error

    def _check_whole(self, table: "Table", present: Set[str], last: "TableSnapshot | None", known: int) -> None:
        """Check that nobody else has rewritten or removed what this output has published: it would come twice.

        Raises:
          LatentlakeError: somebody has.
        """
        head = table.current_snapshot()
        if last is None:  # its snapshots have expired, or the table was made anew
            lost = f"{known - len(present)} files" if head is not None and known > len(present) else ""
        else:
            before = iter(()) if last == head else files_of(table, last, self.spec, self.output)
            lost = named_few({name for name, _ in before} - present)
        if lost:
            remedy = "roll it back, or name another --output and table"
            raise files_lost(self.spec, self.output, lost, remedy)

    def _own(self, table: "Table | None") -> "TableSnapshot | None":
        """The last snapshot of this output in the history of a table's head."""
        if table is None:
            return None
        from pyiceberg.table.snapshots import ancestors_of

        return next(filter(self._is_own, ancestors_of(table.current_snapshot(), table.metadata)), None)

    def _is_own(self, snapshot: "TableSnapshot") -> bool:
        return snapshot.summary is not None and snapshot.summary.get(_OUTPUT) == place(self.output)

    @staticmethod
    def _said_by(snapshot: "TableSnapshot | None") -> Snapshot | None:
        if snapshot is None or snapshot.summary is None:
            return None
        summary: Any = snapshot.summary
        return Snapshot(id=str(snapshot.snapshot_id), run=summary.get(_RUN) or "", digest=summary.get(_DIGEST) or "")

    def _expire(self, table: "Table") -> None:
        """Drop snapshots of this output that are older than the table keeps any, so that their files can go."""
        from pyiceberg.exceptions import CommitFailedException

        oldest = datetime.now(UTC).timestamp() * 1000 - int(table.properties.get(_AGE, _FIVE_DAYS))
        heads = {ref.snapshot_id for ref in table.refs().values()}
        old = [
            one.snapshot_id
            for one in table.snapshots()
            if self._is_own(one) and one.timestamp_ms < oldest and one.snapshot_id not in heads
        ]
        if not old:
            return
        try:
            table.maintenance.expire_snapshots().by_ids(old).commit()
        except CommitFailedException:  # another writer was first; the next run does it
            return

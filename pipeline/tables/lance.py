"""A Lance dataset with the rows of an output, copied from its tables: one version for each commit."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.choices import quoted
from lake.core.errors import LatentlakeError, UsageError
from lake.core.records import OutputFile
from lake.formats.common.hive import Partition
from lake.formats.common.parquet_file import open_parquet
from lake.formats.common.vector_storage import METADATA_KEY
from lake.storage import join, store_for
from lake.storage.location import is_local, local_path
from pipeline.tables.files import filled
from pipeline.tables.table import LakeTable, Snapshot, TableSpec, files_digest

if TYPE_CHECKING:
    from lance import LanceDataset

DATASET = "latents.lance"  # the dataset's directory, below the output
FILE_COLUMN = "latentlake_file"  # the column that says which table of the output has the row
_RUN, _DIGEST = "latentlake.run", "latentlake.manifest"  # properties of a version
_FRAGMENT = 1 << 17  # rows of a fragment: when a unit is done again, those that have rows of it are written anew
_BATCH = 4096  # rows that are copied at a time
_KEPT = timedelta(days=5)  # how long versions stay for those who read them
_ATTEMPTS = 5
_OF_FRAGMENT = 32  # bits of a row's address that are below the fragment's id


class LanceTable(LakeTable):
    """A Lance dataset. Rows of new tables are appended; fragments that have rows of old ones are replaced.

    Which tables the dataset has, it says itself, by a column. So whatever a run left that was killed, or two runs that
    committed at once, the next commit finds and mends.
    """

    def __init__(self, spec: TableSpec, output: str) -> None:
        super().__init__(spec, output)
        try:
            import lance  # noqa: F401
        except ImportError as error:
            raise UsageError(
                "--table lance needs pylance, which is not installed; pip install 'latentlake[lance]', also on workers"
            ) from error

    def check(self, schema: pa.Schema, names: Iterable[str]) -> None:  # noqa: ARG002
        if not is_local(self.output):
            raise UsageError(f"--table lance: {self.output} is in a store, and the dataset is for a disk; name one")
        if self.spec != TableSpec(kind=self.spec.kind):
            raise UsageError(
                "--catalog and --table-name are of other tables: a Lance dataset is a directory of the output; leave "
                "them out"
            )
        if FILE_COLUMN in schema.names:
            raise UsageError(
                f"--table lance: a column is called {FILE_COLUMN}, as one of the dataset; leave it out with --carry"
            )
        _check_types(_plain(schema))

    def current(self) -> Snapshot | None:
        dataset = self._opened()
        return None if dataset is None else _last(dataset)

    def named(self) -> set[str]:
        return set()  # rows are copies

    def published(self, files: Sequence[OutputFile]) -> Sequence[OutputFile]:
        return filled(files)

    def publish(self, files: Sequence[OutputFile], known: int, run: str, hold: Callable[[], None]) -> Snapshot | None:  # noqa: ARG002
        for _ in range(_ATTEMPTS):
            dataset = self._opened()
            before = 0 if dataset is None else int(dataset.version)
            hold()
            made = self._publish(dataset, files, run)
            if made is None or made.version in (before, before + 1):
                return None if made is None else _last(made)
            # Another run has committed as well. What the two have made of it is looked at again.
        raise LatentlakeError(f"{self._place}: other writers were first {_ATTEMPTS} times; run the job again")

    def problems(self, files: Sequence[OutputFile]) -> Iterator[str]:
        dataset = self._opened()
        if dataset is None:
            yield f"{self._place} is not there; run the job again, which makes it anew"
            return
        wanted, present = {file.name: file.rows for file in filled(files)}, _Present.of(dataset).rows
        for name in sorted(wanted.keys() | present.keys()):
            rows, found = wanted.get(name, 0), present.get(name, 0)
            if rows != found:
                yield (
                    f"{self._place} has {found:,} rows of {name}, and the manifest {rows:,}; remove the dataset and "
                    "run the job again, which makes it anew"
                )

    @property
    def _place(self) -> str:
        return str(local_path(self.output) / DATASET)

    def _opened(self) -> "LanceDataset | None":
        import lance

        try:
            return lance.dataset(self._place)
        except (ValueError, FileNotFoundError) as error:
            if "not found" in str(error):
                return None
            raise

    def _publish(self, dataset: "LanceDataset | None", files: Sequence[OutputFile], run: str) -> "LanceDataset | None":
        """Bring the dataset to some files; the version that has them, None where there is nothing to make it of."""
        import lance

        said = {_RUN: run, _DIGEST: files_digest(files)}
        wanted = filled(files)
        if dataset is None and not wanted:
            return None
        if dataset is None or (wanted and not _has_columns(dataset, self._schema(wanted[0]))):
            schema = self._schema(wanted[0])
            rows = pa.RecordBatchReader.from_batches(schema, self._batches(wanted, schema))
            mode = "create" if dataset is None else "overwrite"
            return lance.write_dataset(
                rows, self._place, mode=mode, max_rows_per_file=_FRAGMENT, transaction_properties=said
            )
        return self._updated(dataset, wanted, said)

    def _updated(self, dataset: "LanceDataset", files: Sequence[OutputFile], said: dict[str, str]) -> "LanceDataset":
        from lance import LanceDataset, LanceOperation, Transaction
        from lance.fragment import write_fragments

        present, last = _Present.of(dataset), _last(dataset)
        wrong = present.rows.keys() - {file.name for file in files if present.rows.get(file.name) == file.rows}
        added = [file for file in files if present.rows.get(file.name) != file.rows]
        if not wrong and not added and last is not None and last.digest == said[_DIGEST]:
            return dataset
        replaced = sorted({fragment for name in wrong for fragment in present.fragments[name]})
        rows = chain(_without(dataset, replaced, wrong), self._batches(added, dataset.schema))
        first = next(rows, None)
        new = []
        if first is not None:
            reader = pa.RecordBatchReader.from_batches(dataset.schema, chain([first], rows))
            new = write_fragments(reader, self._place, max_rows_per_file=_FRAGMENT)
        change = LanceOperation.Update(removed_fragment_ids=replaced, new_fragments=new)
        operation = change if replaced else LanceOperation.Append(new)
        transaction = Transaction(read_version=dataset.version, operation=operation, transaction_properties=said)
        made = LanceDataset.commit(dataset, transaction)
        made.cleanup_old_versions(_KEPT, error_if_tagged_old_versions=False)
        return made

    def _schema(self, file: OutputFile) -> pa.Schema:
        """The columns of the dataset, as those of a table."""
        uri = join(self.output, file.name)
        with store_for(uri).open(uri, sparse=True) as stream:
            parquet = open_parquet(stream)
            metadata, partition = parquet.metadata.metadata or {}, Partition.of(parquet.metadata.metadata)
            schema = parquet.schema_arrow if partition is None else parquet.schema_arrow.append(partition.field)
        said = {key: value for key, value in metadata.items() if key == METADATA_KEY.encode()}
        return _plain(schema).append(pa.field(FILE_COLUMN, pa.string())).with_metadata(said)

    def _batches(self, files: Iterable[OutputFile], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows of tables as they are in the dataset."""
        for file in files:
            uri = join(self.output, file.name)
            with store_for(uri).open(uri) as stream:
                parquet = open_parquet(stream)
                partition = Partition.of(parquet.metadata.metadata)
                for batch in parquet.iter_batches(_BATCH, use_threads=False):
                    rows = batch if partition is None else partition.added(batch)
                    rows = rows.append_column(FILE_COLUMN, pa.repeat(file.name, rows.num_rows))
                    yield rows.cast(schema)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Present:
    """What a dataset has.

    Attributes:
      rows: number of rows by the table that they are of.
      fragments: ids of the fragments that have some of these.
    """

    rows: Mapping[str, int]
    fragments: Mapping[str, set[int]]

    @classmethod
    def of(cls, dataset: "LanceDataset") -> "_Present":
        """Read the column that says it, and where its rows are."""
        rows, fragments = Counter[str](), defaultdict[str, set[int]](set)
        for batch in dataset.scanner(columns=[FILE_COLUMN], with_row_address=True).to_batches():
            names = batch.column(FILE_COLUMN).dictionary_encode()
            codes, places = names.indices.to_numpy(), batch.column("_rowaddr").to_numpy() >> _OF_FRAGMENT
            for code, name in enumerate(names.dictionary.to_pylist()):
                own = places[codes == code]
                rows[name] += len(own)
                fragments[name].update(np.unique(own).tolist())
        return cls(rows=rows, fragments=fragments)


def _without(dataset: "LanceDataset", fragments: Sequence[int], names: Set[str]) -> Iterator[pa.RecordBatch]:
    """The rows of some fragments that are not of some tables."""
    for fragment in fragments:
        found = dataset.get_fragment(fragment)
        assert found is not None
        for batch in found.to_batches():
            stays = pc.invert(pc.is_in(batch.column(FILE_COLUMN), value_set=pa.array(sorted(names), pa.string())))
            if (rows := batch.filter(stays)).num_rows:
                yield rows


def _last(dataset: "LanceDataset") -> Snapshot | None:
    """The last version that a run has made: others may have made an index since, or larger fragments."""
    for version in sorted((one["version"] for one in dataset.versions()), reverse=True):
        said = _said(dataset, version)
        if _DIGEST in said:
            return Snapshot(id=str(version), run=said.get(_RUN, ""), digest=said[_DIGEST])
    return None


def _said(dataset: "LanceDataset", version: int) -> Mapping[str, str]:
    transaction = dataset.read_transaction(version)
    return {} if transaction is None else transaction.transaction_properties or {}


def _has_columns(dataset: "LanceDataset", schema: pa.Schema) -> bool:
    """Whether a dataset has these columns, and latents that are stored like these."""
    scales = ((said.metadata or {}).get(METADATA_KEY.encode()) for said in (dataset.schema, schema))
    return bool(dataset.schema.equals(schema)) and len({*scales}) == 1


def _plain(schema: pa.Schema) -> pa.Schema:
    """Columns as a dataset gives them back: without dictionaries, and of vectors without what else Arrow says."""
    return pa.schema([pa.field(field.name, _plain_type(field.type)) for field in schema])


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return pa.list_(kind.value_type, kind.list_size) if pa.types.is_fixed_size_list(kind) else kind


def _check_types(schema: pa.Schema) -> None:
    import lance

    for field in schema:
        try:
            lance.write_dataset(pa.schema([field]).empty_table(), f"memory://{uuid4().hex}")
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(
                f"--table lance: column {quoted(field.name)} is {field.type}, which Lance does not have; leave it out "
                "with --carry"
            ) from error

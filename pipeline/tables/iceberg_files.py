"""Data files of an output as entries of an Iceberg table: made of their footers, and read back from its snapshots."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from lake.core.errors import UsageError
from lake.core.ordered_map import requested
from lake.core.records import OutputFile
from lake.storage.location import is_local
from pipeline.output.layout import LATENTS
from pipeline.tables.files import footer_of, place
from pipeline.tables.iceberg_catalog import commit_policy, unreadable
from pipeline.tables.iceberg_schema import partition_of
from pipeline.tables.table import TableSpec

if TYPE_CHECKING:
    from pyiceberg.io.pyarrow import StatisticsCollector
    from pyiceberg.manifest import DataFile, ManifestFile
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot as TableSnapshot

_CUT = frozenset("?#")  # pyiceberg and others read an object's URI up to these


def check_paths(output: str, names: Sequence[str]) -> None:
    """Check that readers of a table find files of some names.

    Raises:
      UsageError: they would not, in a store.
    """
    if not is_local(output) and (odd := next((name for name in names if _CUT & {*name}), None)):
        raise UsageError(f"--table iceberg: {odd!r} has a ? or #, at which readers of a table cut a URI; rename it")


def data_files(output: str, files: Sequence[OutputFile], metadata: "TableMetadata") -> "Iterator[DataFile]":
    """Describe data files to a table: their partitions, and minima and maxima of their columns.

    Args:
      output: URI of the output.
      files: to describe.
      metadata: of the table.
    """
    from pyiceberg.io.pyarrow import compute_statistics_plan, parquet_path_to_id_mapping

    plan = compute_statistics_plan(metadata.schema(), metadata.properties)
    columns = parquet_path_to_id_mapping(metadata.schema())
    return requested(partial(_data_file, output, metadata, plan, columns), files)


def _data_file(
    output: str,
    metadata: "TableMetadata",
    plan: "dict[int, StatisticsCollector]",
    columns: dict[str, int],
    file: OutputFile,
) -> "DataFile":
    from pyiceberg.io.pyarrow import data_file_statistics_from_parquet_metadata
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat

    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=footer_of(output, file.name), stats_columns=plan, parquet_column_mapping=columns
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=place(output) + file.name,
        file_format=FileFormat.PARQUET,
        partition=partition_of(file.name, metadata.spec(), metadata.schema()),
        file_size_in_bytes=file.size,
        sort_order_id=None,
        spec_id=metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def files_of(
    table: "Table", snapshot: "TableSnapshot | None", spec: TableSpec, output: str
) -> "Iterator[tuple[str, DataFile]]":
    """The latent files of an output that a snapshot has, each with its name relative to the output, one by one.

    Args:
      table: the table.
      snapshot: one of its snapshots; None for that of an empty table.
      spec: the table, for errors.
      output: URI of the output.

    Raises:
      VerifyError: a file of the table's metadata is gone or damaged.
    """
    manifests = () if snapshot is None else _manifests(table, snapshot, spec)
    return _named(table, manifests, spec, output)


def files_of_all(table: "Table", spec: TableSpec, output: str) -> set[str]:
    """The names of the latent files of an output that any snapshot of a table has.

    Raises:
      VerifyError: a file of the table's metadata is gone or damaged.
    """
    manifests = {one.manifest_path: one for snapshot in table.snapshots() for one in _manifests(table, snapshot, spec)}
    return {name for name, _ in _named(table, manifests.values(), spec, output)}


def _manifests(table: "Table", snapshot: "TableSnapshot", spec: TableSpec) -> "list[ManifestFile]":
    with _reading(spec, snapshot.manifest_list):
        return snapshot.manifests(table.io)


def _named(
    table: "Table", manifests: "Iterable[ManifestFile]", spec: TableSpec, output: str
) -> "Iterator[tuple[str, DataFile]]":
    from pyiceberg.manifest import DataFileContent, ManifestContent

    start = place(output)
    for manifest in manifests:
        if manifest.content != ManifestContent.DATA:
            continue
        with _reading(spec, manifest.manifest_path):
            for file in _live_files(table, manifest):
                path = file.file_path.removeprefix("file://")
                if file.content == DataFileContent.DATA and path.startswith(f"{start}{LATENTS}/"):
                    yield path.removeprefix(start), file


@contextmanager
def _reading(spec: TableSpec, file: str) -> Iterator[None]:
    """Say of an error which file of a table's metadata cannot be read, unless trying again may help."""
    try:
        yield
    except Exception as error:  # of Avro's decoder, of what unpacks its blocks, or of any file system
        if commit_policy(error) is not None:
            raise
        raise unreadable(spec, error, file) from error


def _live_files(table: "Table", manifest: "ManifestFile") -> "Iterator[DataFile]":
    """The files of a manifest, each made when it is asked for.

    ``ManifestFile.fetch_manifest_entry`` makes all at once: 2.6 kB each, and a first commit writes one manifest.
    """
    from pyiceberg.avro.file import AvroFile
    from pyiceberg.manifest import (
        DEFAULT_READ_VERSION,
        MANIFEST_ENTRY_SCHEMAS,
        DataFile,
        DataFileContent,
        FileFormat,
        ManifestEntry,
        ManifestEntryStatus,
    )

    with AvroFile[ManifestEntry](
        table.io.new_input(manifest.manifest_path),
        MANIFEST_ENTRY_SCHEMAS[DEFAULT_READ_VERSION],
        read_types={-1: ManifestEntry, 2: DataFile},
        read_enums={0: ManifestEntryStatus, 101: FileFormat, 134: DataFileContent},
    ) as entries:
        for entry in entries:
            if entry.status != ManifestEntryStatus.DELETED:
                entry.data_file.spec_id = manifest.partition_spec_id
                yield entry.data_file

"""The tables of an output as a dataset of PyArrow, over any store."""

from collections.abc import Sequence
from io import SEEK_SET, RawIOBase
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from lake.core.records import OutputFile
from lake.storage import Store, store_for
from lake.storage.location import is_local, local_path
from pipeline.explore.committed import Committed
from pipeline.output.units.receipts import Receipt


def open_dataset(committed: Committed, files: Sequence[tuple[Receipt, OutputFile]], schema: pa.Schema) -> ds.Dataset:
    """Open some tables of an output. Directories such as ``dt=2026-11-22/`` become columns.

    Args:
      committed: the output.
      files: the tables.
      schema: of each, with the column of partitions.
    """
    if not files:
        return ds.dataset(schema.empty_table())
    output = committed.layout.output
    base = str(local_path(output)) if is_local(output) else output
    directory = files[0][1].name.partition("/")[0]
    found = ds.FileSystemDatasetFactory(
        fs.LocalFileSystem() if is_local(output) else fs.PyFileSystem(StoreFiles(store_for(output))),
        [f"{base}/{file.name}" for _, file in files],
        ds.ParquetFileFormat(),
        ds.FileSystemFactoryOptions(
            partition_base_dir=f"{base}/{directory}", partitioning=ds.HivePartitioning.discover()
        ),
    )
    return found.finish(_typed(found.inspect(), schema))


def _typed(found: pa.Schema, schema: pa.Schema) -> pa.Schema:
    """What a dataset has found, with columns of the types that tables have: those of directories are guessed."""
    known = {field.name: field.type for field in schema}
    return pa.schema([field.with_type(known.get(field.name, field.type)) for field in found], found.metadata)


class _SelfClosing(RawIOBase):
    """A stream that is closed once nobody has it any more: Arrow drops streams, and does not close them.

    Args:
      stream: the stream.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        self._stream.close()
        super().close()


class StoreFiles(fs.FileSystemHandler):  # type: ignore[misc, unused-ignore]
    """A store as PyArrow reads one: files that are named, and nothing else.

    Args:
      store: the store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def get_type_name(self) -> str:
        return "latentlake"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: Sequence[str]) -> list[fs.FileInfo]:
        return [self._info(path) for path in paths]

    def open_input_stream(self, path: str) -> pa.PythonFile:
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> pa.PythonFile:
        return pa.PythonFile(_SelfClosing(self._store.open(path)), mode="r")

    def _info(self, path: str) -> fs.FileInfo:
        found = self._store.stat(path)
        if found is None:
            return fs.FileInfo(path, fs.FileType.NotFound)
        return fs.FileInfo(path, fs.FileType.File, size=found.size)

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("an output is only read")

    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refuse
    delete_file = move = copy_file = open_output_stream = open_append_stream = _refuse

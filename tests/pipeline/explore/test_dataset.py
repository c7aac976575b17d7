"""The tables as a dataset: of a disk, and through a store's own interface."""

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from pyarrow import fs

from lake.storage import store_for
from pipeline.explore.committed import Committed
from pipeline.explore.dataset import StoreFiles, open_dataset
from tests.pipeline.explore.values import clustered, make_output


class Bucket:
    """A directory under the name of a bucket."""

    def __init__(self, place: Path) -> None:
        self.place, self.store = place, store_for("")

    def _path(self, uri: str) -> str:
        return uri.replace("s3://bucket", str(self.place))

    def open(self, uri: str, *, sparse: bool = False) -> object:
        return self.store.open(self._path(uri), sparse=sparse)

    def stat(self, uri: str) -> object:
        return self.store.stat(self._path(uri))


def test_a_dataset_over_a_store(tmp_path: Path) -> None:
    make_output(tmp_path / "o", clustered(300, 4), sizes=[100, 200])
    files = fs.PyFileSystem(StoreFiles(Bucket(tmp_path)))  # type: ignore[arg-type]
    names = [f"s3://bucket/o/latents/u{number}.parquet" for number in range(2)]
    found = ds.dataset(names, format="parquet", filesystem=files)
    assert found.count_rows() == 300
    rows = found.to_table(filter=ds.field("key") == "k250", use_threads=False)
    assert rows.column("index").to_pylist() == [150]
    with pytest.raises(FileNotFoundError):
        ds.dataset(["s3://bucket/o/latents/u7.parquet"], format="parquet", filesystem=files)
    with pytest.raises(NotImplementedError, match="an output is only read"):
        files.delete_file(names[0])


def test_no_table_at_all(tmp_path: Path) -> None:
    committed = Committed.read(make_output(tmp_path / "o", clustered(9, 4)))
    schema = pa.schema([("x", pa.int64())])
    assert open_dataset(committed, [], schema).to_table().schema == schema

"""The first shard that can tell its columns settles them; shards without records tell nothing."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from lake.core.errors import InputError
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.inputs.columns import settle
from lake.inputs.discover import find_shards
from tests.conftest import png
from tests.lake.inputs.test_reference import IMAGES


def tar(path: Path, *names: str) -> None:
    with tarfile.open(path, "w") as archive:
        for name in names:
            info, data = tarfile.TarInfo(name), b"7" if name.endswith("cls") else png(IMAGES[0])
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def settled(folder: Path, **asked: object) -> RecordSchema:
    return settle(find_shards([str(folder)]), ColumnSelection(**asked))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["tar", "tfrecord", "tfrecord.gz"])
def test_shards_without_records_settle_nothing(tmp_path: Path, kind: str) -> None:
    for number in range(12):
        path = tmp_path / f"{number:02}.{kind}"
        if kind == "tar":
            tar(path)
        else:
            path.write_bytes(gzip.compress(b"") if kind.endswith("gz") else b"")
    columns = settled(tmp_path, carry=("cls",), image="png")
    assert (columns.settled, columns.image, columns.carry.names) == (False, "png", [])


def test_a_shard_after_many_empty_ones_settles_them(tmp_path: Path) -> None:
    for number in range(30):
        tar(tmp_path / f"{number:02}.tar")
    tar(tmp_path / "99.tar", "a.png", "a.cls")
    columns = settled(tmp_path)
    assert (columns.settled, columns.carry.names) == (True, ["cls"])


def test_of_others_ten_are_tried(tmp_path: Path) -> None:
    for number in range(10):
        tar(tmp_path / f"{number:02}.tar", "a.txt")
    tar(tmp_path / "99.tar", "a.png")
    with pytest.raises(InputError, match=r"^00\.tar: no sample with a member png"):
        settled(tmp_path)
    tar(tmp_path / "05.tar", "a.png")
    assert settled(tmp_path).settled
    (tmp_path / "05.tar").unlink()
    for number in range(10):
        (tmp_path / f"{number:02}.tar").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"^none of the first 10 shards can be read: 00\.tar: "):
        settled(tmp_path)

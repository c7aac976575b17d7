"""About how many samples an archive has, against how many it has."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from lake.core.records import Shard, Unit
from lake.formats import FORMATS
from pipeline.job.record_counts import about_records


def make_tar(path: Path, count: int, size: int, mode: str = "w", format: int = tarfile.PAX_FORMAT) -> Path:
    rng = np.random.default_rng(count)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, format=format) as tar:
        for number in range(count):
            for suffix, length in (("png", int(size * rng.uniform(0.5, 1.5))), ("txt", 20)):
                member = tarfile.TarInfo(f"photos/{number:05d}.{suffix}")
                member.size, member.mtime = length, 0.5
                tar.addfile(member, io.BytesIO(bytes(length)))
    return path


def shard_of(path: Path) -> Shard:
    return Shard(uri=str(path), path=path.name, size=path.stat().st_size, identity="")


@pytest.mark.parametrize(("count", "size"), [(3000, 900), (200, 60_000), (5, 1_500_000), (1, 10), (2, 10)])
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_about_as_many_as_there_are(count: int, size: int, format: int, tmp_path: Path) -> None:
    shard = shard_of(make_tar(tmp_path / "a.tar", count, size, format=format))
    about = FORMATS["webdataset"].reader.about(shard)
    assert about is not None
    padding = 10 if count < 5 else 0  # blocks of zeros at the end, of very small archives
    assert about == pytest.approx(count, rel=0.6 if count < 10 else 0.15, abs=padding)


def test_what_tells_nothing(tmp_path: Path) -> None:
    reader = FORMATS["webdataset"].reader
    assert reader.about(shard_of(make_tar(tmp_path / "a.tar.gz", 5, 100, "w:gz"))) is None
    (tmp_path / "b.tar").write_bytes(bytes(10_240))
    assert reader.about(shard_of(tmp_path / "b.tar")) is None
    assert about_records([]) is None


def test_archives_of_small_and_of_large_images(tmp_path: Path) -> None:
    shards = [shard_of(make_tar(tmp_path / f"{n}.tar", *form)) for n, form in enumerate([(1000, 900), (20, 200_000)])]
    units = [Unit(id=shard.path, format="webdataset", shards=(shard,)) for shard in shards]
    assert about_records(units) == pytest.approx(1020, rel=0.1)
    gone = Unit(id="gone", format="webdataset", shards=(Shard(uri="/none.tar", path="none.tar", size=10, identity=""),))
    assert about_records([*units, gone]) == pytest.approx(1020, rel=0.1)

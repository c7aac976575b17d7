"""About how many records a shard has, against how many it has."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from lake.core.records import Shard
from lake.formats import FORMATS
from lake.formats.tfrecord.framing import framed


def about(path: Path, data: bytes) -> float | None:
    path.write_bytes(data)
    return FORMATS["tfrecord"].reader.about(Shard(uri=str(path), path=path.name, size=len(data), identity=""))


@pytest.mark.parametrize(("count", "size"), [(3000, 900), (100, 60_000), (3, 1_500_000), (1, 10)])
def test_about_as_many_as_there_are(count: int, size: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(count)
    data = framed([bytes(int(size * rng.uniform(0.5, 1.5))) for _ in range(count)])
    assert about(tmp_path / "a.tfrecord", data) == pytest.approx(count, rel=0.6 if count < 10 else 0.15)


def test_records_of_one_size_are_counted(tmp_path: Path) -> None:
    assert about(tmp_path / "a.tfrecord", framed([bytes(1000)] * 700)) == pytest.approx(700)


def test_what_tells_nothing(tmp_path: Path) -> None:
    data = framed([b"abc"] * 100)
    assert about(tmp_path / "a.tfrecord.gz", gzip.compress(data)) is None
    assert about(tmp_path / "b.tfrecord", b"") is None
    assert about(tmp_path / "c.tfrecord", b"\1" + data[1:]) is None  # the checksum of the first length is wrong

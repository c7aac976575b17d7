"""A night whose shards have no records yet is complete, and the next one is as if it had been the first."""

import gzip
import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import OutputError
from pipeline.output.verify import verify
from tests.conftest import Model, write_parquet
from tests.pipeline.conftest import run_job


def tar(path: Path, files: list[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for number, data in enumerate(files):
            for name, content in ((f"{number}.png", data), (f"{number}.cls", b"3")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def test_empty_shards_are_complete_and_settle_nothing(tmp_path: Path, model: Model, digit_files: list[bytes]) -> None:
    tar(tmp_path / "in/0.tar", [])
    night = run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out")
    assert (night["complete"], night["total"]["units"], night["total"]["read"]) == (True, 1, 0)
    assert run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out")["run"]["units"] == 0
    tar(tmp_path / "in/1.tar", digit_files[:20])
    night = run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out")
    assert (night["complete"], night["total"]["units"], night["total"]["results"]) == (True, 2, 20)
    run_job("encode", tmp_path / "in", model.bundle, tmp_path / "clean")
    for unit in ("0", "1"):
        table = f"latents/{unit}.parquet"
        assert (tmp_path / "out" / table).read_bytes() == (tmp_path / "clean" / table).read_bytes()
    assert pq.read_table(tmp_path / "out/latents/1.parquet").column("cls").to_pylist() == [3] * 20
    assert run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out")["run"]["units"] == 0


def test_other_options_are_refused_after_an_empty_night_too(tmp_path: Path, model: Model) -> None:
    tar(tmp_path / "in/0.tar", [])
    run_job("reconstruct", tmp_path / "in", model.bundle, tmp_path / "out")
    with tarfile.open(tmp_path / "out/images/0.tar") as images:
        assert images.getnames() == []
    with pytest.raises(OutputError, match=r"made with other options \(verb reconstruct -> encode"):
        run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out")


def nothing(folder: Path) -> list[str]:
    """Files without records, as writers leave them that had none; their names."""
    without = {
        "0.tar": b"",
        "1.tar.gz": gzip.compress(b""),
        "2.tfrecord": b"",
        "3.tfrecord.gz": gzip.compress(b"") * 2,
    }
    for name, data in without.items():
        (folder / name).write_bytes(data)
    pq.write_table(pa.table({"image": pa.nulls(0), "label": pa.nulls(0)}), folder / "4.parquet")
    return [*without, "4.parquet"]


def test_shards_of_nothing_become_shards_of_nothing(tmp_path: Path, model: Model, digit_files: list[bytes]) -> None:
    tar(tmp_path / "in/a/tar.tar", digit_files[:2])
    write_parquet(tmp_path / "in/a/table.parquet", digit_files[2:4], [1, 2])
    names = nothing(tmp_path / "in")
    for turn in (1, 0):
        summary = run_job(
            "reconstruct", tmp_path / "in", model.bundle, tmp_path / "out", format="mixed", image_format="same"
        )
        assert (summary["complete"], summary["total"]["results"], summary["total"]["rejects"]) == (True, 4, 0)
        assert summary["run"]["units"] == 7 * turn
    assert sorted(path.name for path in (tmp_path / "out/images").iterdir() if path.is_file()) == sorted(names)
    for name in names[:2]:
        with tarfile.open(tmp_path / "out/images" / name) as images:
            assert images.getnames() == []
    assert gzip.decompress((tmp_path / "out/images/3.tfrecord.gz").read_bytes()) == b""
    assert pq.read_table(tmp_path / "out/images/4.parquet").num_rows == 0
    verify(str(tmp_path / "out"), deep=True).raise_for_problems()

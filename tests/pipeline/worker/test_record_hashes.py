"""``--hash``: two more columns, for every verb that reads images, in the same pass."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lake.core.errors import OutputError
from lake.images.perceptual_hash import perceptual_hashes
from pipeline.explore.output import Output
from pipeline.options.job_options import make_options
from pipeline.options.kept_options import options_to_json
from tests.conftest import Model, Pixels, write_parquet
from tests.pipeline.conftest import run_job


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, digit_files: list[bytes]) -> Path:
    """Sixty digits, one of which is there twice, and one that is no image."""
    folder = tmp_path_factory.mktemp("source")
    files = [*digit_files[:40], b"no image", *digit_files[40:59], digit_files[7]]
    write_parquet(folder / "some.parquet", files, [0] * len(files))
    return folder


@pytest.mark.parametrize("verb", ["encode", "reconstruct"])
def test_hashes_of_each_record(verb: str, source: Path, model: Model, digits: Pixels, tmp_path: Path) -> None:
    loose = {"max_reject_fraction": 1.0}
    run_job(verb, source, model.bundle, tmp_path / "out", hash=True, gate=loose)
    output = Output(tmp_path / "out")
    table = output.table.to_table()
    files = pq.read_table(source / "some.parquet").column("image").to_pylist()
    kept = [file["bytes"] for file in files if file["bytes"] != b"no image"]
    assert table.column("sha256").to_pylist() == [hashlib.sha256(data).digest() for data in kept]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in kept])
    assert table.column("phash").to_pylist() == perceptual_hashes(pixels[..., None]).tolist()
    assert output.verify(deep=True).problems == ()
    (group,) = [row for row in output.duplicates(threshold=1e-9).table.to_pylist() if not row["keep"]]
    assert (group["key"], group["by"]) == ("00060.png", "sha256")
    with pytest.raises(OutputError, match="made with other options"):
        run_job(verb, source, model.bundle, tmp_path / "out", gate=loose)


def test_denoised_images_have_those_of_the_noisy_ones(source: Path, tmp_path: Path) -> None:
    gate = {"max_reject_fraction": 1.0}
    run_job("denoise", source, "zoo:denoiser-gray", tmp_path / "out", hash=True, noise_level="25", gate=gate)
    table = Output(tmp_path / "out").table.to_table()
    files = pq.read_table(source / "some.parquet").column("image").to_pylist()
    kept = [file["bytes"] for file in files if file["bytes"] != b"no image"]
    assert table.column("sha256").to_pylist() == [hashlib.sha256(data).digest() for data in kept]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in kept])
    assert table.column("phash").to_pylist() == perceptual_hashes(pixels[..., None]).tolist()


def test_vectors_have_no_perceptual_hash(tmp_path: Path) -> None:
    import pyarrow as pa

    from lake.core.records import Records
    from lake.images.types import Group
    from pipeline.worker.record_hashes import RecordHashes

    payload = np.arange(6, dtype=np.float32).reshape(2, 3)
    records = Records(shard="", index=np.arange(2), key=pa.array(["a", "b"]), payload=payload, carried={})
    group = Group(positions=np.arange(2), pixels=payload)
    digests, hashes = RecordHashes(records).add_all([group]).arrays(np.array([1]))
    assert digests.to_pylist() == [hashlib.sha256(np.array([3, 4, 5], "<f4").tobytes()).digest()]
    assert hashes.to_pylist() == [None]


def test_an_output_without_hashes_says_nothing_of_them() -> None:
    values = {"input": "x", "model": "m", "output": "o"}
    assert "hash" not in options_to_json(make_options("encode", values))
    assert options_to_json(make_options("encode", {**values, "hash": True}))["hash"] is True

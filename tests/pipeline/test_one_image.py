"""A whole job over a folder of ``.npy`` files with one image each: encode, denoise, retry."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lake.core.errors import UsageError
from pipeline.config import Gate
from tests.conftest import Model, Pixels
from tests.pipeline.conftest import run_job


def test_each_file_is_a_record(model: Model, digits: Pixels, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(40):
        np.save(source / f"{number:02d}.npy", digits[number])
    (source / "bad.npy").write_bytes(b"no array")
    summary = run_job("encode", source, model.bundle, tmp_path / "out", gate=Gate(max_reject_fraction=0.5))
    assert (summary["total"]["results"], summary["total"]["rejects"]) == (40, 1)
    (file,) = (tmp_path / "out/latents").rglob("*.parquet")
    rows = pq.read_table(file).to_pylist()
    assert [(row["key"], row["shard"], row["index"]) for row in rows] == [
        (f"{number:02d}.npy", f"{number:02d}.npy", 0) for number in range(40)
    ]
    np.testing.assert_allclose([row["latent"] for row in rows], model.encode(digits[:40]), rtol=1e-4, atol=1e-5)
    assert (
        run_job("encode", source, model.bundle, tmp_path / "out", gate=Gate(max_reject_fraction=0.5))["run"]["units"]
        == 0
    )


def test_images_go_to_another_format(model: Model, digits: Pixels, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(3):
        np.save(source / f"{number}.npy", digits[number])
    with pytest.raises(UsageError, match="npy shards are not written; name the format of new ones, --output-format"):
        run_job("reconstruct", source, model.bundle, tmp_path / "out")
    run_job("reconstruct", source, model.bundle, tmp_path / "out", output_format="array")
    (file,) = (tmp_path / "out/images").rglob("*.npz")
    made = np.load(file)
    wanted = model.reconstruct(digits[:3]) * 255
    np.testing.assert_allclose(made["images"].reshape(3, -1), wanted.reshape(3, -1), atol=0.51)
    assert made["keys"].tolist() == ["0.npy", "1.npy", "2.npy"]

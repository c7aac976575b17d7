from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from model.bundle import Bundle
from model.runtime.runtime import Runtime
from tests.examples.conftest import Example


@pytest.mark.timeout(180)
@pytest.mark.slow
def test_latents_of_its_own_model(example: Example, tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (64, 8, 8, 1), np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    ended = example(
        "train_and_export.py", "--images", "images.npy", "--output", "work", "--latent-dim", 6, "--epochs", 2
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("latents (64, 6), mean ")
    table = pq.read_table(tmp_path / "work/latents/latents").sort_by("index")
    expected = Runtime.load(Bundle.open(str(tmp_path / "work/bundle"))).encode(pixels)
    np.testing.assert_allclose(np.stack(table["latent"].to_numpy()), expected, atol=1e-5)

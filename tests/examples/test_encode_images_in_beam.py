from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

from model.bundle import Bundle
from model.runtime.runtime import Runtime
from tests.examples.conftest import Example


@pytest.mark.slow
def test_latents_and_rejects(example: Example, photos: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "photos/bad.png").write_bytes(b"no image")
    ended = example("encode_images_in_beam.py", "--images", "photos/*.png", "--output", "own")
    assert ended.returncode == 0, ended.stderr
    table = ds.dataset(sorted((tmp_path / "own").glob("latents*.parquet"))).to_table().sort_by("path")
    assert [Path(path).name for path in table["path"].to_pylist()] == [f"{number:02d}.png" for number in range(10)]
    expected = Runtime.load(Bundle.open("zoo:mnist-autoencoder")).encode(photos[..., None])
    np.testing.assert_allclose(np.stack(table["latent"].to_numpy()), expected, atol=1e-5)
    (rejects,) = (tmp_path / "own").glob("rejects*.tsv")
    ((path, reason, _),) = [line.split("\t") for line in rejects.read_text().splitlines()]
    assert (Path(path).name, reason) == ("bad.png", "unknown_format")

"""Rules that came later, and outputs from before them."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.job import source
from pipeline.job.prepare import prepare
from pipeline.options.job_options import JobOptions
from tests.pipeline.conftest import run_job

MODEL = "zoo:denoiser-gray"


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Two shots of 12 bits in 16, with hot pixels."""
    rng = np.random.default_rng(0)
    light = 300 + 200 * np.sin(np.arange(96) / 20)[:, None] * np.ones(96)
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        shot = np.rint(rng.poisson(light) + rng.normal(0, 5, light.shape)).astype(np.uint16)
        shot[rng.random(shot.shape) < 0.002] = 4095
        np.save(tmp_path / f"in/{name}.npy", shot[None, ..., None])
    return tmp_path / "in"


def level(output: Path, name: str) -> float:
    """What the table says of an image's noise."""
    (row,) = pq.read_table(output / f"metrics/{name}.parquet").to_pylist()
    found: float = row["noise_level"]
    return found


@pytest.mark.parametrize("noise", ["gaussian", "poisson-gaussian"])
def test_hot_pixels_stay_noise_where_an_output_was_begun_so(
    shots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: str
) -> None:
    told = {"noise_level": "estimate"} if noise == "gaussian" else {"noise": noise}
    output, later = tmp_path / "out", tmp_path / "b.npy"
    (shots / "b.npy").rename(later)
    with monkeypatch.context() as patch:  # as it was before there was a choice
        patch.setattr(source, "with_kept_spots", lambda noise, *_, **__: noise)
        run_job("denoise", shots, MODEL, output, **told)
    options = JobOptions(verb="denoise", model=MODEL, input=str(shots), output=str(output), **told)
    job = prepare(options)
    assert job.nothing_to_do
    assert "spots" not in job.config.options()["noise"]
    later.rename(shots / "b.npy")
    run_job("denoise", shots, MODEL, output, **told)
    run_job("denoise", shots, MODEL, tmp_path / "new", **told)
    for name in ("a", "b"):
        assert level(output, name) != level(tmp_path / "new", name)
    anew = JobOptions(verb="denoise", model=MODEL, input=str(shots), output=str(output), overwrite=True, **told)
    assert prepare(anew).config.options()["noise"]["spots"] is True

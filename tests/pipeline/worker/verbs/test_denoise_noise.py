"""``denoise`` of noise that it is not told: estimated, or of photons. With the zoo's denoiser."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lake.core.errors import OutputError
from lake.images.anscombe import PoissonGaussian
from lake.images.noise import estimate
from lake.images.photon_noise import estimate_camera
from model.bundle import Bundle
from model.denoiser import Denoiser
from model.photon_denoiser import denoise_photons, shown_levels
from model.runtime.runtime import Runtime
from pipeline.job.noise_sample import sample_noise
from pipeline.job.prepare import prepare
from pipeline.job.repair import retry_options
from pipeline.options.job_options import JobOptions
from tests.conftest import Pixels
from tests.pipeline.conftest import run_job

ZOO = "zoo:denoiser-gray"
PHOTONS: dict[str, Any] = {"noise": "poisson-gaussian", "gain": 2.2, "read_noise": 3.3, "black_level": 100}


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    return Denoiser(Runtime.load(Bundle.open(ZOO)))


def shots() -> Pixels:
    """Three images of a wave with 5 to 200 electrons, uint16 ``[3, 64, 64]``."""
    rng = np.random.default_rng(0)
    wave = 0.5 + 0.48 * np.sin(np.arange(64) / 8)[None, :] * np.cos(np.arange(64) / 11)[:, None]
    electrons = wave * np.array([5, 40, 200])[:, None, None]
    return np.rint(2.2 * rng.poisson(electrons) + rng.normal(100, 3.3, electrons.shape)).clip(0).astype(np.uint16)


def table(output: Path) -> Any:
    (file,) = (output / "metrics").rglob("*.parquet")
    return pq.read_table(file)


def test_photons_of_a_known_camera(denoiser: Denoiser, tmp_path: Path) -> None:
    pixels = shots()
    np.save(tmp_path / "x.npy", pixels)
    run_job("denoise", tmp_path / "x.npy", ZOO, tmp_path / "out", **PHOTONS)
    camera = PoissonGaussian(gain=2.2, read_noise=3.3, black_level=100)
    wanted, levels = denoise_photons(denoiser, pixels[..., None], [(camera,)] * 3)
    np.testing.assert_array_equal(np.load(tmp_path / "out/images/x.npy"), wanted.pixels[..., 0])
    rows = table(tmp_path / "out")
    np.testing.assert_allclose(rows["noise_level"].to_numpy(), levels * 255, rtol=1e-6)
    np.testing.assert_allclose(rows["mse"].to_numpy(), wanted.mse, rtol=1e-6)
    for name in ("gain", "read_noise", "black_level"):
        assert rows[name].to_pylist() == [[pytest.approx(PHOTONS[name])]] * 3
    told = json.loads(rows.schema.metadata[b"latentlake.noise"])
    assert told["camera"] == {"gain": 2.2, "read_noise": 3.3, "black_level": 100.0}


def test_another_camera_is_another_output(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", shots())
    base: dict[str, Any] = {
        "verb": "denoise",
        "model": ZOO,
        "input": str(tmp_path / "x.npy"),
        "output": str(tmp_path / "out"),
    }
    run_job("denoise", tmp_path / "x.npy", ZOO, tmp_path / "out", **PHOTONS)
    assert prepare(JobOptions(**base, **PHOTONS)).nothing_to_do
    for other in ({**PHOTONS, "gain": 2.3}, {"noise": "poisson-gaussian"}, {"noise_level": "estimate"}):
        with pytest.raises(OutputError, match="was made with other options"):
            prepare(JobOptions(**base, **other))
    again = retry_options(str(tmp_path / "out"), {})
    assert (again.noise, again.gain, again.read_noise, again.black_level) == ("poisson-gaussian", "2.2", "3.3", 100)


@pytest.mark.parametrize("white", [1.0, 4095.0])
def test_the_camera_of_each_image_is_estimated(white: float, tmp_path: Path) -> None:
    """In the numbers of the source, also where floating pixels are divided by their white."""
    pixels = shots() if white == 1 else shots().astype(np.float32)
    np.save(tmp_path / "x.npy", pixels)
    settings: dict[str, Any] = {"noise": "poisson-gaussian", "black_level": 100, "white": white}
    run_job("denoise", tmp_path / "x.npy", ZOO, tmp_path / "out", **settings)
    rows = table(tmp_path / "out")
    for at, image in enumerate(pixels):
        (wanted,) = estimate_camera(image[..., None], 100)
        found = [rows[name][at].as_py()[0] for name in ("gain", "read_noise", "black_level")]
        assert found == pytest.approx([wanted.gain, wanted.read_noise, wanted.black_level], rel=1e-3)
    assert rows["gain"][2].as_py()[0] == pytest.approx(2.2, rel=0.25)


def test_the_level_of_each_channel_is_estimated(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = 0.5 + rng.normal(0, 1, (2, 48, 48, 3)) * np.array([5, 10, 20]) / 255
    images = [*noisy.astype(np.float32), np.full((5, 5, 3), 0.5, np.float32)]  # the last one has no patch
    (tmp_path / "in").mkdir()
    for at, image in enumerate(images):
        np.save(tmp_path / f"in/{at}.npy", image[None])
    run_job("denoise", tmp_path / "in", ZOO, tmp_path / "out", noise_level="estimate")
    rows = [
        row for file in sorted((tmp_path / "out/metrics").rglob("*.parquet")) for row in pq.read_table(file).to_pylist()
    ]
    for row, image in zip(rows[:2], images, strict=False):
        found = estimate(image)
        assert row["noise_level"] == pytest.approx(found.level * 255, rel=1e-6)
        assert row["noise_level_error"] == pytest.approx(found.error * 255, rel=1e-6)
        assert row["noise_levels"] == pytest.approx([5, 10, 20], rel=0.15)
    assert rows[2]["noise_level"] == 0 and rows[2]["noise_level_error"] is None


def test_noise_that_colours_share_is_told_to_a_network_for_colours_alone(tmp_path: Path) -> None:
    from sklearn.datasets import load_sample_images

    clean = load_sample_images().images[0][100:196, 300:396]
    noisy = clean + np.random.default_rng(0).normal(0, 25, clean.shape)
    (tmp_path / "in").mkdir()
    image = Image.fromarray(np.rint(noisy.clip(0, 255)).astype(np.uint8))
    image.save(tmp_path / "in/x.jpg", quality=95, subsampling="4:2:0")
    told, errors = [], []
    for model in ("zoo:denoiser-gray", "zoo:denoiser-color"):
        output = tmp_path / model.removeprefix("zoo:")
        run_job("denoise", tmp_path / "in", model, output, noise_level="estimate")
        (row,) = table(output).to_pylist()
        where: dict[str, Any] = {"input": str(tmp_path / "in"), "output": f"{output}-planned"}
        job = prepare(JobOptions(verb="denoise", model=model, noise_level="estimate", **where))
        planned = sample_noise(job.plan.units, job.config, job.bundle.spec.noise_range)
        assert planned is not None and planned.quartiles == (round(row["noise_level"], 2),) * 5
        (file,) = (output / "images").rglob("x.*")
        told.append(row["noise_level"])
        errors.append(np.mean((np.asarray(Image.open(file)) - clean.astype(float)) ** 2))
    assert told[0] < 20 and told[1] == pytest.approx(25, rel=0.15)
    assert errors[1] < errors[0]  # with 17 for 25 it is twice as large


def test_the_plan_tells_the_levels_of_photon_noise(tmp_path: Path) -> None:
    pixels = shots()
    np.save(tmp_path / "x.npy", pixels)
    asked = JobOptions(
        verb="denoise", model=ZOO, input=[str(tmp_path / "x.npy")], output=str(tmp_path / "out"), **PHOTONS
    )
    job = prepare(asked)
    found = sample_noise(job.plan.units, job.config, job.bundle.spec.noise_range)
    camera = PoissonGaussian(gain=2.2, read_noise=3.3, black_level=100)
    wanted = np.sort(shown_levels(pixels[..., None], [(camera,)] * 3)) * 255
    assert found is not None and found.images == 3
    assert found.quartiles[::2] == pytest.approx(wanted, abs=0.01)

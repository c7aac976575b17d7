"""What ``plan`` tells of the noise of a few images, against levels that were put in."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli.plan_text import describe_plan, plan_value
from pipeline.job.noise_sample import sample_noise
from pipeline.job.prepare import prepare
from pipeline.options.job_options import JobOptions
from tests.conftest import png

LEVELS = [2.0, 10.0, 20.0, 85.0]


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """A Parquet file of grey slopes with noise of four levels, which it says in a column."""
    slope = np.add.outer(np.arange(80), np.arange(96)) / 4 + 100.0
    images = []
    for seed, level in enumerate(LEVELS):
        pixels = slope + np.random.default_rng(seed).normal(0, level, slope.shape)
        images.append(png(np.rint(pixels).clip(0, 255).astype(np.uint8)))
    pq.write_table(pa.table({"image": images, "key": list("abcd"), "sigma": LEVELS}), tmp_path / "noisy.parquet")
    return tmp_path / "noisy.parquet"


def options(noisy: Path, level: str) -> JobOptions:
    where: dict[str, Any] = {"input": [str(noisy)], "output": str(noisy.parent / "out")}
    return JobOptions(verb="denoise", model="zoo:denoiser-gray", noise_level=level, **where)


@pytest.mark.parametrize(
    ("level", "how", "images", "outside", "says"),
    [
        ("sigma", "column sigma", 4, (1, 1), "4 images, column sigma, where white is 255: 2 to 85, half of them"),
        ("estimate", "estimated", 4, (1, 1), "4 images, estimated, where white is 255: "),
        ("90", "given", 0, (0, 1), "noise: 90"),
        ("25", "given", 0, (0, 0), "noise: 25"),
    ],
)
def test_a_plan_tells_the_noise(
    noisy: Path, level: str, how: str, images: int, outside: tuple[int, int], says: str
) -> None:
    value = plan_value(options(noisy, level))
    found = value["noise"]
    assert (found["how"], found["images"], found["learned"]) == (how, images, (5.0, 75.0))
    assert (found["below"], found["above"]) == outside
    if level == "sigma":
        assert [*found["quartiles"]] == np.percentile(LEVELS, [0, 25, 50, 75, 100]).round(2).tolist()
    if level == "estimate":
        np.testing.assert_allclose([found["quartiles"][0], found["quartiles"][-1]], [2, 85], rtol=0.15)
    text = describe_plan(value)
    assert says in text
    warning = {
        (1, 1): "  warning: the model learned 5 to 75; 1 of them are below, 1 above",
        (0, 1): "  warning: more than the model learned, 5 to 75",
    }
    assert ("warning" in text) == (outside in warning) and warning.get(outside, "") in text


def test_noise_of_12_bits_in_16_is_told_the_remedy(tmp_path: Path) -> None:
    slope = np.add.outer(np.arange(80), np.arange(96)) * 20.0 + 200
    counts = slope + np.random.default_rng(1).normal(0, 80, slope.shape)
    np.save(tmp_path / "counts.npy", np.rint(counts[None]).clip(0, 4095).astype(np.uint16))
    value = plan_value(options(tmp_path / "counts.npy", "estimate"))
    assert (value["noise"]["below"], value["noise"]["narrow"]) == (1, 1)
    assert "  1 of those below use few of the values of their type" in (text := describe_plan(value))
    assert text.endswith("--noise poisson-gaussian measures each image on its own scale")
    np.save(tmp_path / "counts.npy", np.rint(counts[None] * 20).clip(0, 65535).astype(np.uint16))
    assert plan_value(options(tmp_path / "counts.npy", "estimate"))["noise"]["below"] == 0
    np.save(tmp_path / "counts.npy", np.rint(slope[None] * 20).clip(0, 65535).astype(np.uint16))
    clean = plan_value(options(tmp_path / "counts.npy", "estimate"))["noise"]
    assert (clean["below"], clean["narrow"]) == (1, 0)


def test_no_image_is_begun_after_the_time(noisy: Path) -> None:
    job = prepare(options(noisy, "estimate"))
    found = sample_noise(job.plan.units, job.config, (5.0, 75.0), seconds=-1.0)
    assert found is not None and (found.images, found.quartiles) == (0, ())

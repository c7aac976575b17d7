"""How images come to the model's size, as the bundle says it: the job needs no option."""

import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.util import assert_that
from PIL import Image

from lake.core.errors import UsageError
from model.bundle import Bundle
from model.export import export
from model.preprocessing import Preprocessing
from pipeline.job.prepare import prepare
from pipeline.options.job_options import JobOptions
from pipeline.transforms import EncodeImages
from tests.conftest import Model, Pixels
from tests.pipeline.conftest import run_job


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, digits: Pixels) -> Path:
    """Grey PNGs of several sizes, one of them the model's."""
    place = tmp_path_factory.mktemp("pictures")
    for number, size in enumerate([(30, 41), (17, 12), (8, 8), (40, 40)]):
        Image.fromarray(digits[number]).resize(size, Image.Resampling.BICUBIC).save(place / f"{number}.png")
    return place


def _bundle(model: Model, place: Path, **given: Any) -> str:
    path = place / "again.keras"
    model.autoencoder.save(path)  # type: ignore[attr-defined]
    return export(path, "encoded", str(place / "bundle"), Preprocessing(**given)).uri


def _cropped(pictures: Path, shorter: int, kept: Image.Resampling) -> Pixels:
    found = []
    for path in sorted(pictures.iterdir()):
        image = Image.open(path)
        width, height = image.size
        size = (shorter, int(shorter * height / width)) if width <= height else (int(shorter * width / height), shorter)
        left, top = round((size[0] - 8) / 2), round((size[1] - 8) / 2)
        found.append(np.asarray(image.resize(size, kept).crop((left, top, left + 8, top + 8))))
    return np.stack(found)


def _latents(output: Path) -> Pixels:
    table = ds.dataset(output / "latents").to_table().sort_by("key")
    return np.stack(table["latent"].to_pylist())


def test_resize_then_crop_needs_no_option(pictures: Path, model: Model, tmp_path: Path) -> None:
    bundle = _bundle(model, tmp_path, resize=11, crop=(8,), interpolation="bicubic")
    assert run_job("encode", pictures, bundle, tmp_path / "out")["total"]["results"] == 4
    want = model.encode(_cropped(pictures, 11, Image.Resampling.BICUBIC))
    np.testing.assert_allclose(_latents(tmp_path / "out"), want, rtol=1e-4, atol=1e-5)
    (table,) = (tmp_path / "out" / "latents").rglob("*.parquet")
    said = json.loads(pq.read_schema(table).metadata[b"latentlake.preprocessing"])
    assert said["resize"] == {"shorter": 11, "interpolation": "bicubic"}
    # The same job again has nothing to do, and another policy is another output.
    assert run_job("encode", pictures, bundle, tmp_path / "out")["run"]["units"] == 0


def test_the_job_s_own_policy_is_taken_instead(pictures: Path, model: Model, tmp_path: Path) -> None:
    bundle = _bundle(model, tmp_path, resize="fit")
    options = JobOptions(verb="encode", model=bundle, input=[str(pictures)], output=str(tmp_path / "out"))
    assert prepare(options).config.target.resize == "fit"
    run_job("encode", pictures, bundle, tmp_path / "out", resize="stretch")
    small = [np.asarray(Image.open(p).resize((8, 8), Image.Resampling.BICUBIC)) for p in sorted(pictures.iterdir())]
    np.testing.assert_allclose(_latents(tmp_path / "out"), model.encode(np.stack(small)), rtol=1e-4, atol=1e-5)


def test_images_in_memory_too(pictures: Path, model: Model, tmp_path: Path) -> None:
    bundle = _bundle(model, tmp_path, resize=11)
    items = [(path.name, path.read_bytes()) for path in sorted(pictures.iterdir())]
    want = dict(
        zip(
            sorted(p.name for p in pictures.iterdir()),
            model.encode(_cropped(pictures, 11, Image.Resampling.BILINEAR)),
            strict=True,
        )
    )

    def check(found: list[Any]) -> None:
        assert len(found) == 4
        for key, latent in found:
            np.testing.assert_allclose(latent, want[key], rtol=1e-4, atol=1e-5)

    with beam.Pipeline() as pipeline:
        assert_that((pipeline | beam.Create(items) | EncodeImages(bundle)).latents, check)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"resize": 6}, r"--resize 6: less than the model's 8 8"),
        ({"resize": 11, "crop": (9,)}, r"--crop 9: the model takes images of 8 8"),
        ({"crop": (8,)}, r"--crop is for --resize with the pixels"),
        ({"resize": "fit", "interpolation": "bicubic"}, r"--interpolation is for --resize with the pixels"),
        ({"resize": "squeeze"}, r"--resize: invalid choice: 'squeeze'"),
        ({"resize": 0}, r"--resize: 0"),
    ],
)
def test_options_that_do_not_fit(model: Model, tmp_path: Path, given: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        _bundle(model, tmp_path, **given)


def test_a_bundle_says_it_and_is_read_back(model: Model, tmp_path: Path) -> None:
    first = Bundle.open(_bundle(model, tmp_path, resize=11))
    assert first.copy(str(tmp_path / "copy")).spec == first.spec

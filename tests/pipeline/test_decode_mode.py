"""``--decode``: what a job makes of photographs, and what it says of options that have no effect."""

import io
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

from lake.core.errors import OutputError, UsageError
from pipeline.beam.launch import launch
from pipeline.job.prepare import prepare
from pipeline.job.repair import retry_options
from pipeline.options.job_options import JobOptions
from pipeline.transforms import EncodeImages
from tests.conftest import Model, Pixels
from tests.pipeline.conftest import run_job


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory, digits: Pixels) -> Path:
    """Six grey JPEGs whose sides do not divide by 8, the last one cut off."""
    place = tmp_path_factory.mktemp("photographs")
    for number, digit in enumerate(digits[:6]):
        image = Image.fromarray(digit).resize((301, 259), Image.Resampling.BICUBIC)
        image.save(place / f"{number}.jpg", quality=90)
    (place / "5.jpg").write_bytes((place / "5.jpg").read_bytes()[:2000])
    return place


def seen(photographs: Path) -> Pixels:
    """The whole photographs at an eighth, by Pillow's own ``draft``, as 8 x 8."""
    found = []
    for number in range(5):
        with Image.open(io.BytesIO((photographs / f"{number}.jpg").read_bytes())) as image:
            _, box = image.draft("L", (image.width // 8, image.height // 8))  # type: ignore[misc]
            image.load()
            found.append(np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC, box=box)))
    return np.stack(found)


def latents(output: Path) -> Pixels:
    table = ds.dataset(output / "latents").to_table().sort_by("key")
    return np.stack(table["latent"].to_pylist())


def preprocessing(output: Path) -> dict[str, Any]:
    found: dict[bytes, bytes] = pq.read_schema(next((output / "latents").rglob("*.parquet"))).metadata
    value: dict[str, Any] = json.loads(found[b"latentlake.preprocessing"])
    return value


def test_an_output_holds_to_how_its_images_were_decoded(model: Model, photographs: Path, tmp_path: Path) -> None:
    def run(**settings: Any) -> dict[str, Any]:
        gate = {"max_reject_fraction": 0.5}
        return run_job("encode", photographs, model.bundle, tmp_path / "out", resize="stretch", gate=gate, **settings)

    run()
    exact = latents(tmp_path / "out")
    assert "decode" not in preprocessing(tmp_path / "out")
    with pytest.raises(OutputError, match=r"other options \(target.decode None -> fast\)"):
        run(decode="fast")
    summary = run(decode="fast", overwrite=True)
    assert preprocessing(tmp_path / "out")["decode"] == "fast"
    assert (summary["total"]["results"], summary["total"]["rejects"]) == (5, 1), "the one that is cut off"
    fast = latents(tmp_path / "out")
    np.testing.assert_allclose(fast, model.encode(seen(photographs)), rtol=1e-4, atol=1e-5)
    assert not np.array_equal(fast, exact)
    np.testing.assert_allclose(fast, exact, atol=0.05 * np.abs(exact).max())


@pytest.mark.parametrize("resize", [None, "pad"])
def test_fast_is_refused_where_nothing_is_made_smaller(
    model: Model, photographs: Path, tmp_path: Path, resize: str | None
) -> None:
    options = JobOptions(
        verb="encode",
        model=model.bundle,
        input=str(photographs),
        output=str(tmp_path / "out"),
        resize=resize,  # type: ignore[arg-type]
        decode="fast",  # type: ignore[arg-type]
    )
    with pytest.raises(UsageError, match="--decode fast is for images that are made smaller: give --resize fit"):
        prepare(options)


def test_a_model_of_any_size_resizes_nothing(photographs: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"input": str(photographs), "output": str(tmp_path / "out"), "noise_level": 25}
    with pytest.raises(UsageError, match="a model of images of one size, or leave it out"):
        prepare(JobOptions(verb="denoise", model="zoo:denoiser-gray", resize="crop", decode="fast", **given))


def test_a_retry_may_decode_what_was_too_large(model: Model, photographs: Path, tmp_path: Path) -> None:
    gate = {"max_reject_fraction": 1}
    run_job("encode", photographs, model.bundle, tmp_path / "out", gate=gate)
    assert not (tmp_path / "out/latents").exists() or not ds.dataset(tmp_path / "out/latents").count_rows()
    with pytest.raises(UsageError, match="--decode fast is for images that are made smaller"):
        launch(retry_options(str(tmp_path / "out"), {"decode": "fast"}), [])
    launch(retry_options(str(tmp_path / "out"), {"decode": "fast", "resize": "stretch", "max_reject_fraction": 1}), [])
    np.testing.assert_allclose(latents(tmp_path / "out"), model.encode(seen(photographs)), rtol=1e-4, atol=1e-5)


def test_images_of_a_pipeline_of_one_s_own(model: Model, photographs: Path) -> None:
    files = [(number, (photographs / f"{number}.jpg").read_bytes()) for number in range(5)]
    with pytest.raises(UsageError, match="--decode fast is for images"), beam.Pipeline() as pipeline:
        pipeline | beam.Create(files) | EncodeImages(model.bundle, decode="fast")  # type: ignore[operator]
    wanted = model.encode(seen(photographs))

    def check(found: list[tuple[int, Pixels]]) -> None:
        np.testing.assert_allclose(
            np.stack([latent for _, latent in sorted(found, key=lambda pair: pair[0])]), wanted, rtol=1e-4, atol=1e-5
        )

    with beam.Pipeline() as pipeline:
        encoded = pipeline | beam.Create(files) | EncodeImages(model.bundle, decode="fast", resize="stretch")
        assert_that(encoded.latents, check)

"""Files of several images: rejected where images are written, counted where the first one is taken."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from pipeline.beam.launch import launch
from pipeline.cli.summary import describe
from pipeline.config import Gate
from pipeline.job.prepare import prepare
from pipeline.job.repair import retry_options
from pipeline.options.job_options import JobOptions
from tests.conftest import Model, Pixels, png
from tests.pipeline.conftest import run_job

ANY = Gate(max_reject_fraction=1.0)


@pytest.fixture
def folder(tmp_path: Path, digits: Pixels) -> Path:
    """A file of one image, a stack of two, and an animation of three."""
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.png").write_bytes(png(digits[0]))
    tifffile.imwrite(source / "b.tif", digits[1:3], photometric="minisblack")
    frames = [Image.fromarray(picture) for picture in digits[3:6]]
    frames[0].save(source / "c.png", save_all=True, append_images=frames[1:])
    return source


def rejected(output: Path) -> dict[str, str]:
    rows = [row for file in (output / "rejects").rglob("*.parquet") for row in pq.read_table(file).to_pylist()]
    return {row["key"]: row["reason"] for row in rows}


def latents(output: Path) -> Pixels:
    (file,) = (output / "latents").rglob("*.parquet")
    return np.stack(pq.read_table(file)["latent"].to_pylist())


def test_encode_takes_the_first_and_says_so(folder: Path, model: Model, digits: Pixels, tmp_path: Path) -> None:
    summary = run_job("encode", folder, model.bundle, tmp_path / "out")
    assert summary["run"]["several_pages"] == 2
    assert "the first page of files with several (--pages): 2 results" in describe(summary)
    np.testing.assert_allclose(latents(tmp_path / "out"), model.encode(digits[[0, 1, 3]]), rtol=1e-4, atol=1e-5)
    again = run_job("encode", folder, model.bundle, tmp_path / "out", pages="first")
    assert again["run"]["units"] == 0


def test_encode_can_reject_them(folder: Path, model: Model, tmp_path: Path) -> None:
    run_job("encode", folder, model.bundle, tmp_path / "out", pages="reject", gate=ANY)
    assert rejected(tmp_path / "out") == {"b.tif": "several_pages", "c.png": "several_pages"}


def test_none_is_lost_where_images_are_written(folder: Path, model: Model, digits: Pixels, tmp_path: Path) -> None:
    output = tmp_path / "out"
    summary = run_job("reconstruct", folder, model.bundle, output, gate=ANY)
    assert summary["total"]["reasons"] == {"several_pages": 2}
    assert "several_pages" not in summary["run"]
    tried = launch(retry_options(str(output), {"pages": "first"}), [])
    assert (tried["total"]["rejects"], tried["run"]["several_pages"]) == (0, 2)
    np.testing.assert_allclose(latents(output), model.encode(digits[[0, 1, 3]]), rtol=1e-4, atol=1e-5)
    with Image.open(io.BytesIO((output / "images/b.png").read_bytes())) as image:
        assert image.size == (8, 8)


def test_without_images_the_first_is_taken(folder: Path, model: Model, tmp_path: Path) -> None:
    summary = run_job("reconstruct", folder, model.bundle, tmp_path / "out", images=False)
    assert (summary["total"]["results"], summary["run"]["several_pages"]) == (3, 2)


def test_only_what_differs_is_in_the_fingerprint(folder: Path, model: Model, tmp_path: Path) -> None:
    def target(verb: str, **settings: str) -> dict[str, object]:
        options = JobOptions(
            verb=verb, input=(str(folder),), model=model.bundle, output=str(tmp_path / "out"), **settings
        )
        value: dict[str, object] = prepare(options).config.options()["target"]
        return value

    assert target("encode") == target("encode", pages="first")
    assert target("reconstruct") == target("reconstruct", pages="reject") == target("encode")
    assert target("encode", pages="reject")["pages"] == "reject"
    assert target("reconstruct", pages="first")["pages"] == "first"

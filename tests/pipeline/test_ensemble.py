"""``denoise --ensemble``: from every entrance to what an output says of itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from lake.core.errors import OutputError, UsageError
from model.bundle import Bundle
from model.denoiser import Denoiser
from model.runtime.runtime import Runtime
from pipeline.cli.command import main
from pipeline.job.repair import retry_options
from pipeline.options.job_options import JobOptions, make_options
from tests.conftest import Pixels
from tests.pipeline.conftest import run_job

MODEL = "zoo:denoiser-gray"
LEVEL = 15


@pytest.fixture
def images(tmp_path: Path) -> Pixels:
    """Two images in an array, uint8 ``[2, 24, 40, 1]``."""
    made = np.random.default_rng(0).integers(0, 256, (2, 24, 40, 1), np.uint8)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in/x.npy", made)
    return made


def denoised(images: Pixels, ensemble: int) -> Pixels:
    denoiser = Denoiser(Runtime.load(Bundle.open(MODEL)), ensemble)
    return denoiser.denoise(images, np.full(len(images), LEVEL / 255, np.float32)).pixels


def written(output: Path) -> Pixels:
    made: Pixels = np.load(output / "images/x.npy")
    return made


def test_a_job_with_an_ensemble(images: Pixels, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    given: dict[str, Any] = {"noise_level": LEVEL, "ensemble": 4}
    run_job("denoise", source, MODEL, output, **given)
    np.testing.assert_array_equal(written(output), denoised(images, 4))
    assert (written(output) != denoised(images, 1)).any()
    metadata = pq.read_schema(output / "metrics/x.parquet").metadata
    assert metadata[b"latentlake.ensemble"] == b"4"
    assert run_job("denoise", source, MODEL, output, **given)["run"]["units"] == 0, "it is done"
    assert retry_options(str(output), {}).ensemble == 4
    with pytest.raises(OutputError, match="--overwrite"):
        run_job("denoise", source, MODEL, output, noise_level=LEVEL)
    run_job("denoise", source, MODEL, output, noise_level=LEVEL, overwrite=True)
    np.testing.assert_array_equal(written(output), denoised(images, 1))
    assert b"latentlake.ensemble" not in pq.read_schema(output / "metrics/x.parquet").metadata


def test_the_command_takes_it(images: Pixels, tmp_path: Path) -> None:
    given = ["--input", str(tmp_path / "in"), "--model", MODEL, "--noise-level", str(LEVEL)]
    assert main(["denoise", *given, "--output", str(tmp_path / "out"), "--ensemble", "8"]) == 0
    np.testing.assert_array_equal(written(tmp_path / "out"), denoised(images, 8))


@pytest.mark.parametrize("given", ["2", 3, 0, True, "all"])
def test_sizes_that_there_are_not(given: Any) -> None:
    with pytest.raises(UsageError, match=r"ensemble: invalid ensemble value: .*; give 1, 4 or 8"):
        JobOptions(verb="denoise", model=MODEL, output="out", ensemble=given)


def test_no_other_verb_has_one() -> None:
    with pytest.raises(UsageError, match="ensemble is no option of encode"):
        make_options("encode", {"input": "in", "model": MODEL, "output": "out", "ensemble": 4})


def test_pages_of_a_stack_are_what_they_are_alone(tmp_path: Path) -> None:
    """A group of pages goes through the model in one call, and a page of another size in its own."""
    rng, source = np.random.default_rng(1), tmp_path / "in"
    source.mkdir()
    pages = [rng.integers(0, 256, size, np.uint8) for size in [(24, 40)] * 5 + [(16, 24)] + [(24, 40)] * 2]
    with tifffile.TiffWriter(source / "a.tif") as file:
        for page in pages:
            file.write(page, photometric="minisblack", metadata=None)
    given: dict[str, Any] = {"noise_level": LEVEL, "image_format": "same", "hash": True}
    run_job("denoise", source, MODEL, tmp_path / "out", pages="all", **given)
    with tifffile.TiffFile(tmp_path / "out/images/a.tif") as file:
        made = [page.asarray() for page in file.pages]
    wanted = [denoised(page[None, ..., None], 1)[0, ..., 0] for page in pages]
    assert [page.shape for page in made] == [page.shape for page in pages]
    for page, want in zip(made, wanted, strict=True):
        np.testing.assert_array_equal(page, want)
    (row,) = pq.read_table(next((tmp_path / "out/metrics").rglob("*.parquet"))).to_pylist()
    errors = [np.square(a / 255 - b / 255).sum() for a, b in zip(wanted, pages, strict=True)]
    assert row["mse"] == pytest.approx(sum(errors) / sum(page.size for page in pages), rel=1e-5)
    first = tmp_path / "first"
    first.mkdir()
    tifffile.imwrite(first / "a.tif", pages[0], photometric="minisblack", metadata=None)
    run_job("denoise", first, MODEL, tmp_path / "one", **given)
    (alone,) = pq.read_table(next((tmp_path / "one/metrics").rglob("*.parquet"))).to_pylist()
    assert row["phash"] == alone["phash"], "of the first page"

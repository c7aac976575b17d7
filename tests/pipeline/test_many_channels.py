"""``denoise`` over arrays of more channels than colours have: each is what it is alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from lake.images import geometry
from pipeline.config import Gate
from tests.conftest import Pixels
from tests.pipeline.conftest import run_job

DICE = np.random.default_rng(0)


def denoised(tmp_path: Path, name: str, images: Pixels, **settings: Any) -> Pixels:
    source = tmp_path / name
    source.mkdir()
    np.save(source / "x.npy", images)
    run_job("denoise", source, "zoo:denoiser-gray", tmp_path / f"out-{name}", noise_level="15", **settings)
    made: Pixels = np.load(tmp_path / f"out-{name}/images/x.npy")
    return made


@pytest.mark.parametrize("kind", ["u1", "f4"])
def test_each_channel_is_denoised_as_if_it_were_alone(tmp_path: Path, kind: str) -> None:
    images = (DICE.random((2, 24, 20, 5)) * (1 if kind == "f4" else 255)).astype(kind)
    found = denoised(tmp_path, "five", images)
    alone = denoised(tmp_path, "alone", images.transpose(3, 0, 1, 2).reshape(10, 24, 20))
    np.testing.assert_array_equal(found, alone.reshape(5, 2, 24, 20).transpose(1, 2, 3, 0))
    first = denoised(tmp_path, "first", images.transpose(0, 3, 1, 2), layout="chw")
    np.testing.assert_array_equal(first.transpose(0, 2, 3, 1), found)


@pytest.mark.slow
def test_image_files_of_many_channels_are_tiff(tmp_path: Path) -> None:
    images = (DICE.random((2, 24, 20, 6)) * 255).astype(np.uint8)
    found = denoised(tmp_path, "six", images)
    asked: dict[str, Any] = {"noise_level": "15", "output_format": "folder"}
    run_job("denoise", tmp_path / "six", "zoo:denoiser-gray", tmp_path / "files", **asked)
    files = sorted((tmp_path / "files/images").rglob("*.tif*"))
    np.testing.assert_array_equal([tifffile.imread(path) for path in files], found)
    asked |= {"image_format": "png", "gate": Gate(max_reject_fraction=1)}
    summary = run_job("denoise", tmp_path / "six", "zoo:denoiser-gray", tmp_path / "png", **asked)
    assert summary["total"]["reasons"] == {"unwritable_image": 2}


def test_many_channels_are_resized_one_by_one() -> None:
    pixels = DICE.integers(0, 256, (6, 5, 7), np.uint8)
    planes = geometry.planes_of(pixels)
    np.testing.assert_array_equal(geometry.pixels_of(planes, np.uint8), pixels)
    assert [plane.mode for plane in planes] == ["L"] * 7

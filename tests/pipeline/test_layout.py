"""``--layout``: channels first gives what the same images give with channels last, whatever holds them."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import InputError, OutputError
from lake.formats import FORMATS
from lake.formats.reader import ColumnSelection
from lake.formats.tfrecord.framing import framed
from lake.images.decoder import Decoder
from lake.images.types import PixelLayout, Target
from lake.inputs.columns import settle
from lake.inputs.discover import find_shards
from lake.inputs.units import make_units
from pipeline.job.prepare import prepare
from pipeline.options.job_options import JobOptions
from tests.conftest import Pixels
from tests.lake.formats.tfrecord.examples import example
from tests.pipeline.conftest import run_job

pytestmark = pytest.mark.slow  # jobs, or models, from end to end

SHAPE = (6, 5, 3)
IMAGES = np.random.default_rng(3).integers(0, 256, (7, *SHAPE), np.uint8)
FIRST = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2))


def array(place: Path, images: Pixels) -> None:
    np.save(place / "x.npy", images)


def gzipped(place: Path, images: Pixels) -> None:
    np.savez_compressed(place / "x.npz", images=images, labels=np.arange(len(images)))


def nested(place: Path, images: Pixels) -> None:
    pq.write_table(pa.table({"image": images.tolist()}), place / "x.parquet")


def flat(place: Path, images: Pixels) -> None:
    pq.write_table(pa.table({"image": images.reshape(len(images), -1).tolist()}), place / "x.parquet")


def raw(place: Path, images: Pixels) -> None:
    height, width, depth = SHAPE
    records = [example(image_raw=i.tobytes(), height=height, width=width, depth=depth) for i in images]
    (place / "x.tfrecord").write_bytes(framed(records))


def members(place: Path, images: Pixels) -> None:
    with tarfile.open(place / "x.tar", "w") as tar:
        for number, image in enumerate(images):
            file = io.BytesIO()
            np.save(file, image)
            info = tarfile.TarInfo(f"{number}.npy")
            info.size = file.tell()
            file.seek(0)
            tar.addfile(info, file)


KINDS: dict[str, Callable[[Path, Pixels], None]] = {
    "array": array,
    "npz": gzipped,
    "nested": nested,
    "flat": flat,
    "raw": raw,
    "members": members,
}


def decoded(place: Path, layout: str | None, shape: tuple[int, ...] = SHAPE) -> Pixels:
    found = find_shards([str(place)])
    columns = settle(found, ColumnSelection(shape=shape, layout=layout and PixelLayout(layout)))
    reader = FORMATS[found.format].reader
    parts = [part.records() for unit in make_units(found) for part in reader.read(unit, columns, 3)]
    groups = [group for part in parts for group in Decoder(Target(shape=shape)).decode(part).groups]
    return np.concatenate([group.pixels for group in groups]) if groups else np.empty(0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("images", "layout"), [(IMAGES, None), (IMAGES, "hwc"), (FIRST, "chw")])
def test_pixels_are_those_of_the_images(tmp_path: Path, kind: str, images: Pixels, layout: str | None) -> None:
    KINDS[kind](tmp_path, images)
    np.testing.assert_array_equal(decoded(tmp_path, layout), IMAGES)


@pytest.mark.parametrize("kind", ["array", "npz", "nested", "members"])
@pytest.mark.parametrize("images", [IMAGES, FIRST])
def test_auto_tells_it_by_the_shape(tmp_path: Path, kind: str, images: Pixels) -> None:
    KINDS[kind](tmp_path, images)
    np.testing.assert_array_equal(decoded(tmp_path, "auto"), IMAGES)


def test_a_layout_that_only_can_be_meant_by_the_model(tmp_path: Path) -> None:
    """Three rows of pixels look like channels, but not of a model that takes three rows."""
    few = IMAGES[:, :3]
    array(tmp_path, few)
    np.testing.assert_array_equal(decoded(tmp_path, None, (3, 5, 3)), few)
    np.testing.assert_array_equal(decoded(tmp_path, "auto", (3, 5, 3)), few)
    five = IMAGES[:, :4, :, :1].repeat(5, 3)
    array(tmp_path, five)
    np.testing.assert_array_equal(decoded(tmp_path, None, (4, 5, 5)), five)


@pytest.mark.parametrize("kind", ["array", "npz"])
def test_channels_first_is_refused_with_advice(tmp_path: Path, kind: str) -> None:
    KINDS[kind](tmp_path, FIRST)
    with pytest.raises(InputError, match="images of 3 x 6 x 5, channels first; give --layout chw, or hwc if they are"):
        decoded(tmp_path, None)
    assert not len(decoded(tmp_path, "hwc")), "as said, whatever they are"


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_what_is_written_again_has_the_layout_of_the_input(tmp_path: Path, name: str) -> None:
    """A denoiser, over both layouts of the same colour images."""
    images = np.random.default_rng(0).integers(0, 256, (3, 24, 20, 3), np.uint8)
    made: dict[str, dict[str, Any]] = {}
    for layout, pixels in (("hwc", images), ("chw", images.transpose(0, 3, 1, 2))):
        source = tmp_path / layout
        source.mkdir()
        if name == "x.npy":
            np.save(source / name, pixels)
        else:
            np.savez(source / name, images=pixels, y=np.arange(3))
        output = tmp_path / f"out-{layout}"
        run_job("denoise", source, "zoo:denoiser-gray", output, noise_level="15", layout=layout, error_map=True)
        for place in ("images", "error_maps"):
            read = np.load(output / place / name)
            made.setdefault(place, {})[layout] = read if name == "x.npy" else read["images"]
    for found in made.values():
        assert found["chw"].shape == (3, 3, 24, 20)
        np.testing.assert_array_equal(found["chw"].transpose(0, 2, 3, 1), found["hwc"])


def test_only_another_layout_is_in_the_fingerprint_and_a_rerun_does_nothing(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    np.save(source / "x.npy", np.zeros((2, 3, 24, 20), np.uint8))

    def run(**settings: Any) -> Any:
        return run_job("denoise", source, "zoo:denoiser-gray", tmp_path / "out", noise_level="15", **settings)

    assert run(layout="chw")["run"]["units"] == 1
    assert run(layout="chw")["run"]["units"] == 0
    with pytest.raises(OutputError, match=r"made with other options \(columns.layout chw -> hwc\)"):
        run(layout="hwc")
    asked = {"input": (str(source),), "model": "zoo:denoiser-gray", "output": str(tmp_path / "new")}
    np.save(source / "x.npy", np.zeros((2, 24, 20, 3), np.uint8))
    columns = prepare(JobOptions(verb="denoise", noise_level="15", **asked)).config.options()["columns"]
    assert "layout" not in columns
    assert "image_shape" not in columns

"""``--image-shape`` and ``--image-dtype``: bare pixels whose source says neither give the images that they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import InputError, OutputError, UsageError
from lake.core.records import Fault, Reason, Records
from lake.formats import FORMATS
from lake.formats.reader import ColumnSelection
from lake.formats.tfrecord.framing import framed
from lake.images.decoder import Decoder
from lake.images.native_decoder import NativeDecoder
from lake.images.types import PixelLayout, Target
from lake.inputs.columns import settle
from lake.inputs.discover import find_shards
from lake.inputs.units import make_units
from pipeline.options.job_options import JobOptions
from tests.conftest import Model, Pixels
from tests.lake.formats.arrow.streams import stream
from tests.lake.formats.tfrecord.examples import example
from tests.pipeline.conftest import run_job

pytestmark = pytest.mark.slow  # jobs, or models, from end to end

SHAPE = (6, 5, 3)
DICE = np.random.default_rng(0)


def tfrecord(place: Path, images: list[bytes]) -> None:
    (place / "x.tfrecord").write_bytes(framed([example(image=data) for data in images]))


def parquet(place: Path, images: list[bytes]) -> None:
    pq.write_table(pa.table({"image": images}), place / "x.parquet")


def structs(place: Path, images: list[bytes]) -> None:
    pq.write_table(pa.table({"image": [{"bytes": data, "path": None} for data in images]}), place / "x.parquet")


def arrow(place: Path, images: list[bytes]) -> None:
    (place / "x.arrow").write_bytes(stream(pa.table({"image": pa.array(images).dictionary_encode()})))


KINDS: dict[str, Callable[[Path, list[bytes]], None]] = {
    "tfrecord": tfrecord,
    "parquet": parquet,
    "structs": structs,
    "arrow": arrow,
}


def pixels(dtype: str, count: int = 9, shape: tuple[int, ...] = SHAPE) -> Pixels:
    return (DICE.random((count, *shape)) * (1 if dtype[0] == "f" else 250)).astype(dtype)


def decoded(place: Path, shape: tuple[int | None, ...], **selection: Any) -> tuple[Pixels, dict[int, Reason]]:
    found = find_shards([str(place)])
    fixed = None if None in shape else shape
    columns = settle(found, ColumnSelection(shape=fixed, **selection))
    reader = FORMATS[found.format].reader
    parts = [part.records() for unit in make_units(found) for part in reader.read(unit, columns, 4)]
    groups, faults = list[Pixels](), dict[int, Reason]()
    for part in parts:
        some, bad = _decoded(part, Target(shape=shape))
        groups += some
        faults |= {int(part.index[at]): fault.reason for at, fault in bad.items()}
    return np.concatenate(groups), faults


def _decoded(records: Records, target: Target) -> tuple[list[Pixels], dict[int, Fault]]:
    if target.any_size:
        faults = dict[int, Fault]()
        return [group.pixels for group in NativeDecoder(target).groups(records, faults)], faults
    made = Decoder(target).decode(records)
    return [group.pixels for group in made.groups], dict(made.faults)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", "int64", "float16"])
@pytest.mark.parametrize("shape", [SHAPE, (None, None, 3)], ids=["fixed", "any size"])
def test_bytes_are_the_images_that_were_written(
    tmp_path: Path, kind: str, dtype: str, shape: tuple[int | None, ...]
) -> None:
    images = pixels(dtype)
    KINDS[kind](tmp_path, [image.tobytes() for image in images])
    said = {} if dtype[:4] == "uint" else {"image_dtype": dtype}
    found, faults = decoded(tmp_path, shape, image_shape=SHAPE, **said)
    assert faults == {}
    wanted = images.astype("f4") if dtype[0] == "f" else images.astype("u1") if dtype == "int64" else images
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_channels_first(tmp_path: Path, kind: str) -> None:
    images = pixels("uint8")
    KINDS[kind](tmp_path, [image.transpose(2, 0, 1).tobytes() for image in images])
    found, _ = decoded(tmp_path, SHAPE, image_shape=SHAPE, layout=PixelLayout.CHW)
    np.testing.assert_array_equal(found, images)


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_of_another_length_costs_itself(tmp_path: Path, kind: str) -> None:
    images = [image.tobytes() for image in pixels("uint8")]
    images[2], images[5], images[7] = images[2][:-1], images[5] + b"x", b""
    KINDS[kind](tmp_path, images)
    found, faults = decoded(tmp_path, SHAPE, image_shape=SHAPE)
    assert [row.tobytes() for row in found] == [images[at] for at in (0, 1, 3, 4, 6, 8)]
    assert sorted(faults) == [2, 5, 7]


def test_lists_for_a_model_of_any_size(tmp_path: Path) -> None:
    images = pixels("float32")
    lists = images.reshape(9, -1).tolist()
    for place in ("parquet", "tfrecord"):
        (tmp_path / place).mkdir()
    pq.write_table(pa.table({"image": lists}), tmp_path / "parquet/x.parquet")
    records = framed([example(image=row) for row in lists])
    (tmp_path / "tfrecord/x.tfrecord").write_bytes(records)
    with pytest.raises(InputError, match="their sides are not known; give --image-shape"):
        decoded(tmp_path / "parquet", (None, None, 3))
    for place in ("parquet", "tfrecord"):
        found, _ = decoded(tmp_path / place, (None, None, 3), image_shape=SHAPE)
        np.testing.assert_array_equal(found, images)


def test_a_type_of_bytes_whose_sides_are_features(tmp_path: Path) -> None:
    images = pixels("float32")
    records = [example(image=i.tobytes(), height=6, width=5, depth=3) for i in images]
    (tmp_path / "x.tfrecord").write_bytes(framed(records))
    found, _ = decoded(tmp_path, SHAPE, image_dtype="float32")
    np.testing.assert_array_equal(found, images)


@pytest.mark.parametrize(
    ("selection", "says"),
    [
        ({"image_shape": (6, 5, 3)}, "of what type are the pixels in column 'image'. Give --image-dtype"),
        ({"image_dtype": "float32"}, "say their sides too, with --image-shape"),
        ({"image_shape": (6, 5, 3), "image_dtype": "float32", "whole": True}, "choose another --output-format"),
    ],
)
def test_what_is_refused_at_launch(tmp_path: Path, selection: dict[str, Any], says: str) -> None:
    parquet(tmp_path, [image.tobytes() for image in pixels("float32")])
    with pytest.raises(InputError, match=says):
        decoded(tmp_path, SHAPE, **selection)


def test_formats_that_say_it_themselves(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", pixels("uint8"))
    with pytest.raises(
        InputError, match=r"array shards say of what shape .* which are for parquet, tfrecord, arrow, csv"
    ):
        decoded(tmp_path, SHAPE, image_shape=SHAPE)


def test_options_are_checked() -> None:
    def asked(**given: Any) -> JobOptions:
        return JobOptions(verb="encode", model="m", output="o", input="i", **given)

    assert asked(image_shape="28,28").image_shape == (28, 28, 1)
    for wrong in ("28", "28,28,1,1", "0,28,1", "a,b"):
        with pytest.raises(UsageError, match="give height, width and channels, as 28,28,1"):
            asked(image_shape=wrong)


def test_a_job_and_its_rerun(model: Model, digits: Pixels, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    parquet(source, [digit.astype("<u2").tobytes() for digit in digits[:20]])

    def run(**settings: Any) -> Any:
        return run_job("encode", source, model.bundle, tmp_path / "out", **settings)

    assert run(image_shape="8,8,1", image_dtype="int16")["total"]["results"] == 20
    (file,) = (tmp_path / "out/latents").rglob("*.parquet")
    latents = np.stack(pq.read_table(file)["latent"].to_pylist())
    np.testing.assert_allclose(latents, model.encode(digits[:20]), rtol=1e-4, atol=1e-5)
    assert run(image_shape="8,8,1", image_dtype="int16")["run"]["units"] == 0
    with pytest.raises(OutputError, match=r"columns\.image_dtype int16 -> uint16"):
        run(image_shape="8,8,1")

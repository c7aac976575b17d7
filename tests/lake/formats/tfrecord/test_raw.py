"""Records whose image is its bare pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake.core.errors import InputError
from lake.core.records import Array, Fault, Reason, Records, Shard
from lake.formats.reader import ColumnSelection
from lake.images.decoder import Decoder
from lake.images.types import Target
from tests.conftest import png
from tests.lake.formats.support import write
from tests.lake.formats.tfrecord.examples import READER, example, read

DICE = np.random.default_rng(3)


def pixels(shape: tuple[int, ...], kind: str = "u1") -> Array:
    return DICE.random(shape).astype(np.float32) if kind == "f4" else DICE.integers(0, 256, shape).astype(kind)


def raw(image: Array, names: tuple[str, ...] = ("height", "width", "depth"), **more: Any) -> bytes:
    values = image.ravel().tolist() if image.dtype.kind in "fi" else image.tobytes()
    sides = dict(zip(names, map(int, image.shape), strict=False))
    return example(image_raw=values, label=1, **sides, **more)


def decoded(records: Records, shape: tuple[int, ...]) -> tuple[dict[int, Array], dict[int, Fault]]:
    found = Decoder(Target(shape=shape)).decode(records)
    images = {int(p): image for group in found.groups for p, image in zip(group.positions, group.pixels, strict=True)}
    return images, dict(found.faults)


def one_batch(shard: Shard, size: int = 256) -> Records:
    (records,) = read(shard, READER.settle(shard, ColumnSelection()), size)
    return records


@pytest.mark.parametrize("names", [("height", "width", "depth"), ("image/height", "image/width", "image/channels")])
@pytest.mark.parametrize("kind", ["u1", "<u2", "f4", "i8"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_read_by_their_sides(tmp_path: Path, names: tuple[str, ...], kind: str, channels: int) -> None:
    images = [pixels((5, 4, channels), kind) for _ in range(20)]
    shard = write(tmp_path / "a.tfrecord", [raw(image, names) for image in images])
    records = one_batch(shard)
    found, faults = decoded(records, (5, 4, channels))
    assert not faults
    for position, image in enumerate(images):
        np.testing.assert_array_equal(found[position], image)
    assert records.carried["label"].to_pylist() == [1] * 20


def test_without_a_depth_they_are_grey(tmp_path: Path) -> None:
    images = [pixels((4, 6)) for _ in range(3)]
    shard = write(tmp_path / "a.tfrecord", [raw(image, ("rows", "cols")) for image in images])
    found, faults = decoded(one_batch(shard), (4, 6, 1))
    assert not faults
    np.testing.assert_array_equal(found[2][..., 0], images[2])


def test_a_record_whose_sides_do_not_fit_costs_itself(tmp_path: Path) -> None:
    good = [pixels((5, 4, 1)) for _ in range(17)]
    bad = [
        example(image_raw=bytes(19), height=5, width=4, depth=1),
        example(image_raw=bytes(20), height=5, width=4),
        example(image_raw=bytes(20), height=-5, width=-4, depth=1),
        example(image_raw=bytes(20), height=2**62, width=2**62, depth=1),
        example(height=5, width=4, depth=1),
    ]
    shard = write(tmp_path / "a.tfrecord", [*map(raw, good), *bad, raw(pixels((7, 7, 1)))])
    records = one_batch(shard)
    assert [records.faults[at].reason for at in range(17, 21)] == [Reason.INVALID_RECORD] * 4
    assert records.faults[17].detail == "19 numbers, and 5 x 4 x 1 by height, width, depth"
    assert records.faults[21].reason == Reason.MISSING_IMAGE
    found, faults = decoded(records, (5, 4, 1))
    np.testing.assert_array_equal(found[16], good[16])
    assert faults[22].reason == Reason.WRONG_SIZE


def test_files_with_sides_beside_them_stay_files(tmp_path: Path) -> None:
    files = [png(pixels((5, 4))) for _ in range(3)]
    shard = write(tmp_path / "a.tfrecord", [example(image=file, height=5, width=4, depth=1) for file in files])
    assert one_batch(shard).payload.to_pylist() == files


def test_bytes_without_sides_are_no_pixels(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.tfrecord", [example(image_raw=bytes(20), label=1)])
    assert one_batch(shard).payload.to_pylist() == [bytes(20)]


def test_pixels_are_not_written_back_as_files(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.tfrecord", [raw(pixels((5, 4, 1)))])
    with pytest.raises(InputError, match=r"feature 'image_raw' holds bare pixels; choose another --output-format"):
        READER.settle(shard, ColumnSelection(whole=True))

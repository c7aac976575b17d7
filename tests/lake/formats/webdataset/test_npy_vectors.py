"""Vectors and images in ``.npy`` members."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake.core.errors import InputError
from lake.core.records import Reason
from lake.formats.reader import ColumnSelection
from lake.images.decoder import Decoder
from lake.images.types import Target
from tests.lake.formats.support import archive, rows, shard_of
from tests.lake.formats.webdataset.archives import READER, read


def npy(array: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "|u1", "<i8", ">u2", "|b1"])
@pytest.mark.parametrize("size", [1, 256])
def test_vectors(tmp_path: Path, dtype: str, size: int) -> None:
    arrays = [(np.arange(4) % 2 + i % 2).astype(dtype) for i in range(5)]
    shard = shard_of(tmp_path / "a.tar", archive([(f"{i}.npy", npy(array)) for i, array in enumerate(arrays)]))
    columns = READER.settle(shard, ColumnSelection(numeric=True))
    parts = read(shard, columns, size)
    assert columns.length == 4
    assert {part.payload.dtype for part in parts} == {np.dtype(np.float32)}
    assert [row["payload"] for row in rows(parts)] == [array.astype(float).tolist() for array in arrays]


def test_vectors_of_another_length_than_the_models(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.tar", archive([("a.npy", npy(np.ones(2))), ("b.npy", npy(np.ones(3)))]))
    columns = READER.settle(shard, ColumnSelection(numeric=True, length=3))
    assert [row["fault"] and row["fault"].reason for row in rows(read(shard, columns))] == [Reason.WRONG_LENGTH, None]
    with pytest.raises(InputError, match="members npy hold 2 numbers, and the model takes vectors of 4"):
        READER.settle(shard, ColumnSelection(numeric=True, length=4))


def test_vectors_that_are_none(tmp_path: Path) -> None:
    good = npy(np.arange(3.0))
    bad = {
        "short": (npy(np.arange(2)), Reason.WRONG_LENGTH),
        "matrix": (npy(np.zeros((1, 3))), Reason.INVALID_RECORD),
        "complex": (npy(np.zeros(3, complex)), Reason.INVALID_RECORD),
        "text": (npy(np.array(["a", "b", "c"])), Reason.INVALID_RECORD),
        "pickle": (npy(np.array([{}, [], ()], object), allow_pickle=True), Reason.INVALID_RECORD),
        "cut": (good[:-1], Reason.INVALID_RECORD),
        "longer": (good + b"x", Reason.INVALID_RECORD),
        "huge": (good.replace(b"(3,)", b"(999999999999,)"), Reason.INVALID_RECORD),
        "head": (good[:9], Reason.INVALID_RECORD),
        "empty": (b"", Reason.INVALID_RECORD),
        "other": (b"\x89PNG and so on", Reason.INVALID_RECORD),
    }
    members = [("good.npy", good), *[(f"{name}.npy", data) for name, (data, _) in bad.items()], ("no.png", b"p")]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    found = rows(read(shard, READER.settle(shard, ColumnSelection(numeric=True))))
    assert (found[0]["payload"], found[0]["fault"]) == ([0, 1, 2], None)
    assert [(row["key"], row["fault"].reason, row["fault"].data) for row in found[1:-1]] == [
        (name, reason, data) for name, (data, reason) in bad.items()
    ]
    assert found[-1]["fault"].reason == Reason.MISSING_IMAGE


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["|u1", "<u2", "<f4", "<i8", ">u2"])
@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 3), (3, 5, 6)])
def test_arrays_are_images_where_there_are_no_files(
    tmp_path: Path, order: Any, kind: str, shape: tuple[int, ...]
) -> None:
    dice = np.random.default_rng(4)
    scale = 256 if "f" in kind else 1  # white is 1 in floating pixels
    pixels = [np.asarray((dice.integers(0, 256, shape) / scale).astype(kind), order=order) for _ in range(3)]
    members = [(f"{at}.{name}", data) for at, p in enumerate(pixels) for name, data in (("npy", npy(p)), ("cls", b"7"))]
    shard = shard_of(tmp_path / "a.tar", archive([*members, ("3.npy", npy(np.zeros(4))), ("4.npy", b"junk")]))
    columns = READER.settle(shard, ColumnSelection())
    assert columns.image == "npy"
    (records,) = read(shard, columns)
    assert records.carried["cls"].to_pylist() == [7, 7, 7, None, None]
    upright = [p[..., None] if p.ndim == 2 else p.transpose(1, 2, 0) if shape[0] == 3 else p for p in pixels]
    decoded = Decoder(Target(shape=upright[0].shape)).decode(records)
    (group,) = decoded.groups
    assert group.positions.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(group.pixels, upright)
    assert decoded.faults[3].detail == "a .npy file that does not hold two or three dimensions of plain numbers"
    assert decoded.faults[4].reason == Reason.UNKNOWN_FORMAT


def test_image_files_go_before_arrays(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.tar", archive([("0.npy", npy(np.zeros((2, 2), np.uint8))), ("0.png", b"file")]))
    (records,) = read(shard, READER.settle(shard, ColumnSelection()))
    assert records.payload.to_pylist() == [b"file"]

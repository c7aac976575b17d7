"""Folders of ``.npy`` files with one image or vector each, and how they are told from stacks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake.core.records import Reason
from lake.formats import FORMATS
from lake.formats.reader import ColumnSelection
from lake.images.decoder import Decoder
from lake.images.types import PixelLayout, Target
from lake.inputs.columns import settle
from lake.inputs.discover import find_shards
from lake.inputs.one_image import told_apart
from lake.inputs.units import make_units
from tests.conftest import Pixels

DICE = np.random.default_rng(0)


def save(place: Path, arrays: Any) -> None:
    for number, array in enumerate(arrays):
        path = place / f"{number % 2}" / f"{number:03d}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, array)


def read(place: Path, **selection: Any) -> tuple[dict[str, Pixels], dict[str, Reason]]:
    """Pixels or numbers, and reasons of rejects, by key."""
    chosen = ColumnSelection(**selection)
    found = told_apart(find_shards([str(place)]), chosen)
    assert found.format == "npy"
    columns = settle(found, chosen)
    target = Target(shape=chosen.shape or ((chosen.length,) if chosen.numeric else (None, None, 3)))
    good, bad = dict[str, Pixels](), dict[str, Reason]()
    for unit in make_units(found):
        for raw in FORMATS["npy"].reader.read(unit, columns, 3):
            records = raw.records()
            decoded, keys = Decoder(target).decode(records), records.key.to_pylist()
            bad |= {keys[at]: fault.reason for at, fault in decoded.faults.items()}
            for group in decoded.groups:
                good |= {keys[at]: row for at, row in zip(group.positions, group.pixels, strict=True)}
    return good, bad


@pytest.mark.parametrize("kind", ["u1", "u2", "f4", "i8", "?"])
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 3)])
def test_each_file_is_an_image(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    images = (DICE.random((9, *shape)) * (1 if kind == "f4" else 2 if kind == "?" else 250)).astype(kind)
    save(tmp_path, images)
    good, bad = read(tmp_path, shape=(*shape, 1)[:3])
    assert bad == {}
    truth = images * np.uint8(255) if kind == "?" else images.astype("u1") if kind == "i8" else images
    for number in range(9):
        np.testing.assert_array_equal(good[f"{number:03d}.npy"].reshape(shape), truth[number])


def test_channels_first(tmp_path: Path) -> None:
    images = DICE.integers(0, 256, (4, 6, 5, 3), np.uint8)
    save(tmp_path, images.transpose(0, 3, 1, 2))
    for layout in (PixelLayout.CHW, PixelLayout.AUTO):
        good, bad = read(tmp_path, shape=(6, 5, 3), layout=layout)
        assert bad == {}
        np.testing.assert_array_equal([good[f"{number:03d}.npy"] for number in range(4)], images)


def test_each_file_is_a_vector(tmp_path: Path) -> None:
    vectors = DICE.random((5, 7))
    save(tmp_path, vectors)
    good, _ = read(tmp_path, numeric=True, length=7)
    np.testing.assert_array_equal([good[f"{at:03d}.npy"] for at in range(5)], vectors.astype("f4"))


def test_a_bad_file_costs_itself(tmp_path: Path) -> None:
    save(tmp_path, [np.zeros((6, 5), np.uint8)] * 3)
    np.save(tmp_path / "text.npy", np.array(["a"]))
    np.save(tmp_path / "other.npy", np.zeros((4, 4), np.uint8))
    np.save(tmp_path / "nan.npy", np.full((6, 5), np.nan))
    whole = (tmp_path / "0/000.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-1])
    (tmp_path / "none.npy").write_bytes(b"")
    (tmp_path / "lies.npy").write_bytes(whole.replace(b"(6, 5)", b"(1000000000, 1000000000)"[:6]))
    good, bad = read(tmp_path, shape=(6, 5, 1))
    assert sorted(good) == ["000.npy", "001.npy", "002.npy"]
    assert bad == {
        "text.npy": Reason.INVALID_RECORD,
        "other.npy": Reason.WRONG_SIZE,
        "nan.npy": Reason.NON_FINITE_INPUT,
        "cut.npy": Reason.INVALID_RECORD,
        "none.npy": Reason.EMPTY_IMAGE,
        "lies.npy": Reason.INVALID_RECORD,
    }


@pytest.mark.parametrize(
    ("shape", "selection", "wanted"),
    [
        ((10, 8, 8), ColumnSelection(shape=(8, 8, 1)), "array"),
        ((8, 8), ColumnSelection(shape=(8, 8, 1)), "npy"),
        ((20, 30), ColumnSelection(), "npy"),
        ((10, 20, 30), ColumnSelection(), "array"),
        ((3, 3, 3), ColumnSelection(shape=(3, 3, 3)), "array"),
        ((10, 64), ColumnSelection(shape=(8, 8, 1)), "array"),
        ((10, 7), ColumnSelection(numeric=True, length=7), "array"),
    ],
)
def test_what_may_be_a_stack_is_one(
    tmp_path: Path, shape: tuple[int, ...], selection: ColumnSelection, wanted: str
) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    assert told_apart(find_shards([str(tmp_path)]), selection).format == wanted
    np.savez(tmp_path / "b.npz", np.zeros(shape, np.uint8))
    assert told_apart(find_shards([str(tmp_path)]), selection).format == "array"


def test_thousands_of_files_are_few_units(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    first = tmp_path / "0/0000.npy"
    np.save(first, np.zeros((2, 2), np.uint8))
    for number in range(1, 1500):
        (tmp_path / f"0/{number:04d}.npy").hardlink_to(first)
    found = told_apart(find_shards([str(tmp_path)]), ColumnSelection(shape=(2, 2, 1)))
    units = list(make_units(found))
    assert len(units) <= 6
    assert sum(len(unit.shards) for unit in units) == 1500

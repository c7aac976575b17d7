"""Columns are settled by the first shard that can be read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake.core.errors import InputError, ShardError, UnreadableError
from lake.formats.array.reader import ArrayReader
from lake.formats.reader import ColumnSelection
from lake.inputs import units as units_of
from lake.inputs.columns import settle
from lake.inputs.discover import find_shards
from lake.inputs.units import make_units


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        np.save(tmp_path / f"{name}.npy", np.zeros((9, 4, 4), np.uint8))
    return tmp_path


def test_a_shard_that_breaks_its_reader_is_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = ArrayReader.settle

    def breaks(self: Any, shard: Any, selection: Any) -> Any:
        if shard.path != "b.npy":
            raise RecursionError("too deep")
        return look(self, shard, selection)

    monkeypatch.setattr(ArrayReader, "settle", breaks)
    assert settle(find_shards([str(folder)]), ColumnSelection()).image == "image"
    (folder / "b.npy").unlink()
    with pytest.raises(InputError, match=r"first 2 shards can be read: a\.npy: cannot be read: RecursionError: too de"):
        settle(find_shards([str(folder)]), ColumnSelection())


@pytest.mark.parametrize("error", [ShardError("a.npy", "is cut"), ZeroDivisionError()], ids=["damage", "unforeseen"])
def test_a_large_shard_that_cannot_be_cut_is_one_unit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(units_of, "SPLIT_BYTES", 100)
    rows = ArrayReader.rows

    def breaks(self: Any, shard: Any) -> Any:
        if shard.path == "a.npy":
            raise error
        return rows(self, shard)

    monkeypatch.setattr(ArrayReader, "rows", breaks)
    assert [unit.id for unit in make_units(find_shards([str(folder)]))] == ["a", "b", "c"]


def test_a_store_that_fails_does_not_change_how_a_shard_is_cut(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Any, shard: Any) -> Any:
        raise UnreadableError(shard.path, "the store failed")

    monkeypatch.setattr(units_of, "SPLIT_BYTES", 100)
    monkeypatch.setattr(ArrayReader, "rows", fails)
    with pytest.raises(UnreadableError):
        list(make_units(find_shards([str(folder)])))

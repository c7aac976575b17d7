"""Trees of images made with Pillow, read back and compared."""

import io
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from lake.core.errors import InputError, ShardError
from lake.core.records import Reason, Records, Shard, Unit
from lake.formats import FORMATS
from lake.formats.common.image_names import renamed
from lake.formats.folder import reader as folders
from lake.formats.reader import ColumnSelection
from lake.inputs.discover import find_shards

READER = FORMATS["folder"].reader
ANY = ColumnSelection()
KINDS = {"png": "PNG", "jpg": "JPEG", "JPEG": "JPEG", "webp": "WEBP", "tif": "TIFF", "bmp": "BMP", "gif": "GIF"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Seven images at depths 0 to 3, each of one grey value: its number in the order of the paths."""
    for at, (suffix, kind) in enumerate(KINDS.items()):
        folder = tmp_path / "/".join(["a", "b c", "é"][: at % 4])
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (5, 4), 30 * at).save(folder / f"{at}.{suffix}", kind)
    return tmp_path


def shards_of(root: Path) -> tuple[Shard, ...]:
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return tuple(
        Shard(uri=str(path), path=path.relative_to(root).as_posix(), size=path.stat().st_size, identity="1")
        for path in paths
    )


def batches(shards: Sequence[Shard], request: ColumnSelection = ANY, size: int = 3) -> list[Records]:
    columns = READER.settle(shards[0], request)
    unit = Unit(id="u", format="folder", shards=tuple(shards))
    return [raw.records() for raw in READER.read(unit, columns, size)]


def rows_of(parts: Sequence[Records]) -> list[tuple[Any, ...]]:
    """Shard, index, key, payload and carried values of each record."""
    rows: list[tuple[Any, ...]] = []
    for part in parts:
        carried = [column.to_pylist() for column in part.carried.values()]
        lists = (part.shard, part.index.tolist(), part.key.to_pylist(), part.payload.to_pylist(), *carried)
        rows += zip(*lists, strict=True)
    return rows


@pytest.mark.parametrize("size", [1, 2, 7, 256])
def test_every_file_of_a_tree_is_a_record(tree: Path, size: int) -> None:
    shards = shards_of(tree)
    parts = batches(shards, ColumnSelection(carry=("folder",)), size)
    assert [len(part) for part in parts] == [min(size, 7 - at) for at in range(0, 7, size)]
    rows = rows_of(parts)
    assert len(rows) == len(KINDS)
    for (path, index, key, data, folder), shard in zip(rows, shards, strict=True):
        assert (path, index, key) == (shard.path, 0, Path(shard.path).name)
        assert folder == ("" if "/" not in path else str(Path(path).parent))
        assert data == Path(shard.uri).read_bytes()
        assert abs(int(np.asarray(Image.open(io.BytesIO(data)).convert("L"))[0, 0]) - 30 * int(key[0])) <= 1


def test_order_is_kept_over_many_runs_of_files(tmp_path: Path) -> None:
    for at in range(500):
        (tmp_path / f"{at:03d}.png").write_bytes(at.to_bytes(2) * (1 + at * 37 % 9000))
    rows = rows_of(batches(shards_of(tmp_path), size=64))
    assert [(row[0], row[3][:2], len(row[3])) for row in rows] == [
        (f"{at:03d}.png", at.to_bytes(2), 2 + at * 37 % 9000 * 2) for at in range(500)
    ]


def test_nothing_is_carried_unless_asked(tree: Path) -> None:
    assert READER.settle(shards_of(tree)[0], ColumnSelection()).carry == pa.schema([])


def test_an_empty_file_stays_empty_bytes_and_a_large_one_is_one_fault(tmp_path: Path) -> None:
    for name, size in (("a.png", 0), ("b.png", 101), ("c.png", 100)):
        (tmp_path / name).write_bytes(b"x" * size)
    (part,) = batches(shards_of(tmp_path), ColumnSelection(max_record_bytes=100))
    assert part.payload.to_pylist() == [b"", None, b"x" * 100]
    assert {at: (fault.reason, fault.detail) for at, fault in part.faults.items()} == {
        1: (Reason.RECORD_TOO_LARGE, "101 bytes; the most is 100")
    }


def test_a_file_over_the_limit_is_not_opened(tmp_path: Path) -> None:
    gone = Shard(uri=str(tmp_path / "gone.png"), path="gone.png", size=101, identity="1")
    (part,) = batches([gone], ColumnSelection(max_record_bytes=100))
    assert part.faults[0].reason == Reason.RECORD_TOO_LARGE


@pytest.mark.parametrize(
    ("size", "room", "edges"), [(256, 1 << 20, [7]), (3, 1 << 20, [3, 3, 1]), (256, 300, [3, 1, 3]), (2, 1, [1] * 7)]
)
def test_a_batch_ends_early_where_its_room_is_full(tmp_path: Path, size: int, room: int, edges: list[int]) -> None:
    sizes = [100, 100, 100, 900, 100, 100, 1]
    for at, count in enumerate(sizes):
        (tmp_path / f"{at}.png").write_bytes(bytes(count))
    shards = shards_of(tmp_path)
    unit = Unit(id="u", format="folder", shards=shards)
    parts = list(READER.read(unit, READER.settle(shards[0], ColumnSelection(whole=True)), size, room))
    assert [len(part) for part in parts] == edges
    assert [len(row[3]) for row in rows_of(parts)] == sizes


def test_large_files_are_not_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_RUN_BYTES", 100)
    monkeypatch.setattr(folders, "_AHEAD_BYTES", 150)
    for at in range(4):
        (tmp_path / f"{at}.png").write_bytes(b"%d" % at * 100)
    shards = shards_of(tmp_path)
    reading = READER.read(Unit(id="u", format="folder", shards=shards), READER.settle(shards[0], ANY), 1)
    first = next(reading)
    (tmp_path / "2.png").write_bytes(b"x" * 100)  # only the next file may have been read by now
    assert [data[:1] for data in [row[3] for row in rows_of([first, *reading])]] == [b"0", b"1", b"x", b"3"]


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changed_its_size_is_named(tree: Path, change: int) -> None:
    shards = [*shards_of(tree)]
    shards[4] = replace(shards[4], size=shards[4].size + change)
    with pytest.raises(ShardError, match="has no longer the") as caught:
        batches(shards)
    assert caught.value.shard == shards[4].path


def test_a_file_that_vanished_is_named(tree: Path) -> None:
    shards = shards_of(tree)
    Path(shards[5].uri).unlink()
    with pytest.raises(ShardError, match="cannot be read") as caught:
        batches(shards)
    assert caught.value.shard == shards[5].path


def test_names_that_are_not_utf8_are_escaped_in_keys(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
    assert rows_of(batches(shards_of(tmp_path)))[0][2] == "caf\\udce9.png"


def test_stopping_early_leaves_no_thread(tmp_path: Path) -> None:
    for at in range(300):
        (tmp_path / f"{at:03d}.png").write_bytes(b"x")
    shards = shards_of(tmp_path)
    reading = READER.read(Unit(id="u", format="folder", shards=shards), READER.settle(shards[0], ColumnSelection()), 8)
    assert len(next(reading).records()) == 8
    reading.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("folder")]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (ColumnSelection(numeric=True), "folders hold image files and the model takes vectors"),
        (ColumnSelection(image="x"), "no feature 'x'; leave out --image"),
        (ColumnSelection(key="x"), "no feature 'x'; leave out --key"),
        (ColumnSelection(carry=("label",)), "no column 'label'; --carry can be 'folder'"),
    ],
    ids=str,
)
def test_what_a_folder_cannot_give_is_refused(tree: Path, request_: ColumnSelection, says: str) -> None:
    with pytest.raises(InputError) as caught:
        READER.settle(shards_of(tree)[0], request_)
    assert says in str(caught.value)


def test_recognises_by_name_and_magic(tree: Path) -> None:
    for shard in shards_of(tree):
        head = Path(shard.uri).read_bytes()[:1024]
        assert READER.recognises(shard.path, b"")
        assert READER.recognises("no-suffix", head)
    assert not READER.recognises("notes.txt", b"BMW and others")
    assert READER.rows(shards_of(tree)[0]) is None
    assert READER.grouped


@pytest.mark.parametrize("name", ["a.jpe", "a.jfif", "A.JFIF", "_DSC0001.JPE", "a.pjpeg", "a.JIF", "_DSC1.MPO"])
def test_rarer_names_of_jpeg_are_images(tmp_path: Path, name: str) -> None:
    Image.new("L", (5, 4), 30).save(tmp_path / name, "JPEG")
    found = find_shards([str(tmp_path)])
    assert (found.format, [shard.path for shard in found.shards]) == ("folder", [name])
    assert renamed(name, "jpg", b"\xff\xd8\xff") == name
    assert renamed(name, "png", b"\xff\xd8\xff") == f"{name.partition('.')[0]}.png"


def test_a_link_to_nothing_costs_its_own_record(tmp_path: Path) -> None:
    Image.new("L", (5, 4), 30).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("../annex/1")
    (records,) = batches(find_shards([str(tmp_path)]).shards)
    assert records.payload.to_pylist() == [(tmp_path / "a.png").read_bytes(), None]
    assert {at: fault.reason for at, fault in records.faults.items()} == {1: Reason.MISSING_IMAGE}
    assert records.faults[1].detail.startswith("a link to ../annex/1, which does not exist; fetch it")

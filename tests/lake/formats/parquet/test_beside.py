"""Rows with a path and no bytes: the file beside the shard, and never another one."""

import os
from pathlib import Path

import pyarrow as pa
import pytest

from lake.core.records import Reason
from lake.formats.reader import ColumnSelection
from tests.lake.formats.parquet.tables import READER, STRUCT, batches, written


def read(path: Path, rows: list[tuple[bytes | None, str | None]], size: int = 64, **asked: object) -> list[object]:
    """The bytes of each row, or the reason and detail of its fault."""
    table = pa.table({"image": pa.array([{"bytes": data, "path": name} for data, name in rows], STRUCT)})
    shard = written(path, table)
    columns = READER.settle(shard, ColumnSelection(**asked))  # type: ignore[arg-type]
    made: list[object] = []
    for part in batches(shard, columns, size):
        for at in range(len(part)):
            fault = part.faults.get(at)
            made.append((fault.reason, fault.detail) if fault else part.payload[at].as_py())
    return made


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    for name in ("secret.png", "in/a.png", "in/d/b.png", "in/d/..c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


@pytest.mark.parametrize("size", [1, 3, 64])
@pytest.mark.parametrize("whole", [False, True])
def test_the_file_beside_the_shard_is_read(lake: Path, size: int, whole: bool) -> None:
    rows = [(b"own", "a.png"), (None, "a.png"), (None, "d/b.png"), (b"", "a.png"), (None, f"{lake}/in/d/b.png")]
    rows += [(None, "./d/../a.png"), (None, "d/..c.png"), (b"own", None)] * 5
    wanted = [b"own", b"in/a.png", b"in/d/b.png", b"", b"in/d/b.png"]
    wanted += [b"in/a.png", b"in/d/..c.png", b"own"] * 5
    assert read(lake / "in/x.parquet", rows, size, whole=whole) == wanted


def test_a_key_of_its_own_does_not_hide_the_path(lake: Path) -> None:
    table = pa.table({"id": ["1"], "image": pa.array([{"bytes": None, "path": "a.png"}], STRUCT)})
    shard = written(lake / "in/x.parquet", table)
    (part,) = batches(shard, READER.settle(shard, ColumnSelection(key="id")), 5)
    assert (part.key.to_pylist(), part.payload.to_pylist()) == (["1"], [b"in/a.png"])


def test_a_shard_named_without_a_directory(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lake / "in")
    assert read(Path("x.parquet"), [(None, "d/b.png"), (None, f"{lake}/in/a.png")]) == [b"in/d/b.png", b"in/a.png"]


OUTSIDE = "leads out of the shard's directory, where nothing is read"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("../secret.png", OUTSIDE),
        ("{lake}/secret.png", OUTSIDE),
        ("/etc/passwd", OUTSIDE),
        ("d/../../secret.png", OUTSIDE),
        ("file:///etc/passwd", OUTSIDE),
        ("s3://b/a.png", OUTSIDE),
        ("hf://datasets/a.png", OUTSIDE),
        ("link.png", OUTSIDE),
        ("up/secret.png", OUTSIDE),
        ("a.png\0", OUTSIDE),
        ("none.png", "names no file beside the shard"),
        ("d", "names no file beside the shard"),
        ("", "names no file beside the shard"),
        ("pipe", "names no file beside the shard"),
        ("a.png/b", "names no file beside the shard"),
        ("x" * 300, "cannot be read: File name too long"),
    ],
)
def test_no_other_file_is(lake: Path, path: str, problem: str) -> None:
    (lake / "in/link.png").symlink_to("../secret.png")
    (lake / "in/up").symlink_to("..")
    os.mkfifo(lake / "in/pipe")
    path = path.replace("{lake}", str(lake))
    detail = f"the image has no bytes, and its path {path!r} {problem}"
    assert read(lake / "in/x.parquet", [(None, path), (b"own", path)]) == [(Reason.MISSING_IMAGE, detail), b"own"]


def test_what_has_neither_is_null_and_what_is_too_large_says_so(lake: Path) -> None:
    made = read(lake / "in/x.parquet", [(None, None), (None, "a.png"), (None, "d/b.png")], max_record_bytes=8)
    assert made == [
        (Reason.MISSING_IMAGE, "the image is null"),
        b"in/a.png",
        (Reason.RECORD_TOO_LARGE, "10 bytes; the most is 8"),
    ]

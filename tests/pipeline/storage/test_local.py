import os
from pathlib import Path

import google_crc32c
import pytest

from pipeline.errors import UsageError
from pipeline.storage import store_for


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def test_nothing_is_visible_before_publish(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.bin"
    sink = store_for(str(target)).create(str(target))
    sink.write(b"half")
    assert not target.exists()
    assert list(store_for(str(tmp_path)).list(str(tmp_path))) == []
    sink.write(b" and half")
    sink.publish()
    assert target.read_bytes() == b"half and half"
    assert (sink.size, sink.crc32c) == (13, f"{google_crc32c.value(b'half and half'):08x}")
    assert names(target.parent) == ["b.bin"]


def test_an_error_in_the_block_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), store_for(str(target)).create(str(target)) as sink:
        sink.write(b"new")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["x"]


def test_close_alone_does_not_publish(tmp_path: Path) -> None:
    sink = store_for(str(tmp_path)).create(str(tmp_path / "x"))
    sink.write(b"part")
    sink.close()
    sink.abort()
    assert names(tmp_path) == []


def test_published_files_have_ordinary_permissions(tmp_path: Path) -> None:
    old = os.umask(0o027)
    os.umask(old)
    with store_for(str(tmp_path)).create(str(tmp_path / "x")) as sink:
        sink.write(b"1")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~old


def test_listing_is_in_the_order_of_uris(tmp_path: Path) -> None:
    names = ["a-b/x", "a/x", "a/y/z", "a.txt", "B"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    found = [stat.uri for stat in store_for(str(tmp_path)).list(str(tmp_path))]
    assert found == sorted(f"{tmp_path}/{name}" for name in names)


def test_identity_changes_with_the_content(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one")
    store = store_for(str(path))
    before = store.stat(str(path))
    os.utime(path, ns=(1, 1))
    after = store.stat(str(path))
    assert before is not None
    assert after is not None
    assert before.identity != after.identity
    assert store.stat(str(tmp_path)) is None
    assert store.stat(str(tmp_path / "none")) is None


def test_reading_back(tmp_path: Path) -> None:
    path = tmp_path / "x y"
    path.write_bytes(bytes(range(256)) * 1000)
    with store_for(path.as_uri()).open(path.as_uri()) as file:
        file.seek(255)
        assert file.read(3) == bytes([255, 0, 1])


def test_an_unknown_scheme_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ftp.*file://"):
        store_for("ftp://x/y")


def test_sweeping_removes_what_killed_writers_left_and_nothing_else(tmp_path: Path) -> None:
    store = store_for(str(tmp_path))
    (tmp_path / "a").mkdir()
    dead, alive = store.create(str(tmp_path / "a/x")), store.create(str(tmp_path / "a/y"))
    (tmp_path / "a/z").write_bytes(b"data")
    left = {path: path.stat() for path in (tmp_path / "a").iterdir() if path.name != "z"}
    os.utime(min(left), (1, 1))
    os.utime(tmp_path / "a/z", (1, 1))
    store.sweep(str(tmp_path), before=1000.0)
    assert sorted(path for path in left if path.exists()) == [max(left)]
    assert (tmp_path / "a/z").exists()
    for sink in (dead, alive):
        sink.abort()

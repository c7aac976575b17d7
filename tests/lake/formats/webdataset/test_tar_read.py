"""Tar archives as Python's tarfile and tar write them, and every way in which they can be damaged."""

import gzip
import shutil
import subprocess
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake.core.errors import ShardError, UnreadableError
from lake.core.records import Shard
from lake.formats.common.byte_stream import Window
from lake.formats.webdataset.tar_read import tar_members
from tests.conftest import long_forms
from tests.lake.formats.support import FORMATS, archive, shard_of, special

LIMIT = 1 << 20


def pax_member(name: str, headers: dict[str, str]) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.pax_headers = headers
    return info


def resum(data: bytearray, at: int) -> None:
    """Set the checksum of the header at ``at``: the sum of its bytes, its own field taken as spaces."""
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])


def intact(shard: Shard) -> tuple[list[tuple[str, bytes | None]], ShardError | None]:
    """The members that come before the damage, and the damage."""
    found: list[tuple[str, bytes | None]] = []
    try:
        for name, _, data, _ in tar_members(Window(shard), LIMIT):
            found.append((name.decode(errors="replace"), data))
    except ShardError as error:
        return found, error
    return found, None


def files(shard: Shard) -> list[tuple[str, bytes | None]]:
    """The members of an archive without damage."""
    found, error = intact(shard)
    assert error is None
    return found


LONG = "directory/" * 30
NAMES = [
    "a/1.png",
    "é/ü.png",
    f"{'d' * 90}/{'n' * 60}.png",
    "x" * 90 + ".png",
    "./b/../../c.png",
    "/abs/d.png",
    "a b\n.png",
]


@pytest.mark.parametrize("format", list(FORMATS))
def test_names_of_every_form_are_only_data(tmp_path: Path, format: str) -> None:
    names = NAMES + ([LONG + "e.png", LONG + "f.png", "g" * 300 + ".png"] if format != "ustar" else [])
    data = archive([(name, name.encode()) for name in names], format)
    found = files(shard_of(tmp_path / "a.tar", data))
    assert found == [(name, name.encode()) for name in names]


@pytest.mark.parametrize("format", ["gnu", "pax", "ustar", "v7", "oldgnu"])
def test_archives_of_the_tar_command(tmp_path: Path, format: str) -> None:
    if not (tar := shutil.which("tar")):
        pytest.skip("needs the tar command")
    names = ["d/1.png", f"d/{'n' * 80}.png"]
    names += [f"d/{'m' * 200}.png"] if format in ("gnu", "pax", "oldgnu") else []
    (tmp_path / "d").mkdir()
    for name in names:
        (tmp_path / name).write_bytes(name.encode() * 100)
    subprocess.run(
        [tar, f"--format={format}", "--no-recursion", "-cf", "a.tar", "d/", *names], cwd=tmp_path, check=True
    )
    found = files(shard_of(tmp_path / "a.tar"))
    assert set(found) == {(name, name.encode() * 100) for name in names}


def test_global_and_local_pax_headers(tmp_path: Path) -> None:
    first = tarfile.TarInfo("short.png")
    first.pax_headers = {"path": "of the pax header.png", "size": "3"}
    data = archive([(first, b"abc"), ("b.png", b"de")], "pax", pax_headers={"comment": "path=x size=y"})
    assert files(shard_of(tmp_path / "a", data)) == [("of the pax header.png", b"abc"), ("b.png", b"de")]


def test_a_size_that_only_the_pax_header_holds(tmp_path: Path) -> None:
    data = bytearray(archive([(pax_member("a.png", {"size": "600"}), bytes(600)), ("b.png", b"b")], "pax"))
    at = data.index(b"a.png") if data[:5] == b"a.png" else data.index(b"a.png", 1024)
    data[at + 124 : at + 136] = b"%011o\0" % 0
    resum(data, at)
    assert files(shard_of(tmp_path / "a", bytes(data))) == [("a.png", bytes(600)), ("b.png", b"b")]


def test_a_size_in_base_256(tmp_path: Path) -> None:
    data = bytearray(archive([("a.png", b"abc"), ("b.png", b"b")], "gnu"))
    data[124:136] = b"\x80" + (3).to_bytes(11, "big")
    resum(data, 0)
    assert files(shard_of(tmp_path / "a", bytes(data))) == [("a.png", b"abc"), ("b.png", b"b")]


def test_a_checksum_of_signed_bytes(tmp_path: Path) -> None:
    data = bytearray(archive([("é.png", b"abc")], "gnu"))
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % (sum(data[:512]) - 256 * 2)
    assert files(shard_of(tmp_path / "a", bytes(data))) == [("é.png", b"abc")]


def test_the_size_field_of_a_link_says_nothing_of_data(tmp_path: Path) -> None:
    data = bytearray(archive([(special("a.png", tarfile.LNKTYPE), b""), ("b.png", b"b")]))
    data[124:136] = b"%011o\0" % 512
    resum(data, 0)
    assert files(shard_of(tmp_path / "a", bytes(data))) == [("a.png", None), ("b.png", b"b")]


def test_times_in_a_gnu_header_are_no_prefix_of_the_name(tmp_path: Path) -> None:
    data = bytearray(archive([("a.png", b"a")], "gnu"))
    data[345:369] = b"%011o\0%011o\0" % (1_700_000_000, 1_700_000_000)
    resum(data, 0)
    assert files(shard_of(tmp_path / "a", bytes(data))) == [("a.png", b"a")]


def test_sparse_files_are_passed_over(tmp_path: Path) -> None:
    if not (tar := shutil.which("tar")):
        pytest.skip("needs the tar command")
    with (tmp_path / "b.png").open("wb") as file:
        for at in range(60):  # more holes than one header can list
            file.seek(at << 16)
            file.write(b"x" * 4096)
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / "c.png").write_bytes(b"c")
    for format in ("gnu", "pax"):
        command = [tar, f"--format={format}", "--sparse", "-cf", "t.tar", "a.png", "b.png", "c.png"]
        subprocess.run(command, cwd=tmp_path, check=True)
        found = list(tar_members(Window(shard_of(tmp_path / "t.tar")), LIMIT))
        assert [(data, other) for _, _, data, other in found] == [(b"a", ""), (None, "a sparse file"), (b"c", "")]


MEMBERS = [("a.png", b"first image"), ("b.png", b"second"), ("c.png", b"")]
SMALL = archive(MEMBERS)


def test_an_archive_cut_at_any_byte(tmp_path: Path) -> None:
    data = SMALL
    end = 2560 + 512  # three headers, two blocks of data, and the first block of zeros
    assert intact(shard_of(tmp_path / "b.tar", b"")) == ([], None)  # an archive of nothing, as for tar itself
    for cut in [*range(1, end + 100), len(data)]:
        found, error = intact(shard_of(tmp_path / "b.tar", data[:cut]))
        if cut >= end:
            assert (found, error) == (MEMBERS, None)
        else:
            assert error is not None
            assert error.offset is not None
            assert error.offset <= cut
            assert found == MEMBERS[: len(found)]


@pytest.mark.parametrize("format", ["ustar", "pax"])
def test_any_flipped_bit_of_a_header_is_found(tmp_path: Path, format: str) -> None:
    data = archive([("a.png", b"image")], format)
    for bit in range(8 * 512):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        found, error = intact(shard_of(tmp_path / "b.tar", bytes(flipped)))
        # The field that holds the sum has some spare bits of its own.
        harmless = 148 <= bit // 8 < 156 and found == [("a.png", b"image")]
        assert harmless or (error is not None and error.offset == 0)


def test_a_gzip_archive_cut_or_changed_anywhere_never_loses_a_member_in_silence(tmp_path: Path) -> None:
    data = gzip.compress(SMALL, mtime=0)
    for cut in range(1, len(data)):
        found, error = intact(shard_of(tmp_path / "b.tgz", data[:cut]))
        assert error is not None
        assert found == MEMBERS[: len(found)]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        found, error = intact(shard_of(tmp_path / "b.tgz", bytes(flipped)))
        assert error is not None or found == MEMBERS


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0", "the archive is cut"),
        (SMALL[:2560], "the archive is cut"),
        (SMALL + SMALL, "data after the archive's end .* at byte 10240"),
        (SMALL[:2560] + bytes(512) + b"x", "data after the archive's end .* at byte 3072"),
        (b"no tar at all" * 100, "the checksum of a member's header does not match at byte 0"),
        (
            gzip.compress(SMALL, mtime=0) + b"garbage",
            f"data after the gzip stream's end at byte {len(gzip.compress(SMALL))}",
        ),
    ],
)
def test_a_damaged_archive_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(ShardError, match=rf"a\.tar: .*{words}"):
        list(tar_members(Window(shard_of(tmp_path / "a.tar", data)), LIMIT))


@pytest.mark.parametrize("field", [b"-0000000001\0", b"0000000000x\0", b"1_000000000\0", b"\0" * 12, b"\xff" * 12])
def test_a_size_that_is_no_number_is_damage(tmp_path: Path, field: bytes) -> None:
    data = bytearray(SMALL)
    data[1024 + 124 : 1024 + 136] = field
    resum(data, 1024)
    found, error = intact(shard_of(tmp_path / "a.tar", bytes(data)))
    assert error is not None
    assert (error.offset, "is no number" in error.problem, found) == (1024, True, MEMBERS[:1])


@pytest.mark.parametrize("size", [1 << 40, (1 << 95) - 1])
def test_a_size_that_lies_allocates_nothing(tmp_path: Path, size: int) -> None:
    data = bytearray(SMALL)
    data[1024 + 124 : 1024 + 136] = b"\x80" + size.to_bytes(12, "big")[1:]
    resum(data, 1024)
    _, error = intact(shard_of(tmp_path / "a.tar", bytes(data)))
    assert error is not None
    assert "truncated" in error.problem


@pytest.mark.parametrize(
    "pax",
    [b"99 path=a\n", b"x path=a\n", b"11 path=a.b", b"0 path=a\n", b"10 path_ab\n", b"12 size=-1\n\n", b"10 size=x\n"],
)
def test_a_malformed_pax_header_is_damage(tmp_path: Path, pax: bytes) -> None:
    data = archive([(special("x", b"x"), pax), ("a.png", b"a")])
    found, error = intact(shard_of(tmp_path / "a.tar", data))
    assert error is not None
    assert found == []


def test_an_extension_header_may_not_be_huge(tmp_path: Path) -> None:
    data = archive([(special("x", b"L"), b"n" * (2 << 20)), ("a.png", b"a")])
    with pytest.raises(ShardError, match="pax or long-name header of 2097152 bytes at byte 512"):
        list(tar_members(Window(shard_of(tmp_path / "a.tar", data)), LIMIT))


def test_a_store_that_fails_is_named(tmp_path: Path) -> None:
    found, error = intact(Shard(uri=str(tmp_path / "none"), path="p/none", size=1, identity="1"))
    assert found == []
    assert str(error).startswith("p/none: the store failed")
    assert isinstance(error, UnreadableError)
    assert isinstance(error.__cause__, FileNotFoundError)


@pytest.mark.parametrize("pack", [gzip.compress, *long_forms(bytes)])
def test_memory_does_not_grow_with_the_archive(tmp_path: Path, pack: Any) -> None:
    many = [(f"{i}.png", bytes(60_000)) for i in range(1000)]
    shard = shard_of(tmp_path / "a.tar", pack(archive([*many, ("large.png", bytes(60_000_000)), ("last.png", b"l")])))
    tracemalloc.start()
    try:
        found = [(size, data is None) for _, size, data, _ in tar_members(Window(shard), LIMIT)]
        assert found == [*[(60_000, False)] * 1000, (60_000_000, True), (1, False)]
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_members_larger_than_a_block(tmp_path: Path) -> None:
    images = [np.random.default_rng(i).bytes(size) for i, size in enumerate([5, 1 << 20, 0, 1_000_000, 9])]
    data = archive([(f"{i}.png", data) for i, data in enumerate(images)], "pax")
    assert [data for _, data in files(shard_of(tmp_path / "a.tar", data))] == images


def test_data_that_is_of_no_use_is_passed_over(tmp_path: Path) -> None:
    """A member of 8 MiB costs no memory, and what is damaged in it is told as before."""
    big = bytes(8 << 20)
    data = archive([("a.png", b"image"), ("a.mp4", big), ("b.png", b"other")])
    shard = shard_of(tmp_path / "a.tar", data)
    tracemalloc.start()
    found = list(tar_members(Window(shard), 1 << 30, lambda name: name.endswith(b"png")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [(b"a.png", 5, b"image", ""), (b"a.mp4", len(big), b"", ""), (b"b.png", 5, b"other", "")]
    assert peak < 6 << 20
    errors = []
    for reads in (True, False):
        with pytest.raises(ShardError) as caught:
            list(
                tar_members(
                    Window(shard_of(tmp_path / "b.tar", data[: 4 << 20])), 1 << 30, lambda _, reads=reads: reads
                )
            )
        errors.append(str(caught.value))
    assert errors[0] == errors[1]

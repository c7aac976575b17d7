"""Damaged gzip around every container: what is proven is kept, and nothing is ever unpacked into memory."""

import gzip
import io
import struct
import tarfile
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lake.core.errors import ShardError
from lake.core.records import Reason
from lake.formats.reader import ColumnSelection
from tests.conftest import long_forms
from tests.faults.damaged import (
    COUNT,
    MODES,
    Container,
    Outcome,
    begin,
    check,
    flip,
    masked,
    read,
    settle,
)

GZIPPED = pytest.mark.parametrize("kind", ["tfrecord", "tar", "csv"])


@MODES
@GZIPPED
def test_gzip_that_is_cut(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], kind: str, salvage: bool
) -> None:
    """All that can be decompressed is there; the checksum would come last."""
    packed = intact[f"{kind}.gz"]
    columns = settle(packed, tmp_path, salvage=salvage)
    for cut in (len(packed.data) // 2, len(packed.data) - 8, len(packed.data) - 1):
        found = read(packed, tmp_path, columns, packed.data[:cut])
        assert found.good == begin(clean[kind], found.lost)
        assert str(found.error).endswith(f"the gzip stream is truncated at byte {cut}")
    assert found.lost == COUNT - (kind == "tar")  # whose last sample might go on


@MODES
@GZIPPED
def test_gzip_with_something_behind_it(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], kind: str, salvage: bool
) -> None:
    packed = intact[f"{kind}.gz"]
    columns = settle(packed, tmp_path, salvage=salvage)
    for gap in (0, 100):
        found = read(packed, tmp_path, columns, packed.data + bytes(gap) + b"garbage")
        count = COUNT - (kind == "tar")  # whose last sample might go on
        check(found, clean[kind], count, f"data after the gzip stream's end at byte {len(packed.data) + gap}")
    found = read(packed, tmp_path, columns, packed.data + bytes(1000))
    assert (found.good, found.error) == (clean[kind].good, None)


@MODES
@GZIPPED
def test_gzip_of_several_members(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], kind: str, salvage: bool
) -> None:
    """Cut between two of them, nothing of gzip tells; the format that is inside does where it can."""
    packed, data = intact[f"{kind}.gz"], intact[kind].data
    columns = settle(packed, tmp_path, salvage=salvage)
    third = len(data) // 3
    parts = [gzip.compress(data[at : at + third], mtime=0) for at in range(0, len(data), third)]
    found = read(packed, tmp_path, columns, b"".join(parts))
    assert (found.good, found.error) == (clean[kind].good, None)
    found = read(packed, tmp_path, columns, b"".join(parts[:2]))
    assert found.good == begin(clean[kind], found.lost - len(found.bad))
    if kind == "csv":  # whose last line has too few numbers
        assert ([*found.bad], found.error) == ([found.lost - 1], None)
    else:
        assert (found.bad, type(found.error)) == ({}, ShardError)
    # A wrong checksum in the second member takes nothing from the first.
    wrong = bytearray(parts[1])
    wrong[-8] ^= 1
    found = read(packed, tmp_path, columns, b"".join([parts[0], bytes(wrong), *parts[2:]]))
    assert "the gzip stream is damaged (incorrect data check)" in str(found.error)
    assert found.good == begin(clean[kind], found.lost)
    assert found.lost > COUNT // 3 - 4


@pytest.mark.parametrize("at", [2000, -6], ids=["data", "checksum"])
def test_gzip_whose_checksum_is_wrong_is_kept_only_as_far_as_another_one_proves_it(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], at: int
) -> None:
    """TFRecord has its own checksums; of a tar archive nobody knows where the damage is."""
    for kind in ("tfrecord", "tar"):
        packed = intact[f"{kind}.gz"]
        data = flip(packed.data, 8 * (at % len(packed.data)) + 3)
        found = read(packed, tmp_path, settle(packed, tmp_path, salvage=True), data)
        assert "the gzip stream is damaged" in str(found.error)
        assert all(clean[kind].good[index] == values for index, values in found.good.items())
        assert (len(found.good) > 0) == (kind == "tfrecord")
        assert at > 0 or kind == "tar" or found.lost == COUNT


def test_the_place_where_gzip_finds_the_damage_is_named(tmp_path: Path, intact: dict[str, Container]) -> None:
    packed = intact["tfrecord.gz"]
    found = read(packed, tmp_path, settle(packed, tmp_path), flip(packed.data, 8 * (len(packed.data) - 8)))
    assert found.lost == COUNT
    # The last byte of the CRC, the first of the trailer's two numbers, completes it.
    assert str(found.error).endswith(
        "the gzip stream is damaged (incorrect data check), which shows in the compressed file"
        f" at byte {len(packed.data) - 5}"
    )


def bomb(head: bytes, zeros: int, tail: bytes = b"") -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as file:
        file.write(head)
        for _ in range(zeros >> 20):
            file.write(bytes(1 << 20))
        file.write(tail)
    return out.getvalue()


BIG = 128 << 20


def endless(data: bytes) -> bytes:
    """An archive without its end."""
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        last = opened.getmembers()[-1]
    return data[: last.offset_data + last.size + -last.size % 512]


def large_member() -> bytes:
    info = tarfile.TarInfo("9999.png")
    info.size = BIG
    return info.tobuf()


def large_record() -> bytes:
    length = struct.pack("<Q", BIG)
    return length + masked(length)


# of a kind, what is added to the shard before very many zeros and what after them; and the error where there is one
BOMBS: dict[str, tuple[str, Callable[[bytes], bytes], bytes, str | None]] = {
    "end": ("tar", bytes, b"", None),
    "member": ("tar", lambda data: endless(data) + large_member(), bytes(1024), None),
    "no record": ("tfrecord", bytes, b"", "the checksum of a record's length does not match"),
    "record": ("tfrecord", lambda data: data + large_record(), b"crc!", None),
    "rows": ("npy", bytes, b"", "more bytes follow the last of its 40 rows"),
}


@pytest.mark.parametrize("which", ["record", "rows", *long_forms(*(k for k in BOMBS if k not in ("record", "rows")))])
def test_gzip_that_unpacks_to_very_much(tmp_path: Path, intact: dict[str, Container], which: str) -> None:
    """It is walked through in constant memory, at the speed of decompression, and never held."""
    kind, head, tail, says = BOMBS[which]
    container = replace(intact[f"{kind}.gz"], request=ColumnSelection(max_record_bytes=1 << 20))
    columns, data = settle(container, tmp_path), bomb(head(intact[kind].data), BIG, tail)
    assert len(data) < BIG // 900
    tracemalloc.start()
    try:
        found = read(container, tmp_path, columns, data)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
    assert len(found.good) == COUNT
    assert (found.error is None) if says is None else says in str(found.error)
    assert [fault.reason for fault in found.bad.values()] == [Reason.RECORD_TOO_LARGE] * (which in ("member", "record"))

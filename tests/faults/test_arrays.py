"""Damaged array shards: which rows are given, which are lost, what the error says."""

import gzip
import io
import struct
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake.core.errors import ShardError
from tests.faults import damaged
from tests.faults.damaged import (
    COUNT,
    MODES,
    Container,
    Outcome,
    begin,
    flip,
    read,
    settle,
)

pytestmark = pytest.mark.slow  # jobs, or models, from end to end

ARRAYS = ("npz", "npz stored", "npy", "npy chw", "npy.gz", "idx.gz")


@MODES
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_that_are_cut(
    tmp_path: Path, intact: dict[str, Container], clean: dict[str, Outcome], kind: str, salvage: bool
) -> None:
    """Numbers have no framing that tells how far they are right: to be kept, an array must be whole."""
    container = intact[kind]
    columns = settle(container, tmp_path, salvage=salvage)
    for cut in (1, 9, len(container.data) // 2, len(container.data) - 20):
        found = read(container, tmp_path, columns, container.data[:-cut])
        assert type(found.error) is ShardError
        assert found.good == begin(clean[kind], found.lost)
        assert found.lost == 0 or not salvage


@pytest.mark.parametrize("kind", ["npz", "npz stored", "npy.gz", "idx.gz"])
def test_arrays_whose_checksum_is_wrong(tmp_path: Path, intact: dict[str, Container], kind: str) -> None:
    """With one number changed all else is right, and nobody can know. More than any library decompresses at once."""
    numbers = np.random.default_rng(1).integers(0, 256, (20_000, 8, 8), np.uint8)
    packed = {
        "npz": lambda: damaged.npz(x=numbers),
        "npz stored": lambda: damaged.npz(np.savez, x=numbers),
        "npy.gz": lambda: gzip.compress(damaged.npy(numbers), 1),
        "idx.gz": lambda: gzip.compress(damaged.idx(numbers), 1),
    }
    container = replace(intact[kind], data=packed[kind]())
    at = len(container.data) - 8 if kind.endswith(".gz") else container.data.index(b"PK\1\2") + 16  # the CRC-32
    data = flip(container.data, 8 * at)
    found = read(container, tmp_path, settle(container, tmp_path), data, 256)
    assert ("CRC" in str(found.error), found.lost > 10_000) == (True, True)
    found = read(container, tmp_path, settle(container, tmp_path, salvage=True), data, 256)
    assert ("CRC" in str(found.error), found.lost) == (True, 0)


HEADERS = {
    "shape": (b"(40, 8, 8)", b"(41, 8, 8)", "asks for 2752 bytes and there are 2688"),
    "huge": (b"(40, 8, 8), ", b"(9999999,8),", "asks for 80000120 bytes and there are 2688"),
    "objects": (b"'|u1'", b"'|O' ", "holds |O, not numbers"),
    "structure": (b"'|u1', 'f", b"[('a',8)f", "not a .npy header"),
    "words": (b"'shape'", b"'sharp'", "not a .npy header"),
    "order": (b"False", b"Falsy", "not a .npy header"),
}


@MODES
@pytest.mark.parametrize("what", HEADERS)
def test_npy_with_a_forged_header(tmp_path: Path, intact: dict[str, Container], what: str, salvage: bool) -> None:
    old, new, says = HEADERS[what]
    container = intact["npy"]
    data = container.data.replace(old, new)
    assert len(data) == len(container.data)
    found = read(container, tmp_path, settle(container, tmp_path, salvage=salvage), data)
    assert (found.lost, type(found.error), says in str(found.error)) == (0, ShardError, True)


@MODES
def test_idx_whose_counts_are_wrong(tmp_path: Path, digits: Any, salvage: bool) -> None:
    whole = damaged.idx(digits[:COUNT])
    container = Container(format="array", name="a.idx3-ubyte", data=whole)
    columns = settle(container, tmp_path, salvage=salvage)
    for count in (COUNT - 1, COUNT + 1, 0xFFFFFFFF):
        found = read(container, tmp_path, columns, whole[:4] + count.to_bytes(4, "big") + whole[8:])
        assert (found.lost, found.error.problem if found.error else "") == (
            0,
            f"its header asks for {16 + 64 * count} bytes and there are {len(whole)}; it is damaged",
        )


@MODES
def test_npz_that_unpacks_to_more_than_it_says(tmp_path: Path, intact: dict[str, Container], salvage: bool) -> None:
    """300 MB of zeros behind a header of 40 rows, and a directory that agrees with the header."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("y.npy", damaged.npy(np.arange(COUNT)))
        file.writestr("x.npy", damaged.npy(np.zeros((COUNT, 8, 8), np.uint8)) + bytes(300 << 20))
    data = bytearray(out.getvalue())
    at = data.rindex(b"PK\1\2") + 24
    data[at : at + 4] = struct.pack("<I", 128 + 64 * COUNT)
    container = intact["npz"]
    columns = settle(container, tmp_path, salvage=salvage)
    tracemalloc.start()
    try:
        found = read(container, tmp_path, columns, bytes(data))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert found.error is not None
    assert found.lost == 0 or not salvage


def test_npz_of_a_directory_that_is_too_large_is_not_opened(tmp_path: Path, intact: dict[str, Container]) -> None:
    container = intact["npz"]
    columns = settle(container, tmp_path)
    at = container.data.rindex(b"PK\5\6") + 12
    for comment in (b"", b"a comment"):
        size = struct.pack("<I", (8 << 20) + 1)
        data = container.data[:at] + size + container.data[at + 4 : -2] + struct.pack("<H", len(comment)) + comment
        found = read(container, tmp_path, columns, data)
        assert "an archive whose directory has 8388609 bytes; the most is 8388608" in str(found.error)

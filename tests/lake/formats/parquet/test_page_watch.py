"""Footers that lie about the size of rows: what is in memory stays bounded, and honest ones are read as before."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import ShardError
from lake.formats.common.parquet_file import open_parquet, read_footer
from lake.formats.parquet import page_watch, row_size
from lake.formats.parquet.page_header import DICTIONARY_PAGE, read_page_header
from lake.formats.parquet.page_watch import PageWatch
from lake.formats.reader import ColumnSelection
from tests.lake.formats.parquet.tables import READER, batches, faults_of, image_table, rows_of
from tests.lake.formats.support import shard_of

MIB = 1 << 20


def file_of(rows: int, size: int) -> bytes:
    """One row group of large rows, a page for each, that are almost nothing when they are packed."""
    out, table = io.BytesIO(), pa.table({"image": [bytes(size)] * rows, "label": range(rows)})
    pq.write_table(table, out, compression="zstd", use_dictionary=False, data_page_size=1, write_batch_size=1)
    assert pq.read_metadata(out).num_row_groups == 1
    return out.getvalue()


def varint(value: int, length: int | None = None) -> bytes:
    """A number in zigzag, of so many bytes where it could be shorter."""
    value, found = value << 1, bytearray()
    while value > 127 or (length and len(found) < length - 1):
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def forged(data: bytes, stated: int) -> bytes:
    """The same file, whose last row group says that it has another size."""
    metadata = pq.read_metadata(io.BytesIO(data))
    true = b"\x16" + varint(metadata.row_group(metadata.num_row_groups - 1).total_byte_size)
    at = data.rindex(true)
    other = data[:at] + b"\x16" + varint(stated, len(true) - 1) + data[at + len(true) :]
    found = pq.read_metadata(io.BytesIO(other))
    assert found.row_group(found.num_row_groups - 1).total_byte_size == stated
    return other


@pytest.mark.parametrize("head", [0, row_size._HEAD])  # whether the headers of the first pages are looked at before
def test_a_footer_that_lies_cannot_fill_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: int) -> None:
    """64 rows of 1 MiB, of which the footer says that they are one byte."""
    monkeypatch.setattr(row_size, "_HEAD", head)
    monkeypatch.setattr(page_watch, "_SLACK", 4 * MIB)
    data = file_of(64, MIB)
    shard = shard_of(tmp_path / "a.parquet", data)
    columns = READER.settle(shard, ColumnSelection())
    assert [len(part) for part in batches(shard, columns, 256, room=2 * MIB)] == [2] * 32
    shard = shard_of(tmp_path / "a.parquet", forged(data, 1))
    usual = pa.default_memory_pool()
    pa.set_memory_pool(pool := pa.proxy_memory_pool(usual))  # which counts from nothing
    try:
        says = r"its pages unpack to .* bytes and more, .* says 1$"
        with pytest.raises(ShardError, match=rf"a\.parquet: .*{says}"):
            batches(shard, columns, 64, room=2 * MIB)
        lost = faults_of(batches(shard, replace(columns, salvage=True), 64, room=2 * MIB))
        assert [*lost] == list(range(64))
        assert all(re.search(says, fault.detail) for fault in lost.values())
        assert (0 if head else 1) <= pool.max_memory() < 8 * MIB
    finally:
        pa.set_memory_pool(usual)


def test_a_footer_that_states_too_little_is_read_within_the_slack(tmp_path: Path) -> None:
    """Some writers state no size, or the compressed one."""
    data = file_of(64, MIB)
    shard = shard_of(tmp_path / "a.parquet", forged(data, 0))
    rows = rows_of(batches(shard, READER.settle(shard, ColumnSelection()), 16))
    assert [row[2] for row in rows] == [bytes(MIB)] * 64


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("packing", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_what_is_seen_is_what_a_writer_states(version: str, packing: str, dictionary: bool) -> None:
    """PyArrow states the sizes of all pages with their headers, and so its sum is the truth."""
    rng, out = np.random.default_rng(0), io.BytesIO()
    table = pa.table(
        {
            "image": [rng.bytes(int(size)) for size in rng.integers(1, 40_000, 300)],
            "list": [rng.integers(0, 9, 50).tolist()] * 300,
            "text": [f"{at % 7}" for at in range(300)],
        }
    )
    options = {"row_group_size": 110, "use_dictionary": dictionary, "data_page_version": version}
    pq.write_table(table, out, compression=packing, write_page_checksum=True, data_page_size=30_000, **options)
    watch = PageWatch(out, read_footer(out))
    file = open_parquet(cast(BinaryIO, watch))
    for _ in range(2):  # a row group is read twice where what is intact is kept
        assert file.read(use_threads=False).equals(table)
        groups = {id(chunk.group): chunk.group for chunk in watch._chunks}
        assert len(groups) == 3
        assert sorted(group.seen for group in groups.values()) == sorted(group.stated for group in groups.values())
        wanted = [file.metadata.row_group(at).total_byte_size for at in range(3)]
        assert sorted(group.seen for group in groups.values()) == sorted(wanted)


def test_columns_that_overlap_are_refused(tmp_path: Path) -> None:
    """Pages of one column could else hide in another one."""
    out = io.BytesIO()
    pq.write_table(image_table(30), out, use_dictionary=False, compression="none")
    data, places = out.getvalue(), pq.read_metadata(out).row_group(0)
    first, second = (places.column(at).data_page_offset for at in (0, 1))
    shard = shard_of(tmp_path / "a.parquet", data)
    columns = READER.settle(shard, ColumnSelection())
    old, new = b"\x26" + varint(second), b"\x26" + varint(first, len(varint(second)))
    at = data.rindex(old)
    shard = shard_of(tmp_path / "a.parquet", data[:at] + new + data[at + len(old) :])
    with pytest.raises(ShardError, match="its columns overlap"):
        list(batches(shard, columns, 16))


@pytest.mark.parametrize(
    "other",
    [
        b"\x06\x04\x14",  # the number 2 again, of 64 bits
        b"\x05" + varint(65_538) + b"\x14",  # 2 by its lower 16 bits
    ],
)
def test_a_page_that_states_its_size_twice_is_refused(other: bytes) -> None:
    """Arrow takes the last number of 32 bits."""
    head = b"\x15\x04\x15\x14\x15\x14"  # a dictionary of 10 bytes
    found = read_page_header(head + b"\0")
    assert (found.size, found.unpacked, found.packed, found.kind) == (7, 10, 10, DICTIONARY_PAGE)
    with pytest.raises(pa.ArrowInvalid, match="not in order"):
        read_page_header(head + other + b"\0")


@pytest.mark.parametrize("size", [b"\x16\x14", b"\x15" + varint(2**32 + 10), b"\x15" + varint(2**31)])
def test_a_page_whose_size_is_no_number_of_32_bits_is_refused(size: bytes) -> None:
    """Arrow passes over one of another type, and takes the lower bits of a larger one."""
    with pytest.raises(pa.ArrowInvalid, match="32 bits"):
        read_page_header(b"\x15\x04" + size + b"\x15\x14\0")

"""Arrow shards that are cut, forged or bombs: an error by name, in bounded memory."""

import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from lake.core.errors import ShardError
from lake.core.records import Records, Unit
from lake.formats.arrow.messages import MessageStream
from lake.formats.arrow.row_bytes import row_bytes
from lake.formats.reader import RecordSchema
from tests.lake.formats.arrow.streams import KINDS, READER, batches, file, settled, stream
from tests.lake.formats.parquet.tables import STRUCT, expected, image_table, rows_of
from tests.lake.formats.support import shard_of

TABLE = image_table(20)


def damaged(path: Path, data: bytes, columns: RecordSchema) -> tuple[list[Records], ShardError | None]:
    """What is read before the damage, and the damage."""
    shard, parts = shard_of(path, data), list[Records]()
    try:
        parts.extend(raw.records() for raw in READER.read(Unit(id="u", format="arrow", shards=(shard,)), columns, 4))
    except ShardError as error:
        return parts, error
    return parts, None


@pytest.mark.parametrize("packing", [None, "lz4"])
def test_a_stream_that_is_cut_anywhere_gives_the_batches_before(tmp_path: Path, packing: str | None) -> None:
    data = stream(TABLE, 7, packing)
    _, columns = settled(tmp_path / "a.arrow", data)
    lost = set()
    for length in range(0, len(data), 7):
        parts, error = damaged(tmp_path / "a.arrow", data[:length], columns)
        rows = rows_of(parts)
        assert error is not None
        assert "cut" in str(error)
        assert rows == expected(TABLE)[: len(rows)]
        assert len(rows) in (0, 7, 14, 20)
        if rows:
            assert f"record batch {(len(rows) + 6) // 7}, from row {len(rows)} on" in str(error)
        lost.add(len(rows))
    assert lost == {0, 7, 14, 20}


@pytest.mark.parametrize("name", ["file", "feather"])
def test_a_file_that_is_cut_anywhere_has_no_index(tmp_path: Path, name: str) -> None:
    data = KINDS[name](TABLE)
    _, columns = settled(tmp_path / "a.arrow", data)
    for length in range(0, len(data), 11):
        parts, error = damaged(tmp_path / "a.arrow", data[:length], columns)
        assert error is not None
        assert parts == []


def test_what_follows_a_stream(tmp_path: Path) -> None:
    data = stream(TABLE)
    _, columns = settled(tmp_path / "a.arrow", data)
    parts, error = damaged(tmp_path / "a.arrow", data + data, columns)
    assert rows_of(parts) == expected(TABLE)
    assert f"{len(data)} bytes follow its end" in str(error)


@pytest.mark.parametrize("write", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("packing", [None, "zstd"])
def test_any_flipped_bit_is_an_error_or_a_value(
    tmp_path: Path, write: Callable[..., bytes], packing: str | None
) -> None:
    data, dice = write(TABLE, 7, packing), random.Random(1)
    _, columns = settled(tmp_path / "a.arrow", data)
    errors = 0
    for _ in range(150):
        at = dice.randrange(len(data))
        other = data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
        parts, error = damaged(tmp_path / "a.arrow", other, columns)
        assert error is not None or sum(map(len, parts)) == 20
        errors += error is not None
    assert 20 < errors < 150


@pytest.mark.parametrize("length", [1 << 20, 1 << 40, (1 << 63) - 1, -1])
def test_a_body_that_is_longer_than_the_shard(tmp_path: Path, length: int) -> None:
    """Nothing is allocated by what a message says of itself."""
    data = stream(TABLE, 20)
    _, columns = settled(tmp_path / "a.arrow", data)
    body = next(b for b in (pa.ipc.read_message(_after_schema(data)).body,)).size
    assert data.count(struct.pack("<q", body)) == 1
    forged = data.replace(struct.pack("<q", body), struct.pack("<q", length))
    tracemalloc.start()
    try:
        parts, error = damaged(tmp_path / "a.arrow", forged, columns)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert parts == []
    assert f"a message of {length} bytes, of which there are" in str(error)


def _after_schema(data: bytes) -> bytes:
    return data[8 + int.from_bytes(data[4:8], "little") :]


@pytest.mark.parametrize("packing", ["lz4", "zstd"])
def test_a_compressed_buffer_that_unpacks_to_more_than_is_allowed(tmp_path: Path, packing: str) -> None:
    data, value = stream(pa.table({"image": [bytes(1 << 20)] * 2}), 2, packing), struct.pack("<q", 2 << 20)
    _, columns = settled(tmp_path / "a.arrow", data)
    assert [len(row[2]) for row in rows_of(damaged(tmp_path / "a.arrow", data, columns)[0])] == [1 << 20] * 2
    for size in ((2 << 30) + 1, (1 << 62)):
        at = data.rindex(value)
        forged = data[:at] + struct.pack("<q", size) + data[at + 8 :]
        parts, error = damaged(tmp_path / "a.arrow", forged, columns)
        assert parts == []
        assert "a message that unpacks to" in str(error)
        assert "and the most is 2,147,483,648; write smaller record batches" in str(error)


def test_a_large_batch_is_not_held_in_memory(tmp_path: Path) -> None:
    """It is mapped: the memory that Arrow and Python have does not grow by its 80 MiB."""
    column = pa.array([b"%06d" % at * 1747 for at in range(8000)], pa.large_binary())
    shard, columns = settled(tmp_path / "a.arrow", file(pa.table({"image": column}), 8000))
    assert shard.size > 80 << 20
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        for raw in READER.read(Unit(id="u", format="arrow", shards=(shard,)), columns, 1024, 4 << 20):
            part = raw.records()
            assert part.payload[0].as_py()[:6] == b"%06d" % part.index[0]
            assert pa.total_allocated_bytes() - before < 40 << 20
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


DEEP = 4096  # rows that all have one value of a megabyte


@pytest.mark.parametrize("layout", ["dictionary", "view", "label"])
def test_rows_that_share_one_large_value_come_a_few_at_a_time(tmp_path: Path, layout: str) -> None:
    value = bytes(1 << 20)
    if layout == "view":
        views = struct.pack("<i4sii", len(value), value[:4], 0, 0) * DEEP
        column = pa.Array.from_buffers(pa.binary_view(), DEEP, [None, pa.py_buffer(views), pa.py_buffer(value)])
    else:
        column = pa.DictionaryArray.from_arrays(pa.array([0] * DEEP, pa.int16()), pa.array([value]))
    table = pa.table({"image": [b"x"] * DEEP, "label": column} if layout == "label" else {"image": column})
    shard, columns = settled(tmp_path / "a.arrow", stream(table, DEEP))
    before, most, count = pa.total_allocated_bytes(), 0, 0
    for raw in READER.read(Unit(id="u", format="arrow", shards=(shard,)), columns, 256, 16 << 20):
        most, count = max(most, pa.total_allocated_bytes() - before), count + len(raw)
        assert len(raw) <= 17
        if count > 200:
            break
    assert most < 100 << 20


def test_a_shard_that_would_take_hours_to_unpack(tmp_path: Path) -> None:
    rows, value = 70_000, bytes(1 << 20)
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), pa.array([value]))
    shard, columns = settled(tmp_path / "a.arrow", stream(pa.table({"image": column}), rows, "zstd"))
    assert shard.size < 10_000
    with pytest.raises(ShardError, match=r"its rows unpack to more than [\d,]+ bytes, from a file of"):
        batches(shard, columns, 1 << 17, room=1 << 40)


def test_feather_of_version_1_says_so(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="a Feather file of version 1; write it again as version 2"):
        settled(tmp_path / "a.feather", b"FEA1" + bytes(100))


VALUES: dict[str, tuple[pa.Array, list[int]]] = {
    "nested": (pa.array([["aa", "b"], [], None, ["ccc"]]), [3, 0, 0, 3]),
    "struct": (pa.array([{"bytes": b"aa", "path": "b"}, None], STRUCT), [3, 0]),
    "view": (pa.array(["a" * 20, None, "b"], pa.string_view()), [20, 0, 1]),
    "numbers": (pa.array([1, 2, 3], pa.int32()), [4, 4, 4]),
}


@pytest.mark.parametrize("name", VALUES)
def test_sizes_of_rows(name: str) -> None:
    column, sizes = VALUES[name]
    assert row_bytes(column).tolist() == sizes
    assert row_bytes(column.slice(1)).tolist() == sizes[1:]


def test_a_read_of_any_size_gives_the_stream(tmp_path: Path) -> None:
    """However Arrow asks for it."""
    data = stream(TABLE)
    (tmp_path / "a").write_bytes(data)
    for size in (1, 3, 8, 100, 1 << 20):
        with (tmp_path / "a").open("rb") as opened:
            messages, found = MessageStream(opened), b""
            while part := bytes(messages.read(size)):
                found += part
        assert found == data

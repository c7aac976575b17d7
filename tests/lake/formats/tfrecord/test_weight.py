"""Records that grow when they are parsed."""

import gzip
from pathlib import Path

import pytest

from lake.core.records import Reason
from lake.formats.reader import ColumnSelection
from lake.formats.tfrecord.framing import framed
from lake.formats.tfrecord.weight import too_heavy
from tests.lake.formats.support import shard_of
from tests.lake.formats.tfrecord.examples import READER, example, read

LIMIT = 1 << 20


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def of_list(number: int, values: bytes) -> bytes:
    """An Example with one feature, whose list (1 bytes, 2 floats, 3 integers) has this content."""
    return field(1, field(1, field(1, b"x") + field(2, field(number, values))))


@pytest.mark.parametrize(
    ("record", "heavy"),
    [
        (of_list(3, field(1, bytes(LIMIT // 8 - 64))), False),
        (of_list(3, field(1, bytes(LIMIT // 8 + 1))), True),
        (of_list(3, b"\x08\x00" * (LIMIT // 32 - 64)), False),
        (of_list(3, b"\x08\x00" * (LIMIT // 32 + 1)), True),
        (of_list(1, b"\x0a\x00" * (LIMIT // 32 - 64)), False),
        (of_list(1, b"\x0a\x00" * (LIMIT // 32 + 1)), True),
        (of_list(1, field(1, bytes(LIMIT - 200))), False),
        (of_list(2, field(1, bytes(LIMIT - 200))), False),
        (field(1, b"\x0a\x00" * (LIMIT // 32 + 1)), True),
        (b"\xff" * LIMIT, False),
        (b"", False),
    ],
    ids=[
        *("integers", "too many integers", "unpacked", "too many unpacked", "strings", "too many strings"),
        *("an image", "floats", "too many features", "no Example", "nothing"),
    ],
)
def test_the_weight_is_that_of_the_parsed_values(record: bytes, heavy: bool) -> None:
    assert too_heavy(record, LIMIT) is heavy


def test_a_record_that_grows_is_a_reject_and_the_others_are_read(tmp_path: Path) -> None:
    """Also at launch, where the first records are parsed one by one."""
    good = [example(image=b"file", label=at) for at in range(3)]
    data = gzip.compress(framed([of_list(3, field(1, bytes((8 << 20) + 1))), *good]))
    shard = shard_of(tmp_path / "a.tfrecord.gz", data)
    columns = READER.settle(shard, ColumnSelection(max_record_bytes=16 << 20))
    (records,) = read(shard, columns)
    assert records.payload.to_pylist() == [None, b"file", b"file", b"file"]
    assert records.carried["label"].to_pylist() == [None, 0, 1, 2]
    assert [(at, fault.reason) for at, fault in records.faults.items()] == [(0, Reason.RECORD_TOO_LARGE)]
    assert "take more than 67108864 once they are parsed" in records.faults[0].detail

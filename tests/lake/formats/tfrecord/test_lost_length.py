"""The search for a damaged length, beside one that tries every place, and where a shard has holes."""

from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from lake.core.records import Shard
from lake.formats.common.byte_stream import Window
from lake.formats.tfrecord import lost_length as searched
from lake.formats.tfrecord.framing import framed
from lake.formats.tfrecord.lengths import record_length
from lake.formats.tfrecord.lost_length import lost_length

HEADER, FOOTER = 12, 4


def masked(data: bytes) -> bytes:
    """The checksum of some data as TensorFlow's format of records states it."""
    value = int(google_crc32c.value(data))
    return (((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def slowly(data: bytes) -> int | None:
    """What every place in turn shows."""
    for end in range(len(data) - HEADER - FOOTER + 1):
        stop = HEADER + end + FOOTER
        follows = data[stop : stop + HEADER]
        if (not follows or record_length(follows) is not None) and masked(data[HEADER : HEADER + end]) == data[
            HEADER + end : stop
        ]:
            return end
    return None


def found(path: Path, data: bytes) -> int | None:
    path.write_bytes(data)
    window = Window(Shard(uri=str(path), size=len(data), identity="1", path=path.name))
    try:
        return lost_length(window, 1 << 40)
    finally:
        window.close()


@pytest.mark.parametrize("block", [64, 1 << 10, 1 << 20])
def test_every_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(searched, "BLOCK", block)
    generator = np.random.default_rng(0)
    for trial in range(40):
        sizes = generator.integers(0, 900, 3)
        # Half of them are numbers of eight bytes, whose upper halves are zero.
        records = [
            generator.integers(0, 256, size).astype(np.uint8 if trial % 2 else np.uint64).tobytes() for size in sizes
        ]
        data = bytearray(framed(records))
        data[int(generator.integers(0, HEADER))] ^= 1 + int(generator.integers(255))
        assert found(tmp_path / "a", bytes(data)) == slowly(bytes(data)) == len(records[0])


def test_a_hole_takes_no_memory_for_its_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = list[bytes]()

    def never(header: bytes) -> bool:
        tried.append(header)
        return False

    monkeypatch.setattr(searched, "begins", never)
    monkeypatch.setattr(searched, "_MOST", 4 << 20)
    monkeypatch.setattr(searched, "BLOCK", 1 << 16)
    (tmp_path / "a").write_bytes(b"\1" + bytes(64 << 20))
    window = Window(Shard(uri=str(tmp_path / "a"), size=(64 << 20) + 1, identity="1", path="a"))
    assert lost_length(window, 1 << 40) is None
    assert tried == []
    assert len(window.data) - window.pos <= (4 << 20) + (2 << 20)
    window.close()

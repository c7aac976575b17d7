"""Record batches that cannot be read: each costs its own rows, where its head says how many they are."""

import random
from pathlib import Path

import pyarrow as pa
import pytest

from lake.core.errors import ShardError
from lake.core.records import Reason, Shard, Unit
from lake.formats.reader import RecordSchema
from tests.lake.formats.arrow.streams import KINDS, PACKINGS, READER, settled
from tests.lake.formats.support import shard_of

ROWS, BATCH = 30, 7  # of the table, of a record batch
TABLE = pa.table(
    {
        "image": [b"\x89PNG" + bytes([at]) * (20 + at) for at in range(ROWS)],
        "key": [f"k{at}" for at in range(ROWS)],
        "label": range(ROWS),
    }
)
Found = tuple[dict[int, tuple[object, ...]], dict[int, str], ShardError | None]


def found_in(shard: Shard, columns: RecordSchema, size: int = 4) -> Found:
    """Good rows and rejects by index, and how reading ended."""
    good, bad = dict[int, tuple[object, ...]](), dict[int, str]()
    try:
        for raw in READER.read(Unit(id="u", format="arrow", shards=(shard,)), columns, size):
            part = raw.records()
            payload = pa.array(part.payload).to_pylist()
            values = zip(part.key.to_pylist(), payload, part.carried["label"].to_pylist(), strict=True)
            for at, row in enumerate(values):
                index = int(part.index[at])
                assert index == len(good) + len(bad)
                if at in part.faults:
                    assert part.faults[at].reason == Reason.CORRUPT_RECORD
                    bad[index] = part.faults[at].detail
                else:
                    good[index] = row
    except ShardError as error:
        return good, bad, error
    return good, bad, None


def bodies(data: bytes) -> list[tuple[int, int, int]]:
    """Where the message of each record batch begins, its body, and its end."""
    found = list[tuple[int, int, int]]()
    stream = pa.BufferReader(data)
    stream.seek(8 if data.startswith(b"ARROW1") else 0)
    pa.ipc.read_message(stream)  # the schema
    while len(found) < -(-ROWS // BATCH):
        begin = stream.tell()
        body = pa.ipc.read_message(stream).body.size
        found.append((begin, stream.tell() - body, stream.tell()))
    return found


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", ["stream", "file"])
def test_a_batch_that_cannot_be_read_costs_its_rows(tmp_path: Path, kind: str, packing: str | None) -> None:
    data = KINDS[kind](TABLE, BATCH, packing)
    shard, columns = settled(tmp_path / "a.arrow", data, salvage=True)
    truth, _, _ = found_in(shard, columns)
    _, body, end = bodies(data)[2]
    # All but the lengths of what is compressed, which are looked at before.
    damaged = data[: body + 8] + b"\xff" * (end - body - 8) + data[end:]
    for size in (1, 4, 100):
        good, bad, error = found_in(shard_of(tmp_path / "a.arrow", damaged), columns, size)
        assert error is None
        assert list(bad) == list(range(2 * BATCH, 3 * BATCH))
        assert good == {at: row for at, row in truth.items() if at not in bad}
        assert bad[14].startswith("the row is lost: record batch 2 cannot be read: ")


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", ["stream", "file"])
def test_damage_in_a_batch_never_moves_a_row_of_another(tmp_path: Path, kind: str, packing: str | None) -> None:
    """Bytes of a message are changed; what follows is read by its numbers, or not at all."""
    data = KINDS[kind](TABLE, BATCH, packing)
    shard, columns = settled(tmp_path / "a.arrow", data, salvage=True)
    truth, _, _ = found_in(shard, columns)
    begin, body, end = bodies(data)[2]
    own, dice = range(2 * BATCH, 3 * BATCH), random.Random(0)
    ended = {"read": 0, "lost": 0, "stopped": 0}
    for at in range(begin, end, 3):
        damaged = data[:at] + bytes([data[at] ^ dice.randrange(1, 256)]) + data[at + 1 :]
        good, bad, error = found_in(shard_of(tmp_path / "a.arrow", damaged), columns, 100)
        others = {row: values for row, values in good.items() if row not in own}
        if error is None:
            assert others == {row: values for row, values in truth.items() if row not in own}, at
            assert list(bad) in ([], list(own)), at
        else:
            assert others == {row: values for row, values in truth.items() if row < own.start}, at
            assert list(bad) in ([], list(own)), at
            # The length of a compressed buffer stands in the body, and may be too large.
            assert at < body or packing is not None
        ended["stopped" if error is not None else "lost" if bad else "read"] += 1
    assert ended["lost"] > 20
    assert ended["stopped"] > 0

"""TFRecord shards that are cut at records: the same records, whatever the cuts, the damage and the index beside."""

import gzip
import random
import zlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from lake.core.errors import ShardError, UnreadableError
from lake.core.records import Reason, Shard
from lake.formats.common import cuts as module
from lake.formats.common import hops
from lake.formats.common.cuts import Cuts
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.formats.tfrecord.framing import framed
from pipeline.worker.unit_input import salvage
from tests.lake.formats.sliced import outcome, read_units, stat_of, units_of, wrong
from tests.lake.formats.support import rows, shard_of
from tests.lake.formats.tfrecord.examples import IMAGES, READER, example, read

COUNT = 40


def records(count: int = COUNT) -> list[bytes]:
    rng = random.Random(3)
    return [example(image=rng.randbytes(rng.randrange(1, 900)), key=b"k%d" % i) for i in range(count)]


def index_of(found: list[bytes]) -> list[bytes]:
    """The lines of ``tfrecord2idx``."""
    edges = [0]
    for record in found:
        edges.append(edges[-1] + len(record) + 16)
    return [b"%d %d\n" % (begin, end - begin) for begin, end in pairwise(edges)]


@pytest.mark.parametrize("slice_bytes", [1, 1_000, 7_000])
@pytest.mark.parametrize("near", [600, 1 << 20])
def test_slices_have_the_records_of_the_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slice_bytes: int, near: int
) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", slice_bytes)
    monkeypatch.setattr(hops, "_NEAR", near)
    shard = shard_of(tmp_path / "a.tfrecord", framed(records()))
    whole, cuts = rows(read(shard, IMAGES)), READER.cuts(shard)
    assert [row["key"] for row in whole] == [f"k{i}" for i in range(COUNT)]
    units = units_of(shard, "tfrecord", cuts)
    assert len(units) == (COUNT if slice_bytes == 1 else round(shard.size / slice_bytes))
    assert read_units(READER, units, IMAGES) == whole
    index = stat_of(tmp_path / "a.idx", b"".join(index_of(records())))
    assert READER.cuts(shard, index) == cuts
    assert outcome(READER, shard, "tfrecord", index, IMAGES) == whole


def test_a_wrong_index_is_refused_or_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 2_000)
    found = records(12)
    shard = shard_of(tmp_path / "a.tfrecord", framed(found))
    whole, lines = rows(read(shard, IMAGES)), index_of(found)
    for text in (*wrong(lines), b"", b"\xff\0", b"".join(lines[:-1])):
        result = outcome(READER, shard, "tfrecord", stat_of(tmp_path / "a.idx", text), IMAGES)
        assert isinstance(result, ShardError) or (result == whole and text.split() == b"".join(lines).split()), text


def test_an_index_that_joins_two_records_fails_the_slice_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 5_000)
    found = records()
    shard = shard_of(tmp_path / "a.tfrecord", framed(found))
    lines = [line.split() for line in index_of(found)]
    lines[2:4] = [[lines[2][0], b"%d" % (int(lines[2][1]) + int(lines[3][1]))]]
    index = stat_of(tmp_path / "a.idx", b"".join(b" ".join(line) + b"\n" for line in lines))
    error = outcome(READER, shard, "tfrecord", index, IMAGES)
    assert isinstance(error, UnreadableError)
    assert "a.idx is wrong; remove it, and run again" in str(error)


def test_damage_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record whose data is damaged is the same reject, whatever the cuts; a damaged length prevents cuts."""
    monkeypatch.setattr(module, "SLICE_BYTES", 3_000)
    found, columns = records(), replace(IMAGES, salvage=True)
    at = sum(len(record) + 16 for record in found[:17])
    data = bytearray(framed(found))
    data[at + 20] ^= 1
    shard = shard_of(tmp_path / "a.tfrecord", bytes(data))
    units = units_of(shard, "tfrecord", READER.cuts(shard))
    whole = rows(read(shard, columns))
    assert [(row["index"], row["fault"].reason) for row in whole if row["fault"]] == [(17, Reason.CORRUPT_RECORD)]
    assert read_units(READER, units, columns) == whole
    with pytest.raises(ShardError, match=f"does not match at byte {at}$"):
        read_units(READER, units, IMAGES)
    data[at] ^= 1
    with pytest.raises(ShardError):
        READER.cuts(shard_of(tmp_path / "a.tfrecord", bytes(data)))
    with pytest.raises(ShardError):
        READER.cuts(shard_of(tmp_path / "a.tfrecord", framed(found)[:-5]))


def test_damage_that_an_index_hides_keeps_nothing_of_its_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the rows would be others than those without the index, which end at the damage."""
    monkeypatch.setattr(module, "SLICE_BYTES", 3_000)
    found = records()
    data, at = bytearray(framed(found)), sum(len(record) + 16 for record in found[:17])
    data[at] ^= 1
    columns = replace(IMAGES, salvage=True)
    shard = shard_of(tmp_path / "a.tfrecord", bytes(data))
    index = stat_of(tmp_path / "a.idx", b"".join(index_of(found)))
    cuts = replace(READER.cuts(shard, index), index="a.idx", index_identity="1")
    # The length alone is damaged, and the data tells where it ends, with the index and without it.
    assert read_units(READER, units_of(shard, "tfrecord", cuts), columns) == rows(read(shard, columns))
    data[at + 20] ^= 1
    shard = shard_of(tmp_path / "a.tfrecord", bytes(data))
    for unit in units_of(shard, "tfrecord", cuts):
        if unit.stop is not None and unit.start <= 17 < unit.stop:
            with pytest.raises(UnreadableError, match=r"its slices are those of a.idx, .* remove a.idx, or mend"):
                [*salvage(READER.read(unit, columns, 3), unit, columns)]


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_compressed_shard_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: object) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 1)
    assert callable(pack)
    assert READER.cuts(shard_of(tmp_path / "a.tfrecord.gz", pack(framed(records(3))))) == Cuts()


def test_the_first_record_of_the_shard_says_for_all_slices_what_images_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 200)
    raw = [example(image=bytes(range(i, i + 12)), height=3, width=4) for i in range(20)]
    raw[10] = example(image=b"\x89PNG\r\n\x1a\n" + b"\0" * 4, height=3, width=4)
    shard = shard_of(tmp_path / "a.tfrecord", framed(raw))
    columns: RecordSchema = READER.settle(shard, ColumnSelection())
    units = units_of(shard, "tfrecord", READER.cuts(shard))
    assert any(unit.start == 10 for unit in units)
    assert read_units(READER, units, columns) == rows(read(shard, columns))


def test_what_a_store_holds_is_cut_without_its_scheme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 3_000)
    shard = shard_of(tmp_path / "a.tfrecord", framed(records()))
    remote: Shard = replace(shard, uri=f"file://{shard.uri}")
    assert READER.cuts(remote) == READER.cuts(shard)

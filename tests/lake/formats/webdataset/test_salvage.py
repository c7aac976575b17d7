"""Damaged headers of tar archives: each costs its own sample, and no row is another one's."""

import gzip
import io
import random
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from lake.core.errors import ShardError
from lake.core.records import ByteRange, Reason
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.formats.webdataset.samples import Sample, SampleGrouping
from tests.lake.formats.support import archive, rows, shard_of
from tests.lake.formats.webdataset.archives import READER, read

COUNT = 9  # samples of an archive
Members = Sequence[tuple[str | tarfile.TarInfo, bytes]]


class Read(NamedTuple):
    """Samples, and the damage behind them."""

    samples: list[Sample]
    damage: ShardError | None

    @property
    def good(self) -> dict[int, tuple[bytes, dict[bytes, bytes]]]:
        """Key and members of what is intact, by index."""
        return {at: (one.key, dict(one.members)) for at, one in enumerate(self.samples) if one.fault is None}


def salvaged(folder: Path, data: bytes, span: ByteRange | None = None) -> Read:
    grouping = SampleGrouping(shard_of(folder / "a.tar", data), {b"png"}, 1 << 20, salvage=True, byte_range=span)
    with closing(grouping):
        return Read(*grouping.take(1000))


def headers(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getmembers()


def members(extensions: Sequence[str], content: Callable[[int, str], bytes], keys: str = "{:04d}") -> Members:
    return [(f"{keys.format(at)}.{kind}", content(at, kind)) for at in range(COUNT) for kind in extensions]


def equal(at: int, kind: str) -> bytes:
    """Members of one size: where a size is damaged, it often leads to a header further on."""
    return b"%d" % at * 300


def unequal(at: int, kind: str) -> bytes:
    return b"%d" % at * (1 if kind == "cls" else 100 + 700 * at)


def timed(made: Members) -> Members:
    """With a pax header of times each, as the package ``webdataset`` writes them."""
    found = list[tuple[str | tarfile.TarInfo, bytes]]()
    for at, (name, data) in enumerate(made):
        info = tarfile.TarInfo(str(name))
        info.mtime = 1_700_000_000.25 + at
        found.append((info, data))
    return found


INNER = archive(members(["cls", "png"], equal))
ARCHIVES: dict[str, Callable[[], bytes]] = {
    "pairs": lambda: archive(members(["cls", "png"], unequal)),
    "pairs of one size": lambda: archive(members(["cls", "png"], equal), "gnu"),
    "from the last key to the first": lambda: archive(
        [(f"{99 - at // 2}.{'cls' if at % 2 else 'png'}", b"x" * 300) for at in range(2 * COUNT)]
    ),
    "images alone": lambda: archive(members(["png"], unequal, "d/{:04d}")),
    "images alone, of one size": lambda: archive(members(["png"], equal)),
    "three members": lambda: archive(members(["jpg", "json", "png"], unequal)),
    "tars within": lambda: archive(members(["png", "tar"], lambda at, kind: INNER if kind == "tar" else b"%d" % at)),
    "tars alone": lambda: archive(members(["tar"], lambda *_: INNER)),
    "times": lambda: archive(timed(members(["cls", "png"], unequal)), "pax"),
}


def blocks(data: bytes) -> Iterator[tuple[int, int]]:
    """Offset of each header and of pax data, and the index of the sample that it is of."""
    keys = list[str]()
    for member in headers(data):
        key = member.name.rpartition("/")[2].partition(".")[0]
        keys += [] if key in keys else [key]
        for offset in range(member.offset, member.offset_data, 512):
            yield offset, len(keys) - 1


def changed(data: bytes, at: int, mask: int) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def check(folder: Path, kind: str, which: Sequence[int], masks: Callable[[int], Sequence[int]]) -> None:
    """Change each byte of some headers: no row is another one's, and none but the header's own sample is lost."""
    data = ARCHIVES[kind]()
    clean, places, told = salvaged(folder, data), list(blocks(data)), 0
    assert clean.damage is None
    for offset, own in (places[number] for number in which):
        for at in range(512):
            for mask in masks(at):
                found = salvaged(folder, changed(data, offset + at, mask))
                where = kind, offset, at, mask, found.damage
                assert found.damage is None, where
                assert len(found.samples) == COUNT, where
                assert found.good in ({i: row for i, row in clean.good.items() if i != own}, clean.good), where
                told += len(found.good) < COUNT
    assert told > 500 * len(which) * len(masks(0)) * (kind != "times")


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_changed_byte_of_a_header_costs_its_sample(tmp_path: Path, kind: str) -> None:
    number = len(list(blocks(ARCHIVES[kind]()))) // 2
    dice = random.Random(kind)
    check(tmp_path, kind, [number], lambda _: [1 << dice.randrange(8)])


@pytest.mark.slow  # every byte of every header
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_changed_byte_of_any_header_costs_its_sample(tmp_path: Path, kind: str) -> None:
    dice = random.Random(kind)
    for number in range(len(list(blocks(ARCHIVES[kind]())))):
        check(tmp_path, kind, [number], lambda at: [1 << at % 8, dice.randrange(1, 256)])


@pytest.mark.parametrize("seed", range(60))
def test_more_damage_costs_more_but_no_row_is_another_ones(tmp_path: Path, seed: int) -> None:
    """Bytes of some headers, and overwritten blocks, after which it may be unknown how many samples were lost."""
    dice = random.Random(seed)
    data = bytearray(ARCHIVES[dice.choice(list(ARCHIVES))]())
    clean, places = salvaged(tmp_path, bytes(data)), [offset for offset, _ in blocks(bytes(data))]
    for offset in dice.sample(places, dice.randint(1, 4)):
        span = dice.choice([1, 2, 16, 512, 1024, 4096])
        at = offset + dice.randrange(512) if span < 512 else offset
        data[at : at + span] = dice.choice([bytes(span), dice.randbytes(span)])
    found = salvaged(tmp_path, bytes(data))
    # Data has no checksums: what overwrites it is not told.
    keys = {at: key for at, (key, _) in clean.good.items()}
    assert {at: key for at, (key, _) in found.good.items()}.items() <= keys.items()


def test_slices_lose_what_the_whole_archive_loses(tmp_path: Path) -> None:
    for kind in ("pairs", "images alone", "times"):
        data = ARCHIVES[kind]()
        starts = [0, *(offset for (_, before), (offset, own) in pairwise(blocks(data)) if own != before)]
        for offset, own in blocks(data):
            damaged = changed(data, offset + 300, 1)
            whole, found = salvaged(tmp_path, damaged), list[Sample]()
            for begin, end in pairwise([*starts[::3], None]):
                assert begin is not None
                part = salvaged(tmp_path, damaged, ByteRange(begin=begin, end=end))
                assert part.damage is None
                found += part.samples
            assert (found, whole.damage) == (whole.samples, None)
            assert [at for at, one in enumerate(found) if one.fault] in ([own], [])


def unlike() -> Members:
    """Some samples have a class and some none: how many a lost member leaves is not known."""
    return [(f"{at}.{kind}", b"x") for at in range(COUNT) for kind in (("cls", "png") if at % 3 else ("png",))]


@pytest.mark.parametrize(
    ("made", "number"),
    [
        pytest.param(archive(unlike()), 8, id="samples that differ"),
        pytest.param(archive([(f"{p}{at}.png", b"x") for at in range(9) for p in ("._", "")]), 9, id="hidden members"),
        pytest.param(archive(members(["png"], unequal, "k" * 120 + "{:04d}"), "gnu"), 3, id="a long name"),
        pytest.param(archive(members(["png"], unequal, "k" * 120 + "{:04d}"), "gnu"), 5, id="a name cut short"),
        pytest.param(gzip.compress(ARCHIVES["pairs"]()), None, id="gzip"),
        pytest.param(archive([(f"{at}.png", b"x") for at in range(2)]), 1, id="too few"),
    ],
)
def test_where_nothing_tells_what_is_lost_reading_stops(tmp_path: Path, made: bytes, number: int | None) -> None:
    plain = gzip.decompress(made) if number is None else made
    offset = list(blocks(plain))[8 if number is None else number][0]
    damaged = changed(plain, offset + 300, 1)
    found = salvaged(tmp_path, gzip.compress(damaged) if number is None else damaged)
    assert found.damage is not None
    assert found.damage.offset == offset
    assert not [one for one in found.samples if one.fault]


def test_two_headers_that_are_lost_at_once_are_not_taken_for_one(tmp_path: Path) -> None:
    """The samples around them fit, but the size leads to the second one."""
    data = ARCHIVES["images alone, of one size"]()
    (first, _), (second, _) = list(blocks(data))[3:5]
    found = salvaged(tmp_path, changed(changed(data, first + 300, 1), second + 300, 1))
    assert found.damage is not None
    assert len(found.samples) == 2  # the third one was begun, and might have had more members


def test_a_damaged_pax_header_costs_its_sample(tmp_path: Path) -> None:
    data = ARCHIVES["times"]()
    offset = next(offset for offset, own in blocks(data) if own == 4)
    space = data.index(b" mtime", offset + 512)
    found = salvaged(tmp_path, changed(data, space, 1))
    assert [at for at, one in enumerate(found.samples) if one.fault] == [4]
    fault = found.samples[4].fault
    assert fault is not None
    assert fault.detail.startswith("the pax header of member '0004.cls' is damaged: a pax header is malformed")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_columns_are_settled_by_what_is_left(tmp_path: Path, number: int) -> None:
    data = ARCHIVES["pairs"]()
    truth = READER.settle(shard_of(tmp_path / "a.tar", data), ColumnSelection(salvage=True))
    damaged = changed(data, list(blocks(data))[number][0] + 300, 1)
    assert READER.settle(shard_of(tmp_path / "a.tar", damaged), ColumnSelection(salvage=True)) == truth


def test_rejects_name_the_place(tmp_path: Path) -> None:
    data = ARCHIVES["images alone"]()
    offset = next(offset for offset, own in blocks(data) if own == 4)
    shard = shard_of(tmp_path / "a.tar", changed(data, offset + 5, 1))
    columns: dict[str, Any] = {"key": None, "carry": pa.schema([]), "numeric": False, "max_record_bytes": 1 << 20}
    found = rows(read(shard, RecordSchema(image="png", salvage=True, **columns)))
    assert [row["index"] for row in found] == list(range(COUNT))
    assert found[4]["key"] == ""
    assert found[4]["fault"].reason == Reason.CORRUPT_RECORD
    assert found[4]["fault"].detail == (
        f"the checksum of the header of a member, called about 'd/0005.png', does not match at byte {offset}"
    )

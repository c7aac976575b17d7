"""The plan's files: units come back from their lines, and a line that was changed is found."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import google_crc32c
import pytest

from lake.core.errors import LatentlakeError, VerifyError
from lake.core.records import Unit
from lake.storage import StoreOptions, configure, configured
from pipeline.output.state.plan_files import read_obsolete, read_units, unit_line, unpack_unit, write_obsolete
from tests.pipeline.values import make_shard, make_unit

UNITS = [
    make_unit("a"),
    make_unit("dt=1/é\n", "b.parquet", format="parquet", start=3, stop=9, rows=20, expected=6),
    make_unit("part-00000000", "1.png", "2.png", format="folder", retry_rejects=True),
    make_unit("c", clean=(make_shard("clean.tfrecord", size=5, identity="7"),)),
    make_unit("d", shards=()),
]


@pytest.fixture(autouse=True)
def _options() -> Iterator[None]:
    before = configured()
    yield
    configure(before)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    path = tmp_path / "part-00000.jsonl"
    path.write_bytes(b"".join(map(unit_line, UNITS)))
    return path


def read(path: Path) -> list[Unit]:
    return [unpack_unit(data) for data in read_units(str(path), StoreOptions())]


def test_units_come_back(part: Path) -> None:
    assert read(part) == UNITS


def test_a_unit_of_an_earlier_version_does_not_tell_its_shards_rows(tmp_path: Path) -> None:
    value = json.loads(unit_line(UNITS[1])[9:])
    del value["rows"]
    text = json.dumps(value).encode()
    path = tmp_path / "part-00000.jsonl"
    path.write_bytes(b"%08x %b\n" % (google_crc32c.value(text), text))
    assert read(path) == [replace(UNITS[1], rows=None)]


def test_a_line_is_a_checksum_and_a_text() -> None:
    line = unit_line(UNITS[0])
    check, _, text = line.partition(b" ")
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert check == f"{google_crc32c.value(text.rstrip()):08x}".encode()
    assert json.loads(text)["shards"] == [{"uri": "/in/a.tfrecord", "path": "a.tfrecord", "size": 10, "identity": "1"}]


def test_a_checksum_has_leading_zeros() -> None:
    lines = (unit_line(make_unit(f"{number}")) for number in range(2000))
    assert any(line.startswith(b"00") for line in lines)
    assert all(len(unit_line(make_unit(f"{number}")).partition(b" ")[0]) == 8 for number in range(200))


def test_any_bit_that_is_flipped_is_found(part: Path) -> None:
    data = part.read_bytes()
    first = data.index(b"\n")
    for at in range(0, first, 7):
        part.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(LatentlakeError, match=r"part-00000\.jsonl: the plan was damaged on its way"):
            read(part)


def test_a_line_that_was_cut_is_found(part: Path) -> None:
    data = part.read_bytes()
    for size in (5, 9, 40, len(data) - 2):
        part.write_bytes(data[:size])
        with pytest.raises(LatentlakeError, match="damaged on its way"):
            read(part)


def test_the_lines_before_a_damaged_one_are_given(part: Path) -> None:
    data = part.read_bytes()
    part.write_bytes(data[:-30] + b"x" + data[-29:])
    units = read_units(str(part), StoreOptions())
    assert [unpack_unit(next(units)).id for _ in UNITS[:-1]] == [unit.id for unit in UNITS[:-1]]
    with pytest.raises(LatentlakeError):
        next(units)


def test_the_process_reaches_stores_as_the_job_does(part: Path) -> None:
    options = StoreOptions(anonymous=True)
    assert len([*read_units(str(part), options)]) == len(UNITS)
    assert configured() == options


def test_units_on_their_way_are_compressed(part: Path) -> None:
    shards = tuple(make_shard(f"some/directory/{number:06d}.png") for number in range(1000))
    line = unit_line(make_unit("a", shards=shards))
    part.write_bytes(line)
    (data,) = read_units(str(part), StoreOptions())
    assert len(data) < len(line) / 4
    assert unpack_unit(data).shards == shards


def test_what_is_given_up_comes_back(tmp_path: Path) -> None:
    uri = str(tmp_path / "_plan/run/obsolete.json")
    assert read_obsolete("") == read_obsolete(uri) == frozenset()
    write_obsolete(uri, ["a", "b/c"])
    assert read_obsolete(uri) == {"a", "b/c"}
    path = Path(uri)
    path.write_bytes(path.read_bytes().replace(b'"a"', b'"z"'))
    with pytest.raises(VerifyError, match=r"obsolete\.json: damaged"):
        read_obsolete(uri)

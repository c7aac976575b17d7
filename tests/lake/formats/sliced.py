"""Slices of giant shards: what all of them hold together, and every index that is wrong in one place."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lake.core.errors import ShardError, UnreadableError
from lake.core.records import Shard, Unit
from lake.formats.common.cuts import Cuts, giant
from lake.formats.reader import Reader, RecordSchema
from lake.inputs.discover import Found
from lake.inputs.units import make_units
from lake.storage import Stat, store_for
from tests.lake.formats.support import rows


def units_of(shard: Shard, format: str, cuts: Cuts) -> list[Unit]:
    """The units of a shard that is cut so."""
    found = Found(root="/", format=format, shards=(shard,))
    return [*make_units(found, cuts={giant(format, shard): cuts})]


def read_units(reader: Reader, units: list[Unit], columns: RecordSchema, size: int = 3) -> list[dict[str, Any]]:
    """The rows of some units, one unit after the other."""
    return [row for unit in units for row in rows([batch.records() for batch in reader.read(unit, columns, size)])]


def stat_of(path: Path, text: bytes) -> Stat:
    """An index of this content."""
    path.write_bytes(text)
    stat = store_for(str(path)).stat(str(path))
    assert stat is not None
    return stat


def wrong(lines: list[bytes]) -> Iterator[bytes]:
    """Texts of an index that are wrong in one place: a line missing, twice or swapped, or a number that is another."""
    for at in range(len(lines)):
        yield b"".join(lines[:at] + lines[at + 1 :])
        yield b"".join([*lines[: at + 1], *lines[at:]])
        yield b"".join([*lines[:at], *lines[at + 1 : at + 2], lines[at], *lines[at + 2 :]])
        for number, field in enumerate(lines[at].split(b" ")):
            if field.strip().isdigit():
                for other in (int(field) - 1, int(field) + 1, int(field) + 512, abs(int(field) - 512), 1 << 70):
                    fields = lines[at].split(b" ")
                    fields[number] = b"%d" % other + field[len(field.strip()) :]
                    yield b"".join([*lines[:at], b" ".join(fields), *lines[at + 1 :]])


def outcome(
    reader: Reader, shard: Shard, format: str, index: Stat, columns: RecordSchema
) -> list[dict[str, Any]] | ShardError:
    """The rows of a shard that is cut by an index; the error if the index is refused, then or while slices are read."""
    try:
        cuts = reader.cuts(shard, index)
        named = Cuts(rows=cuts.rows, offsets=cuts.offsets, index=index.uri.rpartition("/")[2], index_identity="1")
        return read_units(reader, units_of(shard, format, named), columns)
    except UnreadableError as error:
        assert named.index in str(error)
        return error
    except ShardError as error:
        return error

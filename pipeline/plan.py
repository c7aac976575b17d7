"""The plan: shards cut and grouped into units, minus those that are done."""

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from pipeline.config import JobConfig, fingerprint, options_digest
from pipeline.drawn import drawn_units
from pipeline.errors import InputError
from pipeline.expected import Expected
from pipeline.listing import Found
from pipeline.readers import Reader, reader_for
from pipeline.receipts import Receipt
from pipeline.records import Reason, Shard, Unit
from pipeline.reference import with_clean
from pipeline.shards import Builder, Shards
from pipeline.stems import bare_of, unsliced

SPLIT_BYTES = 256 << 20  # a splittable shard above this is cut into slices of about this size
GROUP_FILES = 4096  # small files of one directory that make one unit, at most ...
GROUP_BYTES = 64 << 20  # ... or fewer, where they are larger
_GROUP_ENDS = 1024  # a group ends after one file of so many, chosen by its name


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which units are done besides those that are missing or changed, and which are given up.

    prune: units whose shards are gone.
    redo: ids of units that are done from scratch.
    again: units with rejects: these are tried once more.
    tidy: files that no unit has are removed.
    """

    prune: bool = False
    redo: frozenset[str] = frozenset()
    again: bool = False
    tidy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All units of an output, and which of them are to be done."""

    units: Sequence[Unit]
    todo: Sequence[Unit]
    obsolete: Sequence[str]  # finished units whose shards are cut into others now, are of other options, or pruned

    @property
    def todo_bytes(self) -> int:
        """Input bytes that are to be read."""
        return sum(_size(unit.shards) for unit in self.todo)


def make_plan(
    found: Found,
    config: JobConfig,
    receipts: Mapping[str, Receipt],
    scope: Scope = Scope(),
    expected: Expected | None = None,
) -> Plan:
    """Cut what was found into units; one whose receipt has the same fingerprint is done."""
    if config.drawn is not None:
        units = list(drawn_units(config.drawn.count))
        obsolete = sorted(receipts.keys() - {unit.id for unit in units})
    else:
        # A shard that is written again is one object again, however big it is; one with a reference is read beside it.
        units = list(make_units(found, whole=config.columns.whole or config.reference is not None))
        obsolete = _obsolete(units, found, receipts, config, scope)
    if config.reference is not None:
        units = [with_clean(unit, config.reference) for unit in units]
    if expected is not None:
        units = expected.tell(units)
    _check_names(units)
    todo = [task for unit in units if (task := _todo(unit, config, receipts.get(unit.id), scope))]
    return Plan(units=units, todo=todo, obsolete=obsolete)


def make_units(found: Found, *, whole: bool = False) -> Iterator[Unit]:
    """Cut shards into units: whole shards, slices of big splittable ones unless ``whole``, groups of small files."""
    reader = reader_for(found.format)
    if reader.grouped:
        yield from _groups(found)
        return
    for shard in found.shards:
        yield from [_whole(shard, found.format, reader)] if whole else _slices(shard, found.format, reader)


def _todo(unit: Unit, config: JobConfig, receipt: Receipt | None, scope: Scope) -> Unit | None:
    """What is to be done of a unit, if anything."""
    if receipt is None or unit.id in scope.redo or receipt.fingerprint != fingerprint(unit, config):
        return unit
    if unit.expected not in (None, receipt.read) and Reason.DAMAGED_SHARD not in receipt.rejects:
        return unit
    return replace(unit, again=True) if scope.again and receipt.rejects else None


def _obsolete(
    units: Iterable[Unit], found: Found, receipts: Mapping[str, Receipt], config: JobConfig, scope: Scope
) -> list[str]:
    """Units whose records other units hold now, and of shards that vanished those that may not or must not stay."""
    gone = receipts.keys() - {unit.id for unit in units}
    if scope.prune:
        return sorted(gone)
    others = {unit for unit in gone if receipts[unit].options != options_digest(config)}
    suffixes = reader_for(found.format).suffixes
    if reader_for(found.format).grouped:
        covered = {_split(unit.id)[0] for unit in units}
        return sorted(others | {u for u in gone if _PART.fullmatch(_split(u)[1]) and _split(u)[0] in covered})
    stems = {bare_of(shard.path, suffixes) for shard in found.shards} if gone else set()
    return sorted(others | {unit for unit in gone if unit in stems or unsliced(unit) in stems})


_PART = re.compile(r"part-[0-9a-f-]+")


def _whole(shard: Shard, format: str, reader: Reader) -> Unit:
    return Unit(id=bare_of(shard.path, reader.suffixes), format=format, shards=(shard,))


def _slices(shard: Shard, format: str, reader: Reader) -> Iterator[Unit]:
    stem = bare_of(shard.path, reader.suffixes)
    rows = reader.rows(shard) if shard.size > SPLIT_BYTES else None
    edges = _edges(rows, shard.size) if rows else [0]
    if len(edges) <= 2:
        yield _whole(shard, format, reader)
        return
    for number, (start, stop) in enumerate(pairwise(edges)):
        name = f"{stem}-{number:05d}-of-{len(edges) - 1:05d}"
        yield Unit(id=name, format=format, shards=(shard,), start=start, stop=stop)


def _edges(rows: Sequence[int], size: int) -> list[int]:
    """Row numbers where slices of about ``SPLIT_BYTES`` begin and end, on edges of the parts."""
    per_slice = max(1, round(sum(rows) * SPLIT_BYTES / max(size, 1)))
    edges = [0]
    for edge in accumulate(rows):
        if edge - edges[-1] >= per_slice:
            edges.append(edge)
    total = sum(rows)
    return edges if edges[-1] == total else [*edges, total]


def _groups(found: Found) -> Iterator[Unit]:
    """Groups of one directory's files, so that the tree above them (classes, partitions) is mirrored.

    Which files make a group depends on their names alone, so files that come or go change one group or two and leave
    the others as they are.
    """
    for shards in _columns(found).by_directory():
        directory = _split(shards[0].path)[0]
        for name, start, stop in _cut(shards):
            unit = f"{directory}/part-{name}" if directory else f"part-{name}"
            yield Unit(id=unit, format=found.format, shards=shards[start:stop])


def _cut(shards: Shards) -> Iterator[tuple[str, int, int]]:
    """Groups of a directory: what each is called after, and its first file and the one after its last.

    A group begins after a file whose name's checksum says so, and is called after that file; one that is too large is
    cut further.
    """
    begin, part, held, name = 0, 0, 0, "00000000"
    for at, (shard, size) in enumerate(zip(shards, shards.sizes.tolist(), strict=True)):
        if at > begin and (at - begin >= GROUP_FILES or held + size > GROUP_BYTES):
            yield _numbered(name, part), begin, at
            begin, part, held = at, part + 1, 0
        held += size
        crc = zlib.crc32(_split(shard.path)[1].encode())
        if crc % _GROUP_ENDS == 0:
            yield _numbered(name, part), begin, at + 1
            begin, part, held, name = at + 1, 0, 0, f"{crc:08x}"
    if begin < len(shards):
        yield _numbered(name, part), begin, len(shards)


def _numbered(name: str, part: int) -> str:
    return f"{name}-{part}" if part else name


def _size(shards: Sequence[Shard]) -> int:
    return int(shards.sizes.sum()) if isinstance(shards, Shards) else sum(shard.size for shard in shards)


def _columns(found: Found) -> Shards:
    if isinstance(found.shards, Shards):
        return found.shards
    builder = Builder()
    for shard in found.shards:
        builder.add(shard.path, shard.size, shard.identity)
    return builder.build(found.root)


def _split(path: str) -> tuple[str, str]:
    directory, _, name = path.rpartition("/")
    return directory, name


def _check_names(units: Iterable[Unit]) -> None:
    seen: dict[str, Unit] = {}
    for unit in units:
        if other := seen.get(unit.id):
            one, two = other.shards[0].uri, unit.shards[0].uri
            raise InputError(f"{one} and {two} would both be written as {unit.id!r}; run one job for each")
        seen[unit.id] = unit

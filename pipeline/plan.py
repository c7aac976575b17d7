"""The plan: shards cut and grouped into units, minus those that are done."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

from pipeline.config import JobConfig, fingerprint
from pipeline.drawn import drawn_units
from pipeline.errors import InputError
from pipeline.listing import Found
from pipeline.readers import Reader, reader_for
from pipeline.receipts import Receipt
from pipeline.records import Shard, Unit
from pipeline.reference import with_clean
from pipeline.stems import bare_of

SPLIT_BYTES = 256 << 20  # a splittable shard above this is cut into slices of about this size
GROUP_FILES = 1024  # small files of one directory that make one unit ...
GROUP_BYTES = 64 << 20  # ... or fewer, where they are larger


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All units of an output, and which of them are to be done."""

    units: Sequence[Unit]
    todo: Sequence[Unit]
    obsolete: Sequence[str]  # finished units whose shards are now cut into others

    @property
    def todo_bytes(self) -> int:
        """Input bytes that are to be read."""
        return sum(shard.size for unit in self.todo for shard in unit.shards)


def make_plan(found: Found, config: JobConfig, receipts: Mapping[str, Receipt]) -> Plan:
    """Cut what was found into units; one whose receipt has the same fingerprint is done."""
    if config.drawn is not None:
        units = list(drawn_units(config.drawn.count))
        obsolete = sorted(receipts.keys() - {unit.id for unit in units})
    else:
        # A shard that is written again is one object again, however big it is; one with a reference is read beside it.
        units = list(make_units(found, whole=config.columns.whole or config.reference is not None))
        obsolete = _obsolete(units, found, receipts)
    if config.reference is not None:
        units = [with_clean(unit, config.reference) for unit in units]
    _check_names(units)
    todo = [unit for unit in units if not _is_done(unit, config, receipts)]
    return Plan(units=units, todo=todo, obsolete=obsolete)


def make_units(found: Found, *, whole: bool = False) -> Iterator[Unit]:
    """Cut shards into units: whole shards, slices of big splittable ones unless ``whole``, groups of small files."""
    reader = reader_for(found.format)
    if reader.grouped:
        yield from _groups(found)
        return
    for shard in found.shards:
        yield from [_whole(shard, found.format, reader)] if whole else _slices(shard, found.format, reader)


def _is_done(unit: Unit, config: JobConfig, receipts: Mapping[str, Receipt]) -> bool:
    receipt = receipts.get(unit.id)
    return receipt is not None and receipt.error is None and receipt.fingerprint == fingerprint(unit, config)


def _obsolete(units: Iterable[Unit], found: Found, receipts: Mapping[str, Receipt]) -> list[str]:
    """Units of an earlier plan whose records other units hold now; a vanished shard's unit is not among them."""
    now = {unit.id for unit in units}
    suffixes = reader_for(found.format).suffixes
    if reader_for(found.format).grouped:
        covered = {_split(shard.path)[0] for shard in found.shards}
        return sorted(u for u in receipts.keys() - now if _PART.fullmatch(_split(u)[1]) and _split(u)[0] in covered)
    stems = {bare_of(shard.path, suffixes) for shard in found.shards}
    return sorted(unit for unit in receipts.keys() - now if unit in stems or _SLICE.sub("", unit) in stems)


_SLICE = re.compile(r"-\d{5}-of-\d{5}$")
_PART = re.compile(r"part-\d{5}")


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
    """Groups of one directory's files, so that the tree above them (classes, partitions) is mirrored."""
    ordered = sorted(found.shards, key=lambda shard: _split(shard.path))
    for directory, shards in groupby(ordered, key=lambda shard: _split(shard.path)[0]):
        for number, group in enumerate(_fill(shards)):
            name = f"{directory}/part-{number:05d}" if directory else f"part-{number:05d}"
            yield Unit(id=name, format=found.format, shards=tuple(group))


def _fill(shards: Iterable[Shard]) -> Iterator[list[Shard]]:
    group: list[Shard] = []
    size = 0
    for shard in shards:
        if group and (len(group) >= GROUP_FILES or size + shard.size > GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(shard)
        size += shard.size
    yield group


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

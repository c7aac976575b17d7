"""Cut shards into units of work, and name the units."""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from types import MappingProxyType
from typing import overload

from lake.core.errors import ShardError, UnreadableError
from lake.core.records import Shard, Unit
from lake.formats import FORMATS
from lake.formats.common.cuts import Cuts, Giant, giant
from lake.formats.common.shard_errors import as_shard_error
from lake.formats.reader import Reader
from lake.inputs.discover import Found
from lake.inputs.shard_list import Builder, Shards

SPLIT_BYTES = 256 << 20  # a larger splittable shard is cut into slices of about this size
GROUP_FILES = 4096  # most files of a group of small files
GROUP_BYTES = 64 << 20  # most bytes of such a group
OWN_BYTES = 64 << 10  # what a unit costs besides its records, as bytes of input: milliseconds to open and to publish it
_GROUP_ENDS = 1024  # one file name in so many, chosen by checksum, ends a group
_NO_CUTS: Mapping[Giant, Cuts] = MappingProxyType({})


def make_units(found: Found, *, whole: bool = False, cuts: Mapping[Giant, Cuts] = _NO_CUTS) -> Iterator[Unit]:
    """Cut shards into units: whole shards, slices of large ones, or groups of small files.

    Args:
      found: the shards of the input.
      whole: do not slice shards.
      cuts: where giants are cut, of formats whose shards do not say it by themselves.

    Raises:
      UnreadableError: the store failed.
    """
    for format, shards in found.by_format.items():
        reader = FORMATS[format].reader
        if reader.grouped:
            yield from _groups(found.root, format, shards)
        else:
            for shard in shards:
                known = cuts.get(giant(format, shard)) if cuts else None
                yield from [whole_unit(shard, format)] if whole else _slices(shard, format, known)


class WholeShards(Sequence[Unit]):
    """Units that are whole shards, made when they are asked for: a million take no memory beside their shards.

    Args:
      found: the shards, of formats whose files are not grouped.
    """

    def __init__(self, found: Found) -> None:
        self._found = found

    def __len__(self) -> int:
        return sum(map(len, self._found.by_format.values()))

    def __iter__(self) -> Iterator[Unit]:
        return make_units(self._found, whole=True)

    @overload
    def __getitem__(self, at: int) -> Unit: ...
    @overload
    def __getitem__(self, at: slice) -> list[Unit]: ...
    def __getitem__(self, at: int | slice) -> Unit | list[Unit]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        for format, shards in self._found.by_format.items():
            if at < len(shards):
                return whole_unit(shards[at], format)
            at -= len(shards)
        raise IndexError(at)


def all_units(found: Found, *, whole: bool = False, cuts: Mapping[Giant, Cuts] = _NO_CUTS) -> Sequence[Unit]:
    """All units of an input, as of ``make_units``. Where each is a whole shard, none is kept in memory.

    Args:
      found: the shards of the input.
      whole: do not slice shards.
      cuts: as of ``make_units``.

    Raises:
      UnreadableError: the store failed.
    """
    formats = ((FORMATS[format].reader.grouped, shards) for format, shards in found.by_format.items())
    if not cuts and all(not grouped and _are_whole(shards, whole=whole) for grouped, shards in formats):
        return WholeShards(found)
    return list(make_units(found, whole=whole, cuts=cuts))


def _are_whole(shards: Sequence[Shard], *, whole: bool) -> bool:
    return isinstance(shards, Shards) and (whole or max(shards.sizes, default=0) <= SPLIT_BYTES)


def whole_unit(shard: Shard, format: str) -> Unit:
    """The unit that is a whole shard.

    Args:
      shard: of a format whose files are not grouped.
      format: its name.
    """
    return Unit(id=stem(shard.path, format), format=format, shards=(shard,))


def _slices(shard: Shard, format: str, cuts: Cuts | None) -> Iterator[Unit]:
    slices = [*cuts.slices()] if cuts else _by_rows(shard, FORMATS[format].reader)
    if len(slices) < 2:
        yield whole_unit(shard, format)
        return
    bare = stem(shard.path, format)
    for number, (start, stop, byte_range) in enumerate(slices):
        name, rows = f"{bare}-{number:05d}-of-{len(slices):05d}", None if byte_range else slices[-1][1]
        yield Unit(id=name, format=format, shards=(shard,), start=start, stop=stop, byte_range=byte_range, rows=rows)


def _by_rows(shard: Shard, reader: Reader) -> list[tuple[int, int, None]]:
    """First row and end of each slice of a shard that says its rows by itself."""
    rows = _rows(shard, reader) if shard.size > SPLIT_BYTES else None
    return [(start, stop, None) for start, stop in pairwise(_edges(rows, shard.size))] if rows else []


def _rows(shard: Shard, reader: Reader) -> Sequence[int] | None:
    try:
        with as_shard_error(shard):
            return reader.rows(shard)
    except UnreadableError:  # says nothing about the shard, and its slices must not change with the weather
        raise
    except ShardError:
        return None  # one unit, which fails by the name of the shard


def _edges(rows: Sequence[int], size: int) -> list[int]:
    """Row numbers at which slices of about ``SPLIT_BYTES`` begin and end, on edges of independent parts."""
    per_slice = max(1, round(sum(rows) * SPLIT_BYTES / max(size, 1)))
    edges = [0]
    for edge in accumulate(rows):
        if edge - edges[-1] >= per_slice:
            edges.append(edge)
    total = sum(rows)
    return edges if edges[-1] == total else [*edges, total]


def _groups(root: str, format: str, files: Sequence[Shard]) -> Iterator[Unit]:
    """Groups of the files of one directory, so that the directory tree (classes, partitions) is mirrored.

    Which files form a group depends on their names alone. Files that are added or removed therefore change one or two
    groups and leave the others as they are.
    """
    for shards in _columns(root, files).by_directory():
        directory = split_path(shards[0].path)[0]
        for name, start, stop in _cut(shards):
            unit = f"{directory}/part-{name}" if directory else f"part-{name}"
            yield Unit(id=unit, format=format, shards=shards[start:stop])


def _cut(shards: Shards) -> Iterator[tuple[str, int, int]]:
    """Groups of a directory's files: the group's name, its first file, and the file after its last.

    A group ends with a file whose name has a certain checksum, and the next group is named after that file. A group
    that is too large is cut further.
    """
    begin, part, total, name = 0, 0, 0, "00000000"
    for at, (shard, size) in enumerate(zip(shards, shards.sizes.tolist(), strict=True)):
        if at > begin and (at - begin >= GROUP_FILES or total + size > GROUP_BYTES):
            yield _numbered(name, part), begin, at
            begin, part, total = at, part + 1, 0
        total += size
        # A checksum, unlike hash(), is the same in every process.
        crc = zlib.crc32(split_path(shard.path)[1].encode())
        if crc % _GROUP_ENDS == 0:
            yield _numbered(name, part), begin, at + 1
            begin, part, total, name = at + 1, 0, 0, f"{crc:08x}"
    if begin < len(shards):
        yield _numbered(name, part), begin, len(shards)


def _numbered(name: str, part: int) -> str:
    return f"{name}-{part}" if part else name


def record_count(unit: Unit) -> int | None:
    """Number of records of a unit, where it is known before its shards are read: of slices and of groups of files.

    Args:
      unit: the unit.
    """
    if unit.stop is not None:
        return unit.stop - unit.start
    if unit.expected is None and FORMATS[unit.format].reader.grouped:
        return len(unit.shards)
    return unit.expected


def input_bytes(unit: Unit) -> int:
    """Bytes of a unit's input; of a slice of rows about its share, or if that is not known as many as it has at most.

    Args:
      unit: the unit.
    """
    size = total_bytes(unit.shards)
    if unit.byte_range is not None:
        return (size if unit.byte_range.end is None else unit.byte_range.end) - unit.byte_range.begin
    if unit.stop is None:
        return size
    return size * (unit.stop - unit.start) // unit.rows if unit.rows else min(size, SPLIT_BYTES)


def total_bytes(shards: Sequence[Shard]) -> int:
    """Sum of the sizes of shards."""
    return int(shards.sizes.sum()) if isinstance(shards, Shards) else sum(shard.size for shard in shards)


def _columns(root: str, shards: Sequence[Shard]) -> Shards:
    if isinstance(shards, Shards):
        return shards
    builder = Builder()
    for shard in shards:
        builder.add(shard.path, shard.size, shard.identity)
    return builder.build(root)


def split_path(path: str) -> tuple[str, str]:
    """A path as its directory and its name.

    >>> split_path("train/cats/1.png")
    ('train/cats', '1.png')
    >>> split_path("1.png")
    ('', '1.png')
    """
    directory, _, name = path.rpartition("/")
    return directory, name


_SLICE = re.compile(r"-\d{5}-of-\d{5}$")


def stem(path: str, format: str) -> str:
    """A shard's path without the suffix of its format. Its units and outputs are named after it.

    >>> stem("train/00000.tar.gz", "webdataset")
    'train/00000'
    """
    return strip_suffix(path, FORMATS[format].reader.suffixes)


def strip_suffix(path: str, suffixes: Sequence[str]) -> str:
    """A path without its suffix, and without ``.gz``. Other names are unchanged (``x.tfrecord-00003-of-00010``).

    Args:
      path: of a shard.
      suffixes: of its format, lower case, with the dot.

    >>> strip_suffix("a/x.TFRecord.gz", (".tfrecord",))
    'a/x'
    >>> strip_suffix("x.tfrecord-00003-of-00010", (".tfrecord",))
    'x.tfrecord-00003-of-00010'
    """
    bare = path[:-3] if path.lower().endswith(".gz") else path
    for suffix in suffixes:
        if bare.lower().endswith(suffix) and not bare.lower().endswith("/" + suffix):
            return bare[: -len(suffix)]
    return bare


def strip_slice(unit: str) -> str:
    """The stem in a unit's id, without the slice number if it has one.

    >>> strip_slice("train/big-00001-of-00004")
    'train/big'
    """
    return _SLICE.sub("", unit)

"""Clean images that denoised ones are compared with: the same shards, keys and order, somewhere else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError, ShardError
from pipeline.listing import Found, find_shards
from pipeline.readers import Columns, Request, reader_for
from pipeline.records import Array, RawBatch, Records, Shard, Unit
from pipeline.stems import stem_of
from pipeline.storage import join, store_for

_SIZE = 64  # records of a batch that is read
_SUFFIX = r"(?i)\.(png|jpe?g|webp|tiff?|bmp|gif)$"  # of an image file's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where the clean images are.

    root, format: of their shards; a shard has the name of the one it belongs to, but for its suffix.
    suffixes: that occur.
    only: path of the one clean shard of the one shard there is, where they are called differently.
    columns: how they are read.
    """

    root: str
    format: str
    suffixes: tuple[str, ...]
    columns: Columns
    only: str | None = None

    def options(self) -> dict[str, Any]:
        """How it is read, as JSON values; which files it is, every unit's fingerprint says."""
        only = {} if self.only is None else {"only": self.only}
        return {"format": self.format, "image": self.columns.image, **only}


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """A batch with the clean images of its records: pieces that follow one another, each with where it begins."""

    read: Records
    clean: Sequence[tuple[int, Records]]

    def __len__(self) -> int:
        return len(self.read)

    def records(self) -> Records:
        """The batch."""
        return self.read


def find_reference(uris: Sequence[str], found: Found, request: Request) -> Reference:
    """Make sure that every shard has a clean one.

    Args:
      uris: of the clean shards.
      found: the shards that they belong to.
      request: how images are named in both.

    Raises:
      InputError: a shard has none or several, or they cannot be read.
    """
    clean = find_shards(uris)
    reader = reader_for(clean.format)
    if reader.grouped != reader_for(found.format).grouped:
        raise InputError(f"{clean.root}: {clean.format} is no reference for {found.format}; convert one of them")
    stems = _by_stem(clean)
    lacking = next((s.path for s in found.shards if stem_of(s.path, found.format) not in stems), None)
    alone = len(found.shards) == len(clean.shards) == 1
    if lacking is not None and not alone:
        raise InputError(f"{lacking}: no shard of this name below {clean.root}; --reference needs one for each")
    return Reference(
        root=clean.root,
        format=clean.format,
        suffixes=tuple(sorted({path[len(stem) :] for stem, path in stems.items()})),
        columns=_settled(clean, request, clean.format == found.format),
        only=None if lacking is None else clean.shards[0].path,
    )


def _by_stem(clean: Found) -> dict[str, str]:
    stems: dict[str, str] = {}
    for shard in clean.shards:
        other = stems.setdefault(stem_of(shard.path, clean.format), shard.path)
        if other != shard.path:
            raise InputError(f"{other} and {shard.path} below {clean.root} would be the reference of one; remove one")
    return stems


def _settled(clean: Found, request: Request, alike: bool) -> Columns:
    """Names of images and keys hold for both where the formats are alike."""
    names = request if alike else replace(request, image=None, key=None)
    try:
        return reader_for(clean.format).settle(clean.shards[0], replace(names, carry=(), whole=False))
    except ShardError as error:
        raise InputError(f"the reference {clean.shards[0].uri} cannot be read: {error}") from error


def with_clean(unit: Unit, reference: Reference) -> Unit:
    """The unit with the clean shards of its own ones: when one of them changes, the unit is to be done again.

    Raises:
      ShardError: one is gone.
    """
    return replace(unit, clean=tuple(_partner(shard, unit.format, reference) for shard in unit.shards))


def paired(batches: Iterator[RawBatch], unit: Unit, reference: Reference) -> Iterator[Paired]:
    """The batches of a unit with their clean images.

    Raises:
      ShardError: a clean shard is missing, or its keys, or how many there are, differ.
    """
    clean = _Stream(unit, reference)
    for raw in batches:
        records = raw.records()
        yield Paired(read=records, clean=clean.take(records))
    clean.end()


class _Stream:
    """The clean records of a unit, in order."""

    def __init__(self, unit: Unit, reference: Reference) -> None:
        self._where = unit.clean[0].path
        source = replace(unit, format=reference.format, shards=unit.clean)
        read = reader_for(reference.format).read(source, reference.columns, _SIZE)
        self._batches = (raw.records() for raw in read)
        self._held: Records | None = None

    def take(self, records: Records) -> list[tuple[int, Records]]:
        """As many as a batch has, whose keys are its own."""
        pieces: list[tuple[int, Records]] = []
        start = 0
        while start < len(records):
            held = self._next()
            if held is None:
                raise ShardError(self._where, f"has fewer records than {_name(records, start)} needs")
            count = min(len(held), len(records) - start)
            pieces.append((start, _part(held, 0, count)))
            self._check(records, start, pieces[-1][1])
            self._held = _part(held, count, len(held)) if count < len(held) else None
            start += count
        return pieces

    def end(self) -> None:
        """Nothing may be left."""
        if self._next() is not None:
            raise ShardError(self._where, "has more records than the shard that it is the reference of")

    def _next(self) -> Records | None:
        self._held = self._held or next(self._batches, None)
        return self._held

    def _check(self, records: Records, start: int, piece: Records) -> None:
        """Keys agree, unless they are mere numbers of rows or their record is damaged."""
        own = _part(records, start, start + len(piece))
        if _numbered(own) or _numbered(piece):
            return
        differs = pc.not_equal(_bare(own.key), _bare(piece.key)).to_numpy(zero_copy_only=False)
        for at in np.flatnonzero(differs).tolist():
            if at not in own.faults and at not in piece.faults:
                key = piece.key[at].as_py()
                raise ShardError(self._where, f"has the key {key!r} where {_name(records, start + at)} belongs")


def _partner(shard: Shard, format: str, reference: Reference) -> Shard:
    stem = stem_of(shard.path, format)
    paths = [stem + suffix for suffix in reference.suffixes] if reference.only is None else [reference.only]
    for path in paths:
        uri = join(reference.root, path)
        if (stat := store_for(uri).stat(uri)) is not None:
            return Shard(uri=uri, path=uri, size=stat.size, identity=stat.identity)  # errors tell it from the input's
    raise ShardError(shard.path, f"has no reference below {reference.root} any more")


def _part(records: Records, start: int, stop: int) -> Records:
    shard = records.shard if isinstance(records.shard, str) else records.shard[start:stop]
    faults = {at - start: fault for at, fault in records.faults.items() if start <= at < stop}
    payload, index, key = records.payload[start:stop], records.index[start:stop], records.key[start:stop]
    return Records(shard=shard, index=index, key=key, payload=payload, carried={}, faults=faults)


def _name(records: Records, position: int) -> str:
    return f"record {int(records.index[position])} with the key {records.key[position].as_py()!r}"


def _numbered(records: Records) -> bool:
    """Whether the keys are the numbers of the rows, as of arrays."""
    numbers: Array = records.index
    return bool(pc.all(pc.equal(records.key, pa.array(numbers).cast(pa.string()))).as_py())


def _bare(keys: pa.Array) -> pa.Array:
    """Keys without an image file's suffix."""
    return pc.replace_substring_regex(keys, _SUFFIX, "")

"""Reference images: the clean images that denoised ones are compared with, in shards with the same keys and order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.errors import InputError, ShardError
from lake.core.records import Array, RawBatch, Records, Shard, Unit
from lake.formats import FORMATS, MIXED
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.inputs.columns import settle_shard
from lake.inputs.discover import Found, find_shards
from lake.inputs.one_image import told_apart
from lake.inputs.units import stem
from lake.storage import join

_SIZE = 64  # records in a batch of clean images
_SUFFIX = r"(?i)\.(a?png|p?jpe?g|jpe|pjp|jfif|jif|mpo|webp|tiff?|bmp|gif)$"  # suffix of an image file's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """How clean images are read. A clean shard has the name of the shard that it belongs to, except for the suffix.

    Attributes:
      format: of the clean shards.
      columns: what is read of each clean record.
      only: path of the clean shard, if there is one shard, one clean shard, and their names differ.
    """

    format: str
    columns: RecordSchema
    only: str | None = None

    def options(self) -> dict[str, Any]:
        """How references are read, as JSON values. Which files they are is in the fingerprint of every unit."""
        only = {} if self.only is None else {"only": self.only}
        return {"format": self.format, "image": self.columns.image, **only}


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """A batch with the clean images of its records.

    Attributes:
      read: the batch.
      clean: consecutive pieces of clean records, each with the position in the batch where it begins.
    """

    read: Records
    clean: Sequence[tuple[int, Records]]

    def __len__(self) -> int:
        return len(self.read)

    def records(self) -> Records:
        """The batch that was read."""
        return self.read


def find_reference(
    uris: Sequence[str], found: Found, selection: ColumnSelection, flag: str = "--reference"
) -> tuple[Reference, "CleanShards"]:
    """Find the clean shard of every shard.

    Args:
      uris: URIs of the clean shards, as ``find_shards`` takes them.
      found: the shards of the input.
      selection: what is read of each record, in both.
      flag: the option that errors name.

    Returns:
      How workers read the clean shards, and the shards as they were listed.

    Raises:
      InputError: a shard has no clean shard or several, or they cannot be read.
    """
    if found.format == MIXED:
        raise InputError(f"{flag} compares shards of one format; leave out --format {MIXED}, or run a job for each")
    # Nothing of a clean shard is copied to the output, so links may lead anywhere.
    clean = find_shards(uris, follow_links=True)
    # Arrays beside arrays are what those are, one image each or stacks.
    clean = clean if clean.format == found.format else told_apart(clean, selection)
    reader = FORMATS[clean.format].reader
    if reader.grouped != FORMATS[found.format].reader.grouped:
        raise InputError(f"{clean.root}: {clean.format} is no reference for {found.format}; convert one of them")
    stems = _by_stem(clean)
    lacking = next((s.path for s in found.shards if stem(s.path, found.format) not in stems), None)
    alone = len(found.shards) == len(clean.shards) == 1
    if lacking is not None and not alone:
        raise InputError(f"{lacking}: no shard of this name below {clean.root}; {flag} needs one for each")
    reference = Reference(
        format=clean.format,
        columns=_settled(clean, selection, clean.format == found.format),
        only=None if lacking is None else clean.shards[0].path,
    )
    return reference, CleanShards(root=clean.root, stems=stems, only=None if lacking is None else clean.shards[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanShards:
    """The clean shards as they were listed, so that the store is not asked for each of them again.

    Attributes:
      root: directory that their paths are relative to.
      stems: the shards by their stems.
      only: the clean shard, if there is one shard, one clean shard, and their names differ.
    """

    root: str
    stems: Mapping[str, Shard]
    only: Shard | None

    def of(self, shard: Shard, format: str) -> Shard:
        """The clean shard of a shard of this format."""
        clean = self.only or self.stems[stem(shard.path, format)]
        # The path is the URI, so that errors tell the clean shard from the input's shard of the same name.
        uri = join(self.root, clean.path)
        return replace(clean, uri=uri, path=uri)


def _by_stem(clean: Found) -> dict[str, Shard]:
    stems: dict[str, Shard] = {}
    for shard in clean.shards:
        other = stems.setdefault(stem(shard.path, clean.format), shard).path
        if other != shard.path:
            raise InputError(f"{other} and {shard.path} below {clean.root} would be the reference of one; remove one")
    return stems


def _settled(clean: Found, selection: ColumnSelection, alike: bool) -> RecordSchema:
    """The columns of the clean shards. The requested names of image and key apply if the formats are the same."""
    names = selection if alike else replace(selection, image=None, key=None)
    try:
        return settle_shard(clean.format, clean.shards[0], replace(names, carry=(), whole=False))
    except ShardError as error:
        raise InputError(f"the reference {clean.shards[0].uri} cannot be read: {error}") from error


def with_clean(unit: Unit, clean: CleanShards) -> Unit:
    """The unit with the clean shards of its shards. A change of one of them changes the unit's fingerprint.

    Args:
      unit: of the input.
      clean: the clean shards, as ``find_reference`` gave them.
    """
    return replace(unit, clean=tuple(clean.of(shard, unit.format) for shard in unit.shards))


def paired(batches: Iterator[RawBatch], unit: Unit, reference: Reference) -> Iterator[Paired]:
    """Pair the batches of a unit with their clean images.

    Args:
      batches: of the unit.
      unit: as ``with_clean`` gave it.
      reference: where the clean images are.

    Raises:
      ShardError: a clean shard is gone, or has other keys or another number of records.
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
        read = FORMATS[reference.format].reader.read(source, reference.columns, _SIZE)
        self._batches = (raw.records() for raw in read)
        self._rest: Records | None = None

    def take(self, records: Records) -> list[tuple[int, Records]]:
        """The clean records of a batch, as pieces with their positions. Keys must agree."""
        pieces: list[tuple[int, Records]] = []
        start = 0
        while start < len(records):
            batch = self._next()
            if batch is None:
                raise ShardError(self._where, f"has fewer records than {_name(records, start)} needs")
            count = min(len(batch), len(records) - start)
            pieces.append((start, _part(batch, 0, count)))
            self._check(records, start, pieces[-1][1])
            self._rest = _part(batch, count, len(batch)) if count < len(batch) else None
            start += count
        return pieces

    def end(self) -> None:
        """Check that no clean records are left."""
        if self._next() is not None:
            raise ShardError(self._where, "has more records than the shard that it is the reference of")

    def _next(self) -> Records | None:
        self._rest = self._rest or next(self._batches, None)
        return self._rest

    def _check(self, records: Records, start: int, piece: Records) -> None:
        """Check that keys agree, unless they are only row numbers or their record is damaged."""
        own = _part(records, start, start + len(piece))
        if _numbered(own) or _numbered(piece):
            return
        differs = pc.not_equal(_without_suffix(own.key), _without_suffix(piece.key)).to_numpy(zero_copy_only=False)
        for at in np.flatnonzero(differs).tolist():
            if at not in own.faults and at not in piece.faults:
                key = piece.key[at].as_py()
                raise ShardError(self._where, f"has the key {key!r} where {_name(records, start + at)} belongs")


def _part(records: Records, start: int, stop: int) -> Records:
    shard = records.shard if isinstance(records.shard, str) else records.shard[start:stop]
    faults = {at - start: fault for at, fault in records.faults.items() if start <= at < stop}
    payload, index, key = records.payload[start:stop], records.index[start:stop], records.key[start:stop]
    return Records(shard=shard, index=index, key=key, payload=payload, carried={}, faults=faults)


def _name(records: Records, position: int) -> str:
    return f"record {int(records.index[position])} with the key {records.key[position].as_py()!r}"


def _numbered(records: Records) -> bool:
    """Whether the keys are the row numbers, as those of arrays."""
    numbers: Array = records.index
    return bool(pc.all(pc.equal(records.key, pa.array(numbers).cast(pa.string()))).as_py())


def _without_suffix(keys: pa.Array) -> pa.Array:
    """Keys without the suffix of an image file."""
    return pc.replace_substring_regex(keys, _SUFFIX, "")

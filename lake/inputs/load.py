"""Load the pixels of an input as arrays, for training, with the same readers and decoder as the job."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from lake.core.errors import InputError
from lake.core.records import Array, Records, Shard
from lake.formats import FORMATS
from lake.formats.common.shard_errors import missing_link
from lake.formats.reader import ColumnSelection
from lake.images.decoder import Decoder
from lake.images.header import read_header
from lake.images.types import ImageError, Target
from lake.inputs.columns import settle
from lake.inputs.discover import Found, find_shards
from lake.inputs.one_image import told_apart
from lake.inputs.passed_over import Why, listed
from lake.inputs.reference import Paired, find_reference, paired, with_clean
from lake.inputs.units import make_units

_LOG = logging.getLogger(__name__)
_BATCH = 256  # records
_TURNED = 5  # EXIF orientations from 5 on swap height and width


def iter_pixels(
    inputs: Sequence[str], *, target: Target, selection: ColumnSelection, format: str = "auto"
) -> Iterator[Array]:
    """Decode the records of an input in the order of the shards.

    Records that the job would reject are left out, and a warning logs their number by reason.

    Args:
      inputs: URIs, as ``find_shards`` takes them.
      target: shape and policies.
      selection: what is read of each record.
      format: of the shards; ``auto`` to recognise it.

    Yields:
      Arrays ``[n, H, W, C]`` or ``[n, d]`` of one dtype each.

    Raises:
      InputError: as of ``find_shards`` and ``settle``, or if no record is good.
      ShardError: a shard is damaged.
    """
    decoder = Decoder(target)
    left_out: Counter[str] = Counter()
    good = 0
    for records in iter_records(inputs, selection, format):
        decoded = decoder.decode(records)
        left_out.update(str(fault.reason) for fault in decoded.faults.values())
        for group in decoded.groups:
            good += len(group.positions)
            yield group.pixels
    if left_out:
        _LOG.warning("%d records left out: %s", left_out.total(), dict(left_out))
    if not good:
        raise InputError(f"no record of {', '.join(inputs)} can be used: {dict(left_out)}")


def first_shape(inputs: Sequence[str], *, selection: ColumnSelection, format: str = "auto") -> tuple[int, ...]:
    """The shape of the first good record: (H, W, C) upright and without alpha, or (d,).

    Args:
      inputs: URIs, as ``find_shards`` takes them.
      selection: what is read of each record.
      format: of the shards; ``auto`` to recognise it.

    Raises:
      InputError: the first batch has no good record.
      ShardError: a shard is damaged.
    """
    for records in iter_records(inputs, selection, format):
        for position in range(len(records)):
            if position not in records.faults and (shape := _shape(records, position)):
                return shape
        break  # one batch suffices; reading on could take hours
    raise InputError(f"{', '.join(inputs)}: none of the first {_BATCH} records is an image or vector")


def _shape(records: Records, position: int) -> tuple[int, ...] | None:
    if isinstance(records.payload, np.ndarray):
        return tuple(records.payload.shape[1:])
    data = records.payload[position].as_py()
    try:
        header = read_header(data or b"")
    except ImageError:
        return None
    upright = header.orientation < _TURNED
    sides = (header.height, header.width) if upright else (header.width, header.height)
    return (*sides, 1 if header.channels == 1 else 3)


def iter_records(inputs: Sequence[str], selection: ColumnSelection, format: str) -> Iterator[Records]:
    """Read all records of an input in the order of the shards, in batches.

    Args:
      inputs: URIs, as ``find_shards`` takes them.
      selection: what is read of each record.
      format: of the shards; ``auto`` to recognise it.

    Raises:
      InputError: as of ``find_shards`` and ``settle``.
      ShardError: a shard is damaged.
    """
    found = _found(inputs, selection, format)
    columns = settle(found, selection)
    for unit in make_units(found):
        for raw in FORMATS[unit.format].reader.read(unit, columns.of(unit.format), _BATCH):
            yield raw.records()


def iter_pairs(
    inputs: Sequence[str], seconds: Sequence[str], selection: ColumnSelection, format: str
) -> Iterator[Paired]:
    """Read all records of an input, each with the one of the same key in a second input.

    The shards of both have the same names, and their records the same keys in the same order, as those of a job and of
    its reference images have.

    Args:
      inputs: URIs, as ``find_shards`` takes them.
      seconds: likewise.
      selection: what is read of each record, in both.
      format: of the shards of ``inputs``; ``auto`` to recognise it.

    Yields:
      Batches, whose ``clean`` are the records of the second input.

    Raises:
      InputError: as of ``find_shards`` and ``settle``, or a shard has no partner or several.
      ShardError: a shard is damaged, or its partner has other keys or another number of records.
    """
    found = _found(inputs, selection, format)
    second, shards = find_reference(seconds, found, selection, "--pairs")
    columns = settle(found, selection)
    for unit in make_units(found, whole=True):
        read = FORMATS[unit.format].reader.read(unit, columns.of(unit.format), _BATCH)
        yield from paired(read, with_clean(unit, shards), second)


def _found(inputs: Sequence[str], selection: ColumnSelection, format: str) -> Found:
    """The shards of an input. Training copies no file to an output, so links may lead anywhere; some to nothing."""
    found = find_shards(inputs, format, follow_links=True)
    if (missing := found.passed_over.get(Why.LINK_MISSING)) is not None:
        _LOG.warning("%d links to nothing left out: %s", missing.count, listed(missing.examples, missing.count))
        there = {name: _there(some) for name, some in found.mixed.items()}
        found = replace(found, shards=_there(found.shards), mixed=there)
    # Nobody trains on one image or vector: a file alone is a stack of them.
    return told_apart(found, selection) if format == "auto" and len(found.shards) > 1 else found


def _there(shards: Sequence[Shard]) -> list[Shard]:
    return [shard for shard in shards if missing_link(shard) is None]

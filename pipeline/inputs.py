"""The pixels of an input as arrays: what training reads, by the same readers and decoder as the job."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.errors import InputError
from pipeline.images.base import ImageError, Target
from pipeline.images.decode import Decoder
from pipeline.images.headers import sniff
from pipeline.job import settle
from pipeline.listing import find_shards
from pipeline.plan import make_units
from pipeline.readers import Request, reader_for
from pipeline.records import Array, Records

_LOG = logging.getLogger(__name__)
_BATCH = 256
_TURNED = 5  # EXIF orientations from here on swap the sides


def iter_pixels(inputs: Sequence[str], *, target: Target, request: Request, format: str = "auto") -> Iterator[Array]:
    """Decoded records in the order of the shards, in arrays ``[n, H, W, C]`` or ``[n, d]`` of one dtype each.

    Records that the job would reject are left out, and their number by reason is logged.

    Raises:
      InputError: as ``find_shards`` and the readers do, or when no record is good.
      ShardError: a shard is damaged.
    """
    decoder = Decoder(target)
    left_out: Counter[str] = Counter()
    good = 0
    for records in iter_records(inputs, request, format):
        decoded = decoder.decode(records)
        left_out.update(str(fault.reason) for fault in decoded.faults.values())
        for group in decoded.groups:
            good += len(group.positions)
            yield group.pixels
    if left_out:
        _LOG.warning("%d records left out: %s", left_out.total(), dict(left_out))
    if not good:
        raise InputError(f"no record of {', '.join(inputs)} can be used: {dict(left_out)}")


def first_shape(inputs: Sequence[str], *, request: Request, format: str = "auto") -> tuple[int, ...]:
    """Shape of the first good record: (H, W, C), alpha not counted, or (d,).

    Raises:
      InputError: there is none among the first batch.
    """
    for records in iter_records(inputs, request, format):
        for position in range(len(records)):
            if position not in records.faults and (shape := _shape(records, position)):
                return shape
        break
    raise InputError(f"{', '.join(inputs)}: none of the first {_BATCH} records is an image or vector")


def _shape(records: Records, position: int) -> tuple[int, ...] | None:
    if isinstance(records.payload, np.ndarray):
        return tuple(records.payload.shape[1:])
    data = records.payload[position].as_py()
    try:
        header = sniff(data or b"")
    except ImageError:
        return None
    upright = header.orientation < _TURNED
    sides = (header.height, header.width) if upright else (header.width, header.height)
    return (*sides, 1 if header.channels == 1 else 3)


def iter_records(inputs: Sequence[str], request: Request, format: str) -> Iterator[Records]:
    """All records of the input in the order of the shards, in batches.

    Raises:
      InputError: as ``find_shards`` and the readers do.
      ShardError: a shard is damaged.
    """
    found = find_shards(inputs, format)
    columns = settle(found, request)
    for unit in make_units(found):
        for raw in reader_for(unit.format).read(unit, columns, _BATCH):
            yield raw.records()

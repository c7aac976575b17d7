"""Try some records at launch: a model that does not fit its input would reject the whole lake, hours later."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lake.core.errors import InputError
from lake.core.records import Array, Fault, Reason, Records, Shard, Unit
from lake.formats import FORMATS
from lake.formats.common.latent_files import latent_of
from lake.images import color, decode_one, geometry, white
from lake.images.decoder import Decoder
from lake.images.header import read_header
from lake.images.native_decoder import NativeDecoder
from lake.images.sized_decoder import SizedDecoder, sized
from lake.images.types import Header, ImageCodec, ImageError, Target
from pipeline.config import JobConfig
from pipeline.worker.conditions import read_conditions
from pipeline.worker.verbs import VERBS

_UNITS = 8  # tried, spread over the input
_RECORDS = 64  # tried in all
_FEWEST = 8  # records that say something about all others
_BRIGHT = 2.0  # where white is 1; highlights may be brighter
_BRIGHTEST = 8.0  # above this it is no noise either
_REMEDIES = {
    Reason.WRONG_SIZE: "or use a model of images of this size",
    Reason.WRONG_CHANNELS: "give --color convert, or use a model of such images",
    Reason.WRONG_LENGTH: "name another column with --image, or a model of such vectors; one of images in a line "
    "needs an export with --input-shape H W C",
    Reason.TOO_MANY_PIXELS: "raise --max-pixels",
    Reason.RECORD_TOO_LARGE: "raise --max-record-bytes",
    Reason.INVALID_CONDITION: "name another column with --condition-column, or mend the input",
    Reason.WRONG_SCALE: "say with --white what white is",
    Reason.NON_FINITE_INPUT: "name another column with --image, or mend the input",
}
_REMEDY = "name the images with --image or --format, or mend the input"  # for all other reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """A record that was tried.

    Attributes:
      where: the record, for a person.
      fault: why it would be rejected; None for a good one.
      brightest: largest number of floating pixels, 1 where strong noise explains it; None for others.
      dim: what to do about integers that use little of their type's range.
    """

    where: str
    fault: Fault | None = None
    brightest: float | None = None
    dim: str | None = None


def check_sample(units: Sequence[Unit], config: JobConfig, *, all_may_fail: bool) -> None:
    """Decode up to 64 records of up to 8 units, and refuse the job if none of them can be used.

    In nearly every job the first record is good, and no other one is read. A unit that cannot be read says nothing
    here: it fails by itself, and may be one of many.

    Args:
      units: all units of the input, done or not.
      config: the job.
      all_may_fail: whether the user allows that every record is rejected.

    Raises:
      InputError: every record would be rejected, or the pixels are on another scale; the text names the remedy.
    """
    tried: list[_Tried] = []
    for record in _sample(units, config):
        if record.fault is None and record.brightest is None:
            return
        tried.append(record)
    _check_scale(tried, config.target.white)
    if len(tried) >= _FEWEST and not all_may_fail and all(record.fault for record in tried):
        raise InputError(_refusal(tried))
    bright = [record for record in tried if record.brightest is not None]
    dim = [record for record in bright if record.dim]
    if len(dim) * 2 > len(bright):
        raise InputError(f"{dim[0].where}: integers that become floating pixels, with {dim[0].dim}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedRecords:
    """What some records of an input turned out to be.

    Attributes:
      units: from how many units they are.
      records: how many were tried.
      rejects: by reason, how many of them would be rejected, the most frequent first.
      examples: by reason, one of them, and what is wrong with it.
    """

    units: int
    records: int
    rejects: Mapping[str, int]
    examples: Mapping[str, str]


def try_records(units: Sequence[Unit], config: JobConfig) -> TriedRecords:
    """Decode up to 64 records of up to 8 units, spread over the input, and tell what they are.

    Args:
      units: all units of the input, done or not.
      config: the job.
    """
    tried = [*_sample(units, config)] if config.sampling is None else []
    faults = [(str(record.fault.reason), record) for record in tried if record.fault]
    examples = {reason: f"{record.where}: {record.fault.detail}" for reason, record in reversed(faults) if record.fault}
    return TriedRecords(
        units=min(_UNITS, len(units)),
        records=len(tried),
        rejects=dict(Counter(reason for reason, _ in faults).most_common()),
        examples=examples,
    )


def _refusal(tried: Sequence[_Tried]) -> str:
    reasons = [record.fault.reason for record in tried if record.fault]
    common = max(sorted(set(reasons)), key=reasons.count)
    such = next(record for record in tried if record.fault and record.fault.reason is common)
    assert such.fault is not None
    return (
        f"all of {len(tried)} records that were tried would be rejected, {reasons.count(common)} as {common}, such as "
        f"{such.where}: {such.fault.detail}; {_REMEDIES.get(common, _REMEDY)}, or run the job all the same with "
        "--max-reject-fraction 1"
    )


def _check_scale(tried: Sequence[_Tried], told: float) -> None:
    """Refuse an input whose images of floating pixels are mostly on another scale than the job says."""
    far = [record for record in tried if record.fault and record.fault.reason is Reason.WRONG_SCALE]
    floating = [record for record in tried if record.brightest is not None]
    bright = [record for record in floating if (record.brightest or 0.0) > _BRIGHT]
    if (len(far) + len(bright)) * 2 <= len(far) + len(floating):
        return
    if far:
        raise InputError(f"{far[0].where}: {far[0].fault and far[0].fault.detail}")
    such = max(bright, key=lambda record: record.brightest or 0.0)
    raise InputError(f"{such.where}: {white.scale_advice(np.array([such.brightest], np.float32), told)}")


def _sample(units: Sequence[Unit], config: JobConfig) -> Iterator[_Tried]:
    count = min(_UNITS, len(units))
    each = _RECORDS // max(count, 1)
    for number in range(count):
        unit = units[number * len(units) // count]
        try:
            yield from _try_unit(replace(unit, shards=_spread(unit.shards, each), clean=()), config, each)
        except Exception as error:  # whatever a unit raises, it is for the unit's own receipt to say
            logging.getLogger(__name__).debug("unit %s was not tried: %s", unit.id, error)


def _spread(shards: Sequence[Shard], most: int) -> tuple[Shard, ...]:
    step = max(1, len(shards) // most)
    return tuple(shards[at] for at in range(0, min(len(shards), step * most), step))


def _try_unit(unit: Unit, config: JobConfig, most: int) -> Iterator[_Tried]:
    columns = replace(config.columns.of(unit.format), salvage=False)
    left = most
    # Closed at once: a reader holds its file open, and reads ahead.
    with closing(iter(FORMATS[unit.format].reader.read(unit, columns, most))) as batches:  # type: ignore[type-var]
        for raw in batches:
            records = raw.records()
            outcomes = zip(range(min(left, len(records))), _outcomes(records, config), strict=False)
            for position, outcome in outcomes:
                yield _Tried(where=_where(records, position), **outcome._asdict())
            left -= len(records)
            if left <= 0:
                return


def _where(records: Records, position: int) -> str:
    shard = records.shard if isinstance(records.shard, str) else records.shard[position]
    return f"{shard}[{int(records.index[position])}]"


class _Outcome(NamedTuple):
    """As of ``_Tried``."""

    fault: Fault | None = None
    brightest: float | None = None
    dim: str | None = None


def _outcomes(records: Records, config: JobConfig) -> Iterable[_Outcome]:
    faults: dict[int, Fault] = {}
    read_conditions(records, config.condition, faults)
    for position, outcome in enumerate(_decoded(records, config)):
        told = faults.get(position) if outcome.fault is None else None
        yield outcome if told is None else _Outcome(told)


def _decoded(records: Records, config: JobConfig) -> Iterable[_Outcome]:
    if isinstance(records.payload, np.ndarray):
        return _of_arrays(records, config)
    return (_of_file(records, position, config) for position in range(len(records)))


def _of_arrays(records: Records, config: JobConfig) -> list[_Outcome]:
    faults: dict[int, Fault] = {}
    if config.decoding.any_size or _is_native(config):
        groups = list(_many_sizes(config).groups(records, faults))
    else:
        decoded = Decoder(config.decoding).decode(records)
        groups, faults = list(decoded.groups), dict(decoded.faults)
    brightest = {
        position: _brightest(pixels)
        for group in groups
        for position, pixels in zip(group.positions.tolist(), group.pixels, strict=True)
    }
    return [_Outcome(faults.get(position), brightest.get(position)) for position in range(len(records))]


def _of_file(records: Records, position: int, config: JobConfig) -> _Outcome:
    if (fault := records.faults.get(position)) is not None:
        return _Outcome(fault)
    data = records.payload[position].as_py()
    if data is None:
        return _Outcome(ImageError(Reason.MISSING_IMAGE, "no image").fault())
    try:
        if config.columns.shaped:
            latent_of(data, config.decoding.shape[2] or 0)
            return _Outcome()
        header = read_header(data, config.decoding.max_pixels)
        pixels = _decode(data, header, config.decoding, native=_is_native(config))
    except ImageError as error:
        return _Outcome(error.fault())
    if pixels is None or (brightest := _brightest(pixels)) is None:
        return _Outcome()
    told = config.decoding.white != 1
    return _Outcome(None, brightest, None if told else white.advice_for_dim(float(np.max(pixels)), header))


def _decode(data: bytes, header: Header, target: Target, *, native: bool) -> Array | None:
    """Decode an image; None for one that is good by its header, and that only TensorFlow could decode."""
    if len(target.shape) != 3:
        raise ImageError(Reason.WRONG_TYPE, "an image, and the model takes vectors")
    if native and not target.any_size:
        size = header.height, header.width
        geometry.fits(size[::-1] if decode_one.turn_of(header, target) >= 5 else size, target.size, target.resize)
    if not native:
        target = sized(target, decode_one.upright_size(header, target)) if target.any_size else target
        decode_one.admit(header, target)
    if header.format is ImageCodec.PNG and header.depth == 16:
        return None
    if native:
        color.restorable(header, target.shape[2] or 1)
        return white.image_at_one(decode_one.decode_stored(data, header), white.white_of(header, target))
    return decode_one.decode_one(data, header, target)


def _is_native(config: JobConfig) -> bool:
    return VERBS[config.verb].takes_noise_level


def _many_sizes(config: JobConfig) -> NativeDecoder | SizedDecoder:
    return NativeDecoder(config.decoding) if _is_native(config) else SizedDecoder(config.decoding)


def _brightest(pixels: Array) -> float | None:
    if pixels.ndim != 3 or not np.issubdtype(pixels.dtype, np.floating) or not pixels.size:
        return None
    most = float(np.max(pixels))
    return 1.0 if most <= _BRIGHTEST and np.mean(pixels) <= 1 else most

"""One batch: parse, decode, model, columns. Runs on a thread of the pool, mostly outside the interpreter lock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.config import Verb
from pipeline.images.base import Group
from pipeline.records import NON_FINITE, Array, Fault, RawBatch, Records, Reject
from pipeline.worker import Worker
from pipeline.writers.latents import latent_column


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What one batch gives: ``read = rows.num_rows + len(rejects)``."""

    read: int
    rows: pa.RecordBatch  # of the latent table's schema, in the order of the source
    rejects: Sequence[Reject]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Numbers:
    """What the model gave for some positions of a batch."""

    positions: Array  # int64 [m]
    latents: Array  # float32 [m, D]
    mse: Array | None = None  # float32 [m]


def run_batch(raw: RawBatch, *, worker: Worker, verb: Verb, schema: pa.Schema) -> BatchResult:
    """Make latents (and errors) of one batch; a bad record costs itself alone."""
    records = raw.records()
    decoded = worker.decoder.decode(records)
    faults = dict(decoded.faults)
    numbers = _join(
        [_apply(group, worker, verb) for group in decoded.groups], worker.runtime.spec.latent.dimension, verb
    )
    finite = _finite(numbers)
    faults.update({int(p): NON_FINITE for p in numbers.positions[~finite]})
    rows = _rows(records, numbers, finite, schema)
    return BatchResult(read=len(records), rows=rows, rejects=_rejects(records, faults))


def _apply(group: Group, worker: Worker, verb: Verb) -> _Numbers:
    if verb is Verb.ENCODE:
        return _Numbers(positions=group.positions, latents=worker.runtime.encode(group.pixels))
    made = worker.runtime.reconstruct(group.pixels)
    return _Numbers(positions=group.positions, latents=made.latents, mse=made.mse)


def _join(parts: Sequence[_Numbers], dimension: int, verb: Verb) -> _Numbers:
    """The parts as one, in the order of the batch. Nearly always there is a single part, whose arrays pass through."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        mse = np.empty(0, np.float32) if verb is Verb.RECONSTRUCT else None
        return _Numbers(positions=np.empty(0, np.int64), latents=np.empty((0, dimension), np.float32), mse=mse)
    positions = np.concatenate([part.positions for part in parts])
    order = np.argsort(positions)
    errors = [part.mse for part in parts if part.mse is not None]
    return _Numbers(
        positions=positions[order],
        latents=np.concatenate([part.latents for part in parts])[order],
        mse=np.concatenate(errors)[order] if errors else None,
    )


def _finite(numbers: _Numbers) -> Array:
    finite: Array = np.isfinite(numbers.latents).all(axis=1)
    return finite if numbers.mse is None else finite & np.isfinite(numbers.mse)


def _rows(records: Records, numbers: _Numbers, finite: Array, schema: pa.Schema) -> pa.RecordBatch:
    whole = bool(finite.all())
    positions = numbers.positions if whole else numbers.positions[finite]
    latents = numbers.latents if whole else numbers.latents[finite]
    take = None if len(positions) == len(records) else pa.array(positions)
    columns = [_pick(records.key, take), _shard_column(records, positions), pa.array(records.index[positions])]
    columns.append(latent_column(latents))
    if numbers.mse is not None:
        mse = numbers.mse if whole else numbers.mse[finite]
        columns += [pa.array(mse), pa.array(psnr(mse))]
    columns += [_pick(column, take) for column in records.carried.values()]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def psnr(mse: Array) -> Array:
    """Peak signal-to-noise ratio in dB of mean squared errors of pixels in 0..1; infinite where the error is 0."""
    with np.errstate(divide="ignore"):
        ratio: Array = (-10 * np.log10(mse.astype(np.float64))).astype(np.float32)
    return ratio


def _pick(column: pa.Array, take: pa.Array | None) -> pa.Array:
    return column if take is None else column.take(take)


def _shard_column(records: Records, positions: Array) -> pa.Array:
    if isinstance(records.shard, str):
        codes = pa.array(np.zeros(len(positions), np.int32))
        return pa.DictionaryArray.from_arrays(codes, pa.array([records.shard]))
    return pa.array([records.shard[p] for p in positions], pa.string()).dictionary_encode()


def _rejects(records: Records, faults: Mapping[int, Fault]) -> list[Reject]:
    return [_reject(records, position, faults[position]) for position in sorted(faults)]


def _reject(records: Records, position: int, fault: Fault) -> Reject:
    shard = records.shard if isinstance(records.shard, str) else records.shard[position]
    return Reject(
        shard=shard,
        index=int(records.index[position]),
        key=records.key[position].as_py(),
        stage=fault.stage,
        reason=fault.reason,
        detail=fault.detail,
        data=fault.data if fault.data is not None else _original(records.payload, position),
    )


def _original(payload: pa.Array | Array, position: int) -> bytes | None:
    if isinstance(payload, np.ndarray):
        return bytes(payload[position].tobytes())
    data: bytes | None = payload[position].as_py()
    return data

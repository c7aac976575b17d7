"""Every image without its noise, and as it is otherwise: its size, channels, depth and alpha."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from model.calls import Failed
from model.denoise import Denoiser
from pipeline.config import JobConfig
from pipeline.errors import ShardError
from pipeline.gallery import Pictures, gallery_for
from pipeline.images.base import Group, ImageError
from pipeline.images.headers import sniff
from pipeline.images.second import native_decoder
from pipeline.metrics import compare, psnr
from pipeline.noise import estimate
from pipeline.readers.base import BATCH_BYTES
from pipeline.records import NON_FINITE, Array, Fault, RawBatch, Reason, Records, Stage
from pipeline.reference import Paired
from pipeline.verbs.base import BatchResult, batch_result, model_faults, table_rows
from pipeline.worker import Worker
from pipeline.writers.metrics import metrics_schema

_WHITE = 255.0  # the scale of noise levels
# Batches are what the cores share: thumbnails are many in one, a photograph, which takes a second, has few beside it.
_FEW = 64
_ROOM = 1 << 19
_LARGE = 1 << 24  # an image of more pixels is denoised while no other large one is, to bound memory

_one_large = BoundedSemaphore(1)


class Measured(NamedTuple):
    """One row of the metrics."""

    height: int
    width: int
    level: float | None  # the noise that the model was told of, where white is 255
    mse: float  # output against input, pixels in 0..1
    clean: tuple[float, float] | None  # PSNR in dB and SSIM, output against reference


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """One batch on its way: every position ends in ``measured``, with its picture, or in ``faults``."""

    records: Records
    pictures: Pictures
    faults: dict[int, Fault]
    measured: dict[int, Measured] = field(default_factory=dict)


class Denoise:
    """Images by a model of any or of a fixed size, and what they gained."""

    def __init__(self, config: JobConfig, worker: Worker) -> None:
        self._config, self._worker = config, worker
        self._denoiser = Denoiser(worker.runtime)
        self._decoder = native_decoder(config.target, config.retry.target if config.retry else None)
        self._gallery = gallery_for(config)
        any_size = worker.runtime.spec.input.any_size
        self.size = _FEW if any_size else worker.runtime.batch_size
        self.room = _ROOM if any_size else BATCH_BYTES
        self.schema: pa.Schema = metrics_schema(config.columns.carry, config.reference is not None)

    def run(self, raw: RawBatch) -> BatchResult:
        """Denoise one batch."""
        assert self._gallery is not None
        records = raw.records()
        batch = _Batch(records=records, faults=dict(records.faults), pictures=Pictures(self._gallery, records))
        with _alone_if_large(records, self._config.target.max_pixels):
            clean = self._clean(raw)
            for group in self._decoder.groups(records, batch.faults):
                self._denoise(group, clean, batch)
        positions = np.array(sorted(batch.measured), np.int64)
        columns = self._columns([batch.measured[position] for position in positions.tolist()])
        rows = table_rows(records, positions, columns, self.schema)
        return batch_result(records, positions, batch.faults, rows, batch.pictures)

    def _denoise(self, group: Group, clean: Mapping[int, Array] | None, batch: "_Batch") -> None:
        levels, told = self._levels(batch.records, group, batch.faults)
        positions, pixels = group.positions[told], group.pixels[told] if not told.all() else group.pixels
        if not len(positions):
            return
        failed: Failed = {}
        made = self._denoiser.denoise(pixels, None if levels is None else levels[told] / np.float32(_WHITE), failed)
        faults = dict.fromkeys(positions[~np.isfinite(made.mse)].tolist(), NON_FINITE)
        faults |= model_faults(positions, failed)
        for at, position in enumerate(positions.tolist()):
            fault = faults.get(position)
            if fault := fault or batch.pictures.add(position, made.pixels[at], pixels[at]):
                batch.faults[position] = fault
                continue
            height, width = pixels.shape[1:3]
            level = None if levels is None else float(levels[told][at])
            against = None if clean is None else _compare(batch.records, position, made.pixels[at], clean[position])
            batch.measured[position] = Measured(height, width, level, float(made.mse[at]), against)

    def _levels(self, records: Records, group: Group, faults: dict[int, Fault]) -> tuple[Array | None, Array]:
        """Noise levels float32 ``[m]`` of a group, where white is 255, and who has one, bool ``[m]``."""
        noise, count = self._config.noise, len(group.positions)
        if noise is None:
            return None, np.ones(count, bool)
        if noise.level is not None:
            return np.full(count, noise.level, np.float32), np.ones(count, bool)
        if noise.column is None:
            found = [estimate(image) * _WHITE for image in group.pixels]
            return np.array(found, np.float32), np.ones(count, bool)
        column = records.carried[noise.column].cast(pa.float32())
        levels = column.take(pa.array(group.positions)).to_numpy(zero_copy_only=False)
        good: Array = np.isfinite(levels) & (levels >= 0)
        detail = f"column {noise.column!r} has no noise level for it"
        fault = Fault(stage=Stage.MODEL, reason=Reason.WRONG_TYPE, detail=detail)
        faults.update(dict.fromkeys(group.positions[~good].tolist(), fault))
        return levels, good

    def _clean(self, raw: RawBatch) -> Mapping[int, Array] | None:
        """The reference images of a batch by position."""
        if not isinstance(raw, Paired):
            return None
        found: dict[int, Array] = {}
        for start, piece in raw.clean:
            faults: dict[int, Fault] = {}
            for group in self._decoder.groups(piece, faults):
                found.update(zip((group.positions + start).tolist(), group.pixels, strict=True))
            if faults:
                at, fault = min(faults.items())
                shard = piece.shard if isinstance(piece.shard, str) else piece.shard[at]
                raise ShardError(shard, f"reference {piece.key[at].as_py()!r} cannot be used: {fault.detail}")
        return found

    def _columns(self, rows: Sequence[Measured]) -> list[pa.Array]:
        mse = np.array([row.mse for row in rows], np.float32)
        columns = [
            pa.array([row.height for row in rows], pa.int32()),
            pa.array([row.width for row in rows], pa.int32()),
            pa.array([row.level for row in rows], pa.float32()),
            pa.array(mse),
            pa.array(psnr(mse)),
        ]
        if self._config.reference is not None:
            clean = np.array([row.clean for row in rows], np.float32).reshape(len(rows), 2)
            columns += [pa.array(values) for values in clean.T]
        return columns


def _compare(records: Records, position: int, output: Array, clean: Array) -> tuple[float, float]:
    try:
        return compare(output, clean)
    except ValueError as error:
        shard = records.shard if isinstance(records.shard, str) else records.shard[position]
        raise ShardError(shard, f"record {records.key[position].as_py()!r}: {error}; mend --reference") from error


@contextmanager
def _alone_if_large(records: Records, max_pixels: int) -> Iterator[None]:
    """Hold the process's one place for large images, if there is one in the batch."""
    if not _has_large(records, max_pixels):
        yield
        return
    with _one_large:
        yield


def _has_large(records: Records, max_pixels: int) -> bool:
    if isinstance(records.payload, np.ndarray):
        return len(records) > 0 and records.payload[0].size > _LARGE
    return any(_pixels(data.as_py(), max_pixels) > _LARGE for data in records.payload if data.is_valid)


def _pixels(data: bytes, max_pixels: int) -> int:
    try:
        header = sniff(data, max_pixels)
    except ImageError:  # the decoder will say it
        return 0
    return header.width * header.height

"""Latents of every record, and what the model makes of it again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from model.calls import Failed
from model.pixels import to_pixels
from pipeline.config import JobConfig
from pipeline.gallery import Pictures, gallery_for
from pipeline.images.base import Group
from pipeline.metrics import psnr
from pipeline.readers.base import BATCH_BYTES
from pipeline.records import NON_FINITE, Array, Fault, RawBatch, Records
from pipeline.verbs.base import BatchResult, batch_result, model_faults, surviving, table_rows
from pipeline.worker import Worker
from pipeline.writers.latents import latent_column, latent_schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What the model gave for some positions of a batch.

    positions: int64 ``[m]``, ascending.
    columns: latents float32 ``[m, D]``, then variances ``[m, D]`` or errors ``[m]``, as the verb has them.
    output: float32 ``[m, H, W, C]`` in the model's value range, of a verb that gives images.
    faults: of the positions that the model fails for; what stands there in the columns and the output is NaN.
    """

    positions: Array
    columns: Sequence[Array]
    output: Array | None = None
    faults: Mapping[int, Fault] = field(default_factory=dict)


class Encode:
    """Latents, one row for every record; on request with their variances."""

    room = BATCH_BYTES
    errors = False

    def __init__(self, config: JobConfig, worker: Worker) -> None:
        self.worker, self._decoder, self._variance = worker, worker.decoder, config.variance
        self._dimension = worker.runtime.spec.dimension
        self.gallery = gallery_for(config)
        self.size = worker.runtime.batch_size
        self.schema: pa.Schema = latent_schema(self._dimension, self.errors, config.columns.carry, self._variance)

    def run(self, raw: RawBatch) -> BatchResult:
        """Latents of one batch."""
        records = raw.records()
        decoded = self._decoder.decode(records)
        faults = dict(decoded.faults)
        parts = [self.made(group) for group in decoded.groups]
        made = self._joined(parts)
        faults.update({int(p): NON_FINITE for p in made.positions[~_finite(made.columns)]})
        for part in parts:
            faults.update(part.faults)
        pictures = self._pictures(records, zip(decoded.groups, parts, strict=True), faults)
        good = surviving(made.positions, faults)
        return batch_result(records, made.positions[good], faults, self._rows(records, made, good), pictures)

    def made(self, group: Group) -> Made:
        """What the model gives for one group."""
        runtime, pixels = self.worker.runtime, group.pixels
        failed: Failed = {}
        columns = runtime.encode_variance(pixels, failed) if self._variance else [runtime.encode(pixels, failed)]
        return Made(positions=group.positions, columns=columns, faults=model_faults(group.positions, failed))

    def arrow(self, columns: Sequence[Array]) -> list[pa.Array]:
        """The model's numbers as columns of the table."""
        return [latent_column(column) for column in columns]

    def _pictures(
        self, records: Records, made: Iterable[tuple[Group, Made]], faults: dict[int, Fault]
    ) -> Pictures | None:
        if self.gallery is None:
            return None
        pictures, value_range = Pictures(self.gallery, records), self.worker.runtime.spec.input.value_range
        for group, part in made:
            assert part.output is not None
            output = to_pixels(part.output, value_range, group.pixels.dtype)
            for position, image, pixels in zip(group.positions.tolist(), output, group.pixels, strict=True):
                if position not in faults and (fault := pictures.add(position, image, pixels)):
                    faults[position] = fault
        return pictures

    def _joined(self, parts: Sequence[Made]) -> Made:
        """The parts as one, in the order of the batch. Nearly always there is a single part, which passes through."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return Made(positions=np.empty(0, np.int64), columns=self._nothing())
        positions = np.concatenate([part.positions for part in parts])
        order = np.argsort(positions)
        columns = zip(*(part.columns for part in parts), strict=True)
        return Made(positions=positions[order], columns=[np.concatenate(column)[order] for column in columns])

    def _nothing(self) -> list[Array]:
        latents, errors = np.empty((0, self._dimension), np.float32), np.empty(0, np.float32)
        return [latents, *([latents] if self._variance else []), *([errors] if self.errors else [])]

    def _rows(self, records: Records, made: Made, good: Array) -> pa.RecordBatch:
        whole = bool(good.all())
        columns = made.columns if whole else [column[good] for column in made.columns]
        positions = made.positions if whole else made.positions[good]
        return table_rows(records, positions, self.arrow(columns), self.schema)


class Reconstruct(Encode):
    """Latents, errors and, unless they are not wanted, what the model makes of every image."""

    errors = True

    def made(self, group: Group) -> Made:
        failed: Failed = {}
        made = self.worker.runtime.reconstruct(group.pixels, failed)
        return Made(
            positions=group.positions,
            columns=[made.latents, made.mse],
            output=made.output if self.gallery else None,
            faults=model_faults(group.positions, failed),
        )

    def arrow(self, columns: Sequence[Array]) -> list[pa.Array]:
        latents, mse = columns
        return [latent_column(latents), pa.array(mse), pa.array(psnr(mse))]


def _finite(columns: Sequence[Array]) -> Array:
    """Where all numbers of a record are finite, bool ``[m]``."""
    finite = [np.isfinite(column).all(axis=tuple(range(1, column.ndim))) for column in columns]
    every: Array = np.logical_and.reduce(finite)
    return every

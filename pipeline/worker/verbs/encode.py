"""The verbs ``encode`` and ``reconstruct``: latents of images or vectors, and what the model makes of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import ClassVar

import numpy as np
import pyarrow as pa

from lake.cli.option import Option
from lake.cli.options import INPUT, STORES
from lake.core.records import NON_FINITE, Array, Fault, RawBatch, Records
from lake.core.stopwatch import spent_on
from lake.formats.common.identity_columns import table_rows
from lake.images.quality import psnr
from lake.images.turns import in_turn
from lake.images.types import Group
from model.pixels import to_pixels
from model.runtime.batching import Failed
from pipeline.config import JobConfig
from pipeline.options.flags import CONDITION_COLUMN, HASH, MODEL, PARTITION_BY, REUSE, RUN, VARIANCE
from pipeline.options.image_flags import BUCKETS, ERROR_MAP, IMAGES, NO_IMAGES
from pipeline.options.latent_flags import LATENT, LATENT_FORMAT, MADE, STORED
from pipeline.options.latent_form import LatentForm
from pipeline.options.table_flags import LAKE_TABLE
from pipeline.output.layout import LATENTS
from pipeline.output.units.latent_columns import LatentColumns
from pipeline.output.units.tables import latent_schema
from pipeline.worker.conditions import read_conditions, told_of, with_conditions
from pipeline.worker.image_outputs import BatchImages, image_outputs_for
from pipeline.worker.make_latents import LatentMaker
from pipeline.worker.process import Worker
from pipeline.worker.record_hashes import RecordHashes
from pipeline.worker.reused_latents import NONE_KNOWN, KnownLatents, ReusedLatents, decode_others
from pipeline.worker.verbs.verb import BatchResult, Verb, batch_result, model_faults, without_fault


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResults:
    """What the model computed for some records of a batch.

    Attributes:
      positions: positions of the records in the batch, int64 ``[m]``, ascending.
      columns: latents float32 ``[m, D]``, followed by variances ``[m, D]`` or errors ``[m]`` if the verb has them.
      output: reconstructions float32 ``[m, H, W, C]`` in the model's value range; None if no images are written.
      faults: faults of the records for which the model raised an error; their rows in the arrays are NaN.
    """

    positions: Array
    columns: Sequence[Array]
    output: Array | None = None
    faults: Mapping[int, Fault] = field(default_factory=dict)


class Encode(Verb):
    """Latents of every record, and on request their variances.

    ``Reconstruct`` overrides ``compute`` and ``to_arrow``.
    """

    name = "encode"
    help = "latent vectors of every image, as Parquet"
    example = "latentlake encode --input 'shards/*.tfrecord' --model bundle --output latents"
    flags: ClassVar[tuple[Option, ...]] = (
        *MODEL,
        *INPUT,
        *BUCKETS,
        CONDITION_COLUMN,
        VARIANCE,
        LATENT,
        LATENT_FORMAT,
        *STORED,
        *MADE,
        HASH,
        PARTITION_BY,
        *LAKE_TABLE,
        REUSE,
        *RUN,
        *STORES,
    )
    function = "encode"
    table = LATENTS
    errors = False

    def __init__(self, config: JobConfig, worker: Worker) -> None:
        self.worker, self._decoder = worker, worker.decoder
        self.image_outputs = image_outputs_for(config)
        self.size, self._hashes, self._condition = worker.runtime.batch_size, config.hashes, config.condition
        self._columns = LatentColumns.of(config, worker.runtime.spec.dimension)
        self._maker = LatentMaker(worker.runtime, config.latents or LatentForm(), variance=config.variance)
        self.encoding = self._columns.encoding
        self.schema: pa.Schema = latent_schema(self._columns, self.errors, config.columns.carry, config.hashes)
        self._reused = ReusedLatents(config.reuse, self.schema, self._columns.all_names) if config.reuse else None

    def run(self, raw: RawBatch) -> BatchResult:
        """Encode one batch."""
        records = raw.records()
        hashes = RecordHashes(records) if self._hashes else None
        known = NONE_KNOWN if self._reused is None or hashes is None else self._reused.of(records, hashes)
        decoded = decode_others(self._decoder, records, known.positions)
        faults = dict(decoded.faults)
        told = read_conditions(records, self._condition, faults)
        groups = list(with_conditions(decoded.groups, told, faults))
        parts = [self.compute(group, records, told) for group in groups]
        made = self._joined(parts)
        # The model's own errors come later and win: their rows are NaN only because nothing was computed.
        faults.update({int(p): NON_FINITE for p in made.positions[~_finite(made.columns)]})
        for part in parts:
            faults.update(part.faults)
        batch_images = self._batch_images(records, zip(groups, parts, strict=True), faults)
        good = without_fault(made.positions, faults)
        if hashes is not None:
            hashes.add_all(decoded.groups)
        positions, rows, clipped = self._rows(records, made, good, hashes, known)
        result = batch_result(records, positions, faults, rows, batch_images, decoded.several)
        return replace(result, clipped=clipped, reused=len(known))

    def compute(self, group: Group, records: Records, told: Array | None) -> ModelResults:
        """Run the model on one group of records.

        Args:
          group: decoded records of one shape and dtype.
          records: the batch that they are of.
          told: what a conditional model is told of all of these; None for another model.
        """
        failed: Failed = {}
        columns = self._maker.columns(group, records, failed, told)
        return ModelResults(positions=group.positions, columns=columns, faults=model_faults(group.positions, failed))

    def to_arrow(self, columns: Sequence[Array]) -> tuple[list[pa.Array], int]:
        """Convert the model's arrays to columns of the table, and count the numbers that were clipped."""
        return self._columns.arrays(columns)

    def _batch_images(
        self, records: Records, made: Iterable[tuple[Group, ModelResults]], faults: dict[int, Fault]
    ) -> BatchImages | None:
        if self.image_outputs is None:
            return None
        batch_images, value_range = BatchImages(self.image_outputs, records), self.worker.runtime.spec.output_range
        for group, part in made:
            assert part.output is not None
            output = to_pixels(part.output, value_range, group.pixels.dtype)
            images = zip(group.positions.tolist(), output, group.pixels, strict=True)
            with in_turn(prod(output.shape[1:])), spent_on("write"):
                for position, image, pixels in images:
                    if position not in faults and (fault := batch_images.add(position, image, pixels)):
                        faults[position] = fault
        return batch_images

    def _joined(self, parts: Sequence[ModelResults]) -> ModelResults:
        """Join the parts in the order of the batch."""
        # Nearly every batch has images of one dtype, hence a single part: it is passed on without a copy.
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return ModelResults(positions=np.empty(0, np.int64), columns=self._empty_columns())
        positions = np.concatenate([part.positions for part in parts])
        order = np.argsort(positions)
        columns = zip(*(part.columns for part in parts), strict=True)
        return ModelResults(positions=positions[order], columns=[np.concatenate(column)[order] for column in columns])

    def _empty_columns(self) -> list[Array]:
        return [*self._columns.empty(), *([np.empty(0, np.float32)] if self.errors else [])]

    def _rows(
        self, records: Records, made: ModelResults, good: Array, hashes: RecordHashes | None, known: KnownLatents
    ) -> tuple[Array, pa.RecordBatch, int]:
        whole = bool(good.all())
        columns = made.columns if whole else [column[good] for column in made.columns]
        positions = made.positions if whole else made.positions[good]
        arrays, clipped = self.to_arrow(columns)
        if len(known):
            positions, arrays = known.joined(positions, arrays, self._columns.all_names)
        hashed = hashes.arrays(positions) if hashes else []
        return positions, table_rows(records, positions, [*arrays, *hashed], self.schema), clipped


class Reconstruct(Encode):
    """Latents and reconstruction errors of every record, and its reconstruction unless ``--no-images`` is given."""

    name = "reconstruct"
    help = "reconstructions and latent vectors of every image, with the errors (mse, psnr)"
    example = "latentlake reconstruct --input images/ --model bundle --output scored"
    flags = (
        *MODEL,
        *INPUT,
        *BUCKETS,
        CONDITION_COLUMN,
        *IMAGES,
        NO_IMAGES,
        ERROR_MAP,
        LATENT_FORMAT,
        *STORED,
        HASH,
        PARTITION_BY,
        *LAKE_TABLE,
        *RUN,
        *STORES,
    )
    function = "reconstruct"
    makes_images = True
    works_without_images = True
    errors = True

    def compute(self, group: Group, records: Records, told: Array | None) -> ModelResults:  # noqa: ARG002
        failed: Failed = {}
        made = self.worker.runtime.reconstruct(group.pixels, failed, **told_of(told, group.positions))
        return ModelResults(
            positions=group.positions,
            columns=[made.latents, made.mse],
            output=made.output if self.image_outputs else None,
            faults=model_faults(group.positions, failed),
        )

    def to_arrow(self, columns: Sequence[Array]) -> tuple[list[pa.Array], int]:
        latents, mse = columns
        arrays, clipped = self._columns.arrays([latents])
        return [*arrays, pa.array(mse), pa.array(psnr(mse))], clipped


def _finite(columns: Sequence[Array]) -> Array:
    """Whether all numbers of a record are finite, bool ``[m]``."""
    finite = [np.isfinite(column).all(axis=tuple(range(1, column.ndim))) for column in columns]
    every: Array = np.logical_and.reduce(finite)
    return every

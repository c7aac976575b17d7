"""The verbs ``encode`` and ``reconstruct`` with a model of images of any size: latents keep their shapes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from lake.core.records import NON_FINITE, Array, Fault, RawBatch, Records
from lake.core.stopwatch import spent_on
from lake.formats.common.identity_columns import table_rows
from lake.images.buckets import crop_offset
from lake.images.fallback_decoder import group_decoder
from lake.images.quality import psnr
from lake.images.sized_decoder import SizedDecoder
from lake.images.types import Group
from model.pixels import to_pixels
from model.runtime.batching import Failed
from model.spatial import SpatialAutoencoder
from pipeline.config import JobConfig
from pipeline.options.latent_form import LatentForm
from pipeline.output.units.latent_columns import LatentColumns
from pipeline.output.units.tables import latent_schema, size_columns
from pipeline.worker.image_outputs import BatchImages, image_outputs_for
from pipeline.worker.make_latents import LatentMaker
from pipeline.worker.process import Worker
from pipeline.worker.record_hashes import RecordHashes
from pipeline.worker.verbs.encode import Encode, Reconstruct
from pipeline.worker.verbs.many_sizes import FEW, ROOM, alone_if_large, too_large
from pipeline.worker.verbs.verb import BatchResult, batch_result, model_faults


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One row of the table.

    Attributes:
      latents: float32 ``[h, w, c]`` for each column of latents.
      size: (height, width) of the image that was encoded.
      original: the same before it was resized.
      mse: of the reconstruction; None for ``encode``.
    """

    latents: Sequence[Array]
    size: tuple[int, int]
    original: tuple[int, int]
    mse: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """One batch in progress. Every position ends up in ``rows`` or in ``faults``."""

    records: Records
    batch_images: BatchImages | None
    faults: dict[int, Fault] = field(default_factory=dict)
    rows: dict[int, _Row] = field(default_factory=dict)
    several: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What the model gives for ``m`` images of one size.

    Attributes:
      columns: latents float32 ``[m, h, w, c]``, one array for each column.
      output: reconstructions ``[m, H, W, C]`` in the model's value range; None for ``encode``.
      mse: float32 ``[m]``, likewise.
    """

    columns: Sequence[Array]
    output: Array | None = None
    mse: Array | None = None

    def finite(self) -> Array:
        """Whether all numbers of an image are finite, bool ``[m]``."""
        arrays = (*self.columns, *(array for array in (self.output, self.mse) if array is not None))
        every: Array = np.logical_and.reduce([np.isfinite(a).all(axis=tuple(range(1, a.ndim))) for a in arrays])
        return every


class EncodeAnySize(Encode):
    """Latents of every record, of the image at its own size or at that of its bucket."""

    def __init__(self, config: JobConfig, worker: Worker) -> None:
        self.worker, self._config = worker, config
        self.model = SpatialAutoencoder(worker.runtime)
        self._groups = group_decoder(SizedDecoder, worker.target, *worker.second_targets)
        self.image_outputs = image_outputs_for(config)
        self.size, self.room = FEW, ROOM
        self._columns = LatentColumns.of(config, None)
        self._maker = LatentMaker(self.model, config.latents or LatentForm(), variance=config.variance)
        self.encoding = self._columns.encoding
        self._sizes = size_columns(config.target)
        carry, hashes = config.columns.carry, config.hashes
        self.schema: pa.Schema = latent_schema(self._columns, self.errors, carry, hashes, self._sizes)

    def run(self, raw: RawBatch) -> BatchResult:
        """Encode one batch."""
        records = raw.records()
        batch = _Batch(
            records=records, batch_images=BatchImages(self.image_outputs, records) if self.image_outputs else None
        )
        hashes = RecordHashes(records) if self._config.hashes else None
        with alone_if_large(records, self._config.target.max_pixels, self.worker.idle_threads):
            for group in self._groups.groups(records, batch.faults):
                batch.several.update(group.positions.tolist() if group.pages > 1 else ())
                self._add(group, batch)
                if hashes:
                    hashes.add(group)
        positions = np.array(sorted(batch.rows), np.int64)
        columns, clipped = self._arrays([batch.rows[position] for position in positions.tolist()])
        columns += hashes.arrays(positions) if hashes else []
        rows = table_rows(records, positions, columns, self.schema)
        result = batch_result(records, positions, batch.faults, rows, batch.batch_images, batch.several)
        return replace(result, clipped=clipped)

    def made(self, group: Group, records: Records, failed: Failed) -> _Made:
        """Run the model on images of one size and dtype."""
        return _Made(columns=self._maker.columns(group, records, failed))

    def _add(self, group: Group, batch: _Batch) -> None:
        height, width = group.pixels.shape[1:3]
        if not self.model.takes(height, width):
            batch.faults.update(dict.fromkeys(group.positions.tolist(), too_large(height, width)))
            return
        failed: Failed = {}
        made = self.made(group, batch.records, failed)
        faults = dict.fromkeys(group.positions[~made.finite()].tolist(), NON_FINITE)
        # The model's own errors win: their rows are NaN only because nothing was computed.
        faults |= model_faults(group.positions, failed)
        for at, position in enumerate(group.positions.tolist()):
            if fault := faults.get(position) or self._add_image(batch, position, made, group, at):
                batch.faults[position] = fault
                continue
            original = (height, width) if group.original is None else tuple(map(int, group.original[at]))
            batch.rows[position] = _Row(
                latents=[column[at] for column in made.columns],
                size=(height, width),
                original=(original[0], original[1]),
                mse=None if made.mse is None else float(made.mse[at]),
            )

    def _add_image(self, batch: _Batch, position: int, made: _Made, group: Group, at: int) -> Fault | None:
        if batch.batch_images is None or made.output is None:
            return None
        image = to_pixels(made.output[at], self.worker.runtime.spec.output_range, group.pixels.dtype)
        with spent_on("write"):
            return batch.batch_images.add(position, image, group.pixels[at])

    def _arrays(self, rows: Sequence[_Row]) -> tuple[list[pa.Array], int]:
        latents = [[row.latents[column] for row in rows] for column in range(len(self._columns.names))]
        arrays, clipped = self._columns.arrays(latents)
        arrays += [pa.array([_sizes(row)[name] for row in rows], pa.int32()) for name in self._sizes]
        if self.errors:
            mse = np.array([row.mse for row in rows], np.float32)
            arrays += [pa.array(mse), pa.array(psnr(mse))]
        return arrays, clipped


class ReconstructAnySize(EncodeAnySize, Reconstruct):
    """Latents, reconstructions and errors of every record, of the image as for ``EncodeAnySize``."""

    def made(self, group: Group, records: Records, failed: Failed) -> _Made:  # noqa: ARG002
        found = self.model.reconstruct(group.pixels, failed)
        return _Made(columns=[found.latents], output=found.output, mse=found.mse)


def _sizes(row: _Row) -> Mapping[str, int]:
    """The columns of sizes, by name."""
    top, left = crop_offset(row.original, row.size)
    return {
        "height": row.size[0],
        "width": row.size[1],
        "original_height": row.original[0],
        "original_width": row.original[1],
        "crop_top": top,
        "crop_left": left,
    }

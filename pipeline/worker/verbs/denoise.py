"""The verb ``denoise``: every image without its noise, at its own size, channels, depth and alpha."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from lake.cli.options import INPUT, STORES
from lake.core.errors import ShardError
from lake.core.records import (
    NON_FINITE,
    Array,
    Fault,
    RawBatch,
    Records,
)
from lake.core.stopwatch import spent_on
from lake.formats.common.identity_columns import table_rows
from lake.formats.reader import BATCH_BYTES
from lake.images.fallback_decoder import group_decoder
from lake.images.native_decoder import NativeDecoder
from lake.images.quality import compare, psnr
from lake.images.types import Group, Pages
from lake.inputs.reference import Paired
from model.denoiser import Denoised, Denoiser
from model.input_spec import NOISE_WHITE
from model.noise_range import count_outside
from model.photon_denoiser import denoise_photons
from model.runtime.batching import Failed
from pipeline.config import JobConfig
from pipeline.options.flags import HASH, MODEL, PARTITION_BY, RUN
from pipeline.options.image_flags import DENOISE, ERROR_MAP, IMAGES
from pipeline.output.layout import METRICS
from pipeline.output.units.tables import metrics_schema
from pipeline.worker.image_outputs import BatchImages, image_outputs_for
from pipeline.worker.process import Worker
from pipeline.worker.record_hashes import RecordHashes
from pipeline.worker.told_noise import (
    ToldNoise,
    cameras_of,
    in_source,
    mean_of_pages,
    noise_arrays,
    told_levels,
)
from pipeline.worker.verbs.many_sizes import FEW, ROOM, alone_if_large
from pipeline.worker.verbs.verb import BatchResult, Verb, batch_result, model_faults


class Measured(NamedTuple):
    """One row of the metrics table."""

    height: int
    width: int
    noise: ToldNoise | None  # what the model was told
    mse: float  # output against input, pixels in 0..1
    clean: tuple[float, float] | None  # PSNR in dB and SSIM, output against reference


class _Page(NamedTuple):
    """One page of a TIFF, denoised."""

    output: Array
    input: Array
    measured: Measured
    bands: bool  # as of ``Group``


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """One batch in progress. Every position ends up in ``measured``, with its image, or in ``faults``.

    ``several`` has the positions of files of which the first of several images was taken, ``stacks`` the pages so far
    of files of which all are.
    """

    records: Records
    batch_images: BatchImages
    faults: dict[int, Fault]
    measured: dict[int, Measured] = field(default_factory=dict)
    several: set[int] = field(default_factory=set)
    stacks: dict[int, list[_Page]] = field(default_factory=dict)
    hashes: RecordHashes | None = None


class Denoise(Verb):
    """Denoise images with a model of any or of a fixed size, and measure the change."""

    name = "denoise"
    help = "the same dataset with cleaner images, of any size and depth"
    example = "latentlake denoise --input photos/ --model zoo:denoiser-gray --noise-level 25 --output clean"
    flags = (*MODEL, *INPUT, *DENOISE, *IMAGES, ERROR_MAP, HASH, PARTITION_BY, *RUN, *STORES)
    function = "denoise"
    table = METRICS
    takes_noise_level = True
    makes_images = True

    def __init__(self, config: JobConfig, worker: Worker) -> None:
        self._config, self._worker = config, worker
        self._denoiser = Denoiser(worker.runtime, config.ensemble, worker.idle_threads)
        self._decoder = group_decoder(NativeDecoder, worker.target, *worker.second_targets)
        self._image_outputs = image_outputs_for(config)
        self._stacks = any(target.pages == Pages.ALL for target in (worker.target, *worker.second_targets))
        self._learned = worker.runtime.spec.noise_range
        self._estimates = config.noise is not None and config.noise.estimated
        any_size = worker.runtime.spec.input.any_size
        self.size = FEW if any_size else worker.runtime.batch_size
        self.room = ROOM if any_size else BATCH_BYTES
        self.schema: pa.Schema = metrics_schema(
            config.columns.carry, config.reference is not None, config.hashes, config.noise
        )

    def run(self, raw: RawBatch) -> BatchResult:
        """Denoise one batch."""
        assert self._image_outputs is not None
        records = raw.records()
        batch = _Batch(
            records=records,
            faults=dict(records.faults),
            batch_images=BatchImages(self._image_outputs, records),
            hashes=RecordHashes(records) if self._config.hashes else None,
        )
        with alone_if_large(records, self._config.target.max_pixels, self._worker.idle_threads):
            clean = self._clean(raw)
            for group in self._decoder.groups(records, batch.faults):
                if batch.hashes:
                    batch.hashes.add(group)
                batch.several.update(group.positions.tolist() if group.pages > 1 and not self._stacks else ())
                self._denoise(group, clean, batch)
        positions = np.array(sorted(batch.measured), np.int64)
        columns = self._columns([batch.measured[position] for position in positions.tolist()])
        columns += batch.hashes.arrays(positions) if batch.hashes else []
        rows = table_rows(records, positions, columns, self.schema)
        below, above = self._outside([batch.measured[position].noise for position in positions.tolist()])
        result = batch_result(records, positions, batch.faults, rows, batch.batch_images, batch.several)
        return replace(result, noise_below=below, noise_above=above)

    def _outside(self, noise: Sequence[ToldNoise | None]) -> tuple[int, int]:
        """How many levels are below and above what the model learned."""
        if self._learned is None:
            return 0, 0
        return count_outside([one.level for one in noise if one is not None], self._learned)

    def _denoise(self, group: Group, clean: Mapping[int, Array] | None, batch: "_Batch") -> None:
        told, has_level = self._told(batch, group)
        # Indexing with a mask copies, and nearly always every image has a level.
        pixels = group.pixels if has_level.all() else group.pixels[has_level]
        positions, bands = group.positions[has_level], group.bands
        if not len(positions):
            return
        failed: Failed = {}
        denoised, told = self._denoised(pixels, told, failed, bands=bands)
        faults = dict.fromkeys(positions[~np.isfinite(denoised.mse)].tolist(), NON_FINITE)
        faults |= model_faults(positions, failed)
        for at, position in enumerate(positions.tolist()):
            fault = faults.get(position)
            height, width = pixels.shape[1:3]
            noise = None if told is None else told[at]
            if self._stacks and group.pages > 1:
                measured = Measured(height, width, noise, float(denoised.mse[at]), None)
                page = _Page(denoised.pixels[at], pixels[at], measured, bands)
                number = group.page + at
                if not number:  # a retry begins again
                    batch.stacks[position] = []
                self._add_page(position, page, fault, number + 1 == group.pages, batch)
                continue
            with spent_on("write"):
                fault = fault or batch.batch_images.add(position, denoised.pixels[at], pixels[at], bands=bands)
            if fault:
                batch.faults[position] = fault
                continue
            both = None if clean is None else (denoised.pixels[at], clean[position])
            against = None if both is None else _compare(batch.records, position, *both, bands=bands)
            batch.measured[position] = Measured(height, width, noise, float(denoised.mse[at]), against)

    def _add_page(self, position: int, page: _Page, fault: Fault | None, last: bool, batch: "_Batch") -> None:
        """Add a page to its file, which is written with the last one. A page with a fault rejects the file."""
        if fault:
            batch.faults.setdefault(position, fault)
        if position in batch.faults:
            batch.stacks.pop(position, None)
            return
        pages = batch.stacks[position]
        pages.append(page)
        if not last:
            return
        del batch.stacks[position]
        outputs, inputs, _, bands = zip(*pages, strict=True)
        if fault := batch.batch_images.add_pages(position, outputs, inputs, bands):
            batch.faults[position] = fault
        else:
            batch.measured[position] = _over_pages([page.measured for page in pages])

    def _told(self, batch: _Batch, group: Group) -> tuple[list[ToldNoise] | None, Array]:
        """Return the noise of a group's images that have a level, and which do, bool ``[m]``.

        None for a model that is not told, and for noise of which the pixels have to be transformed first.
        """
        noise = self._config.noise
        if noise is None or noise.camera is not None:
            return None, np.ones(len(group.positions), bool)
        told, has_level = told_levels(noise, batch.records, group, batch.faults, colors=self._config.takes_colors)
        return [told[at] for at in np.flatnonzero(has_level).tolist()], has_level

    def _denoised(
        self, pixels: Array, told: list[ToldNoise] | None, failed: Failed, *, bands: bool
    ) -> tuple[Denoised, list[ToldNoise] | None]:
        """Denoise images of one shape, and return what the model was told of each."""
        noise, white = self._config.noise, self._config.target.white
        if noise is None or noise.camera is None:
            if told is None:
                return self._denoiser.denoise(pixels, None, failed, bands=bands), None
            levels = np.array([one.level for one in told], np.float32) / np.float32(NOISE_WHITE)
            return self._denoiser.denoise(pixels, levels, failed, estimated=self._estimates, bands=bands), told
        cameras = cameras_of(noise.camera, pixels, white, bands=bands, spots=noise.spots)
        denoised, levels = denoise_photons(
            self._denoiser, pixels, cameras, failed, estimated=self._estimates, bands=bands, spots=noise.spots
        )
        found = [in_source(own, pixels.dtype, white) for own in cameras]
        return denoised, [ToldNoise(float(v) * NOISE_WHITE, cameras=c) for v, c in zip(levels, found, strict=True)]

    def _clean(self, raw: RawBatch) -> Mapping[int, Array] | None:
        """Decode the reference images of a batch, by position; None for a job without a reference."""
        if not isinstance(raw, Paired):
            return None
        found: dict[int, Array] = {}
        for start, clean in raw.clean:
            faults: dict[int, Fault] = {}
            for group in self._decoder.groups(clean, faults):
                found.update(zip((group.positions + start).tolist(), group.pixels, strict=True))
            # The reference is the user's own claim, so a bad image in it fails the unit instead of rejecting the
            # record.
            if faults:
                at, fault = min(faults.items())
                shard = clean.shard if isinstance(clean.shard, str) else clean.shard[at]
                raise ShardError(shard, f"reference {clean.key[at].as_py()!r} cannot be used: {fault.detail}")
        return found

    def _columns(self, rows: Sequence[Measured]) -> list[pa.Array]:
        mse = np.array([row.mse for row in rows], np.float32)
        columns = [
            pa.array([row.height for row in rows], pa.int32()),
            pa.array([row.width for row in rows], pa.int32()),
            pa.array([row.noise and row.noise.level for row in rows], pa.float32()),
            pa.array(mse),
            pa.array(psnr(mse)),
        ]
        if self._config.reference is not None:
            clean = np.array([row.clean for row in rows], np.float32).reshape(len(rows), 2)
            columns += [pa.array(values) for values in clean.T]
        return columns + noise_arrays(self._config.noise, [row.noise for row in rows if row.noise])


def _over_pages(pages: Sequence[Measured]) -> Measured:
    """The row of a file of several pages: the first one's size, mean noise, and the error over all pixels."""
    areas = [page.height * page.width for page in pages]
    noise = [page.noise for page in pages if page.noise is not None]
    mse = float(np.average([page.mse for page in pages], weights=areas))
    return pages[0]._replace(noise=mean_of_pages(noise) if noise else None, mse=mse)


def _compare(records: Records, position: int, output: Array, clean: Array, *, bands: bool) -> tuple[float, float]:
    try:
        return compare(output, clean, bands=bands)
    except ValueError as error:
        shard = records.shard if isinstance(records.shard, str) else records.shard[position]
        raise ShardError(shard, f"record {records.key[position].as_py()!r}: {error}; correct --reference") from error

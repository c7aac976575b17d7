"""The verbs ``decode`` and ``generate``: images of latents, which are read from a table or sampled."""

from math import prod

import numpy as np

from lake.cli.options import STORES
from lake.core.records import NON_FINITE, Array, Fault, RawBatch
from lake.core.stopwatch import spent_on
from lake.images.turns import in_turn
from lake.images.types import Group
from model.pixels import to_pixels
from model.runtime.batching import Failed
from pipeline.config import JobConfig
from pipeline.options.flags import CONDITION_COLUMN, GENERATE, LATENTS, MODEL, RUN
from pipeline.options.image_flags import IMAGES
from pipeline.worker.conditions import read_conditions, told_of, with_conditions
from pipeline.worker.image_outputs import BatchImages, image_outputs_for
from pipeline.worker.process import Worker
from pipeline.worker.verbs.verb import BatchResult, Verb, batch_result, model_faults


class Decode(Verb):
    """Decode latents to images with 8 bits per channel."""

    name = "decode"
    help = "images of latent vectors"
    example = "latentlake decode --input latents/latents --model bundle --output decoded"
    flags = (*MODEL, *LATENTS, CONDITION_COLUMN, *IMAGES, *RUN, *STORES)
    function = "decode"
    takes_latents = True
    makes_images = True

    def __init__(self, config: JobConfig, worker: Worker) -> None:
        self._worker, self._decoder, self._image_outputs = worker, worker.decoder, image_outputs_for(config)
        self._condition = config.condition
        self.size = worker.runtime.batch_size

    def run(self, raw: RawBatch) -> BatchResult:
        """Decode one batch of latents."""
        assert self._image_outputs is not None
        records = raw.records()
        decoded = self._decoder.decode(records)
        faults, batch_images = dict(decoded.faults), BatchImages(self._image_outputs, records)
        told = read_conditions(records, self._condition, faults)
        for group in with_conditions(decoded.groups, told, faults):
            self._add(group, told, batch_images, faults)
        positions = np.array([p for p in range(len(records)) if p not in faults], np.int64)
        return batch_result(records, positions, faults, None, batch_images)

    def _add(self, group: Group, told: Array | None, batch_images: BatchImages, faults: dict[int, Fault]) -> None:
        failed: Failed = {}
        output = self._worker.runtime.decode(group.pixels, failed, **told_of(told, group.positions))
        # Checked before the conversion: NaN would become an arbitrary pixel.
        finite = np.isfinite(output).all(axis=tuple(range(1, output.ndim)))
        images = to_pixels(output[finite], self._worker.runtime.spec.output_range, np.dtype(np.uint8))
        faults.update(dict.fromkeys(group.positions[~finite].tolist(), NON_FINITE))
        faults.update(model_faults(group.positions, failed))
        with in_turn(prod(images.shape[1:])), spent_on("write"):
            for position, image in zip(group.positions[finite].tolist(), images, strict=True):
                if fault := batch_images.add(position, image):
                    faults[position] = fault


class Generate(Decode):
    """Decode latents that are sampled from the prior, or that lie between two encoded images."""

    name = "generate"
    help = "new images, sampled from the prior of a variational autoencoder or interpolated between two images"
    example = "latentlake generate --count 10000 --seed 1 --model zoo:mnist-vae --output digits"
    flags = (*MODEL, *GENERATE, *IMAGES, *RUN, *STORES)
    samples = True

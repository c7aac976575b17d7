"""Images of latents, read from a table or drawn."""

import numpy as np

from model.calls import Failed
from model.pixels import to_pixels
from pipeline.config import JobConfig
from pipeline.gallery import Pictures, gallery_for
from pipeline.images.base import Group
from pipeline.readers.base import BATCH_BYTES
from pipeline.records import NON_FINITE, Fault, RawBatch
from pipeline.verbs.base import BatchResult, batch_result, model_faults
from pipeline.worker import Worker


class Decode:
    """What the model makes of every latent: images of 8 bits."""

    room = BATCH_BYTES
    schema = None

    def __init__(self, config: JobConfig, worker: Worker) -> None:
        self._worker, self._decoder, self._gallery = worker, worker.decoder, gallery_for(config)
        self.size = worker.runtime.batch_size

    def run(self, raw: RawBatch) -> BatchResult:
        """Decode one batch."""
        assert self._gallery is not None
        records = raw.records()
        decoded = self._decoder.decode(records)
        faults, pictures = dict(decoded.faults), Pictures(self._gallery, records)
        for group in decoded.groups:
            self._add(group, pictures, faults)
        positions = np.array([p for p in range(len(records)) if p not in faults], np.int64)
        return batch_result(records, positions, faults, None, pictures)

    def _add(self, group: Group, pictures: Pictures, faults: dict[int, Fault]) -> None:
        failed: Failed = {}
        output = self._worker.runtime.decode(group.pixels, failed)
        finite = np.isfinite(output).all(axis=tuple(range(1, output.ndim)))
        images = to_pixels(output[finite], self._worker.runtime.spec.input.value_range, np.dtype(np.uint8))
        faults.update(dict.fromkeys(group.positions[~finite].tolist(), NON_FINITE))
        faults.update(model_faults(group.positions, failed))
        for position, image in zip(group.positions[finite].tolist(), images, strict=True):
            if fault := pictures.add(position, image):
                faults[position] = fault

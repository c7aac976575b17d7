"""The verb ``decode`` with a model of images of any size: latents of many shapes, and images of many sizes."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from lake.core.records import NON_FINITE, Array, Fault, RawBatch, Reason, Records
from lake.formats.common.latent_files import latent_of
from lake.images.decoder import present
from lake.images.types import ImageError
from model.pixels import to_pixels
from model.runtime.batching import Failed
from model.spatial import LARGEST_WHOLE, SpatialAutoencoder
from pipeline.config import JobConfig
from pipeline.output.units.tables import SIZE
from pipeline.worker.image_outputs import BatchImages, image_outputs_for
from pipeline.worker.process import Worker
from pipeline.worker.verbs.decode import Decode
from pipeline.worker.verbs.many_sizes import FEW
from pipeline.worker.verbs.verb import BatchResult, batch_result, model_faults

_ROOM = 1 << 22  # bytes of latents in a batch; what is made of them has dozens of times as many
_MOST = 1 << 22  # samples (pixels times channels) of a group of several images


class DecodeAnySize(Decode):
    """Decode latents to images with 8 bits per channel, cut to the sizes that the table says, if it says them."""

    def __init__(self, config: JobConfig, worker: Worker) -> None:
        self._worker, self._image_outputs, self._most = worker, image_outputs_for(config), config.target.max_pixels
        self._spec, self._model = worker.runtime.spec, SpatialAutoencoder(worker.runtime)
        self.size, self.room = FEW, _ROOM

    def run(self, raw: RawBatch) -> BatchResult:
        """Decode one batch of latents."""
        assert self._image_outputs is not None
        records = raw.records()
        faults, batch_images = dict(records.faults), BatchImages(self._image_outputs, records)
        for positions, latents in self._groups(records, faults):
            self._decode(positions, latents, records, batch_images, faults)
        good = np.array([position for position in range(len(records)) if position not in faults], np.int64)
        return batch_result(records, good, faults, None, batch_images)

    def _groups(self, records: Records, faults: dict[int, Fault]) -> Iterator[tuple[Array, Array]]:
        """Positions and latents ``[m, h, w, c]`` of one shape."""
        shapes: defaultdict[tuple[int, ...], dict[int, Array]] = defaultdict(dict)
        for position in np.flatnonzero(present(records.payload, faults)).tolist():
            try:
                latent = self._latent(records.payload[position].as_py())
            except ImageError as error:
                faults[position] = error.fault()
            else:
                shapes[latent.shape][position] = latent
        for (h, w, _), found in shapes.items():
            positions = np.array(list(found), np.int64)
            step = max(1, _MOST // (h * w * self._spec.stride**2 * self._spec.input.shape[2]))
            for start in range(0, len(positions), step):
                some = positions[start : start + step]
                yield some, np.stack([found[position] for position in some.tolist()])

    def _latent(self, data: bytes) -> Array:
        """The latent of one record.

        Raises:
          ImageError: it is none of the model's.
        """
        assert self._spec.latent is not None
        latent = latent_of(data, self._spec.latent.shape[2])
        stride, each = self._spec.stride, self._spec.input.multiple // self._spec.stride
        height, width = latent.shape[0] * stride, latent.shape[1] * stride
        if latent.shape[0] % each or latent.shape[1] % each:
            shape = " x ".join(map(str, latent.shape))
            raise ImageError(Reason.WRONG_SIZE, f"a latent of {shape}; sides of the model's are multiples of {each}")
        most = self._most if self._spec.local else min(self._most, LARGEST_WHOLE)
        if height * width > most:
            raise ImageError(Reason.TOO_MANY_PIXELS, f"it makes {height}x{width} pixels, more than {most}")
        return latent

    def _decode(
        self, positions: Array, latents: Array, records: Records, images: BatchImages, faults: dict[int, Fault]
    ) -> None:
        failed: Failed = {}
        output = self._model.decode(latents, failed)
        found = dict.fromkeys(positions[~np.isfinite(output).all(axis=(1, 2, 3))].tolist(), NON_FINITE)
        found |= model_faults(positions, failed)
        for at, position in enumerate(positions.tolist()):
            fault = found.get(position)
            if fault is None:
                try:
                    height, width = _size(records, position, output.shape[1:3])
                except ImageError as error:
                    fault = error.fault()
                else:
                    pixels = to_pixels(output[at, :height, :width], self._spec.output_range, np.uint8)
                    fault = images.add(position, pixels)
            if fault is not None:
                faults[position] = fault


def _size(records: Records, position: int, whole: tuple[int, ...]) -> tuple[int, int]:
    """(height, width) of an image, as its table says it, else of all that its latent makes.

    Raises:
      ImageError: the table says a size that the latent cannot make.
    """
    if not all(name in records.carried for name in SIZE):
        return whole[0], whole[1]
    height, width = (records.carried[name][position].as_py() for name in SIZE)
    if not (isinstance(height, int) and isinstance(width, int) and 0 < height <= whole[0] and 0 < width <= whole[1]):
        raise ImageError(
            Reason.INVALID_RECORD,
            f"height and width are {height} and {width}, and its latent makes {whole[0]}x{whole[1]}",
        )
    return height, width

"""From a task's pixels to the images of a dataset: encoded one by one, on the pool's threads, then laid out."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.config import ImagesOut, JobConfig
from pipeline.images.base import ImageError
from pipeline.images.encode import ImageEncoder, ImageFormat
from pipeline.records import Array, Fault, Records
from pipeline.writers import dataset_format
from pipeline.writers.base import DatasetFormat, Image, Results


class Gallery:
    """How a job's images are made into files; any number of threads may use one."""

    def __init__(self, config: JobConfig, out: ImagesOut) -> None:
        self.format: DatasetFormat = dataset_format(out.format, config.columns, out.again, config.metadata)
        self.error_map = out.error_map
        self._encoder = ImageEncoder(ImageFormat(out.image_format), out.quality)

    def image(self, pixels: Array, original: bytes | None) -> Image:
        """Pixels ``[H, W, K]`` as the dataset's format keeps them.

        Raises:
          ImageError: UNWRITABLE_IMAGE.
        """
        return pixels if self.format.pixels else self._encoder.encode(pixels, original)


class Pictures:
    """The images of one batch, and their error maps where they are asked for."""

    def __init__(self, gallery: Gallery, records: Records) -> None:
        self._gallery, self._records = gallery, records
        self._images: dict[int, Image] = {}
        self._maps: dict[int, Image] = {}

    def add(self, position: int, output: Array, pixels: Array | None = None) -> Fault | None:
        """Take the image of the record at ``position``, or say why it cannot be written.

        Args:
          position: of the record in its batch.
          output: ``[H, W, K]`` uint8, uint16 or float32.
          pixels: what the output was made of, of the same shape and type, for the error map.
        """
        original = _file(self._records.payload, position)
        try:
            self._images[position] = self._gallery.image(output, original)
            if self._gallery.error_map and pixels is not None:
                self._maps[position] = self._gallery.image(difference(output, pixels), original)
        except ImageError as error:
            return error.fault()
        return None

    def images(self, positions: Array) -> Any:
        """The images of these records as the dataset's writer takes them; None where there are none."""
        return self._render(positions, self._images)

    def error_maps(self, positions: Array) -> Any:
        """The error maps of these records; None where there are none."""
        return self._render(positions, self._maps) if self._gallery.error_map else None

    def _render(self, positions: Array, found: Mapping[int, Image]) -> Any:
        if not len(positions):
            return None
        chosen = [found[position] for position in positions.tolist()]
        return self._gallery.format.render(Results(records=self._records, positions=positions, images=chosen))


def difference(one: Array, other: Array) -> Array:
    """Absolute difference of two arrays of one shape and type, in that type."""
    larger = np.maximum(one, other)
    distance: Array = larger - np.minimum(one, other)
    return distance


@lru_cache(maxsize=4)
def gallery_for(config: JobConfig) -> Gallery | None:
    """The gallery of a job that writes images: one for the whole process."""
    return None if config.images is None else Gallery(config, config.images)


def _file(payload: pa.Array | Array, position: int) -> bytes | None:
    if isinstance(payload, np.ndarray):
        return None
    data: bytes | None = payload[position].as_py()
    return data

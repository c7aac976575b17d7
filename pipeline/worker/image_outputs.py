"""Encode the images that a verb computed and lay them out for a dataset writer.

Images are encoded one by one on the threads of the pool, then handed to the writer batch by batch.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from lake.core.records import Array, Fault, Records
from lake.formats import FORMATS
from lake.formats.writer import DatasetWriter, Image, Results
from lake.images.codecs.tiff_split import split
from lake.images.encoder import ImageEncoder, ImageFormat
from lake.images.types import ImageError, Orientation
from lake.images.white import as_stored, on_scale
from pipeline.config import ImagesOut, JobConfig


class ImageOutputs:
    """The image encoder and dataset writer of a job. Thread-safe.

    Args:
      config: the job, or where shards of several formats are rewritten, the job as one unit is run.
      out: how its images are written.

    Attributes:
      format: writer of the output's format.
      error_map: whether error maps are written too.
    """

    def __init__(self, config: JobConfig, out: ImagesOut) -> None:
        columns = config.columns if config.rewritten is None else config.columns.of(config.rewritten)
        name = config.rewritten or out.format
        self.format: DatasetWriter = FORMATS[name].writer(columns, out.rewrite, config.metadata)
        self.error_map = out.error_map
        self._white = config.target.white
        upright = config.target.orientation is Orientation.APPLY
        self._encoder = ImageEncoder(ImageFormat(out.image_format), out.quality, upright=upright)

    def image(self, pixels: Array, original: bytes | None, *, bands: bool = False) -> Image:
        """Encode one image, or return its pixels if the format stores numbers.

        Args:
          pixels: ``[H, W, K]`` of dtype uint8, uint16 or float32 (white is 1); written on the scale of the input, and
            in the type of a TIFF of other integers.
          original: the input image file, whose format ``--image-format same`` keeps; None if there is none.
          bands: as of ``Group``.

        Raises:
          ImageError: the image format cannot store these pixels (UNWRITABLE_IMAGE).
        """
        if self.format.pixels:
            return on_scale(pixels, self._white)
        return self._encoder.encode(as_stored(pixels, original, self._white), original, bands=bands)

    def pages(self, pages: Sequence[Array], original: bytes, bands: Sequence[bool]) -> Image:
        """Encode the pages of one TIFF.

        Args:
          pages: pixels of each page, as of ``image``.
          original: the input file.
          bands: of each page, as of ``Group``.

        Raises:
          ImageError: TIFF cannot store these pixels (UNWRITABLE_IMAGE).
        """
        originals = list(split(original))
        stored = [as_stored(*both, self._white) for both in zip(pages, originals, strict=True)]
        return self._encoder.encode_pages(stored, originals, bands)


class BatchImages:
    """The images of one batch, and their error maps if the job writes them.

    Args:
      image_outputs: encoder and writer of the job.
      records: the batch.
    """

    def __init__(self, image_outputs: ImageOutputs, records: Records) -> None:
        self._image_outputs, self._records = image_outputs, records
        self._images: dict[int, Image] = {}
        self._maps: dict[int, Image] = {}

    def add(self, position: int, output: Array, pixels: Array | None = None, *, bands: bool = False) -> Fault | None:
        """Encode the output image of one record.

        Args:
          position: position of the record in the batch.
          output: ``[H, W, K]`` of dtype uint8, uint16 or float32.
          pixels: the input image, of the same shape and dtype, for the error map; None if there is none.
          bands: as of ``Group``.

        Returns:
          None, or the fault that says why the image cannot be written.
        """
        original = _file(self._records.payload, position)
        try:
            self._images[position] = self._image_outputs.image(output, original, bands=bands)
            if self._image_outputs.error_map and pixels is not None:
                change = difference(output, pixels)
                self._maps[position] = self._image_outputs.image(change, original, bands=bands)
        except ImageError as error:
            return error.fault()
        return None

    def add_pages(
        self, position: int, outputs: Sequence[Array], inputs: Sequence[Array], bands: Sequence[bool]
    ) -> Fault | None:
        """Encode the output pages of one record, a TIFF.

        Args:
          position: position of the record in the batch.
          outputs: as ``output`` of ``add``, for each page.
          inputs: as ``pixels`` of ``add``, for each page.
          bands: of each page, as of ``Group``.

        Returns:
          None, or the fault that says why the image cannot be written.
        """
        original = _file(self._records.payload, position)
        assert original is not None
        try:
            self._images[position] = self._image_outputs.pages(outputs, original, bands)
            if self._image_outputs.error_map:
                maps = [difference(output, pixels) for output, pixels in zip(outputs, inputs, strict=True)]
                self._maps[position] = self._image_outputs.pages(maps, original, bands)
        except ImageError as error:
            return error.fault()
        return None

    def images(self, positions: Array) -> Any:
        """Lay out the images of some records for the dataset writer.

        Args:
          positions: positions of the records in the batch, int64 ``[m]``.

        Returns:
          What ``DatasetWriter.render`` returned; None for no records.
        """
        return self._render(positions, self._images)

    def error_maps(self, positions: Array) -> Any:
        """Lay out the error maps of some records; None for no records or if the job writes none."""
        return self._render(positions, self._maps) if self._image_outputs.error_map else None

    def _render(self, positions: Array, found: Mapping[int, Image]) -> Any:
        if not len(positions):
            return None
        chosen = [found[position] for position in positions.tolist()]
        return self._image_outputs.format.render(Results(records=self._records, positions=positions, images=chosen))


def difference(one: Array, other: Array) -> Array:
    """Return the absolute difference of two arrays of one shape and dtype, in that dtype.

    >>> difference(np.array([3, 250], np.uint8), np.array([5, 0], np.uint8)).tolist()
    [2, 250]
    """
    # Larger minus smaller: unsigned integers would wrap around below zero.
    larger = np.maximum(one, other)
    distance: Array = larger - np.minimum(one, other)
    return distance


# More than one entry, because a worker process may run units of several jobs one after another.
@lru_cache(maxsize=16)
def image_outputs_for(config: JobConfig) -> ImageOutputs | None:
    """Return the encoder and writer of a job, one per process; None for a job that writes no images.

    Args:
      config: as of ``ImageOutputs``.
    """
    return None if config.images is None else ImageOutputs(config, config.images)


def _file(payload: pa.Array | Array, position: int) -> bytes | None:
    # Records of numbers have no image file whose format could be kept.
    if isinstance(payload, np.ndarray):
        return None
    data: bytes | None = payload[position].as_py()
    return data

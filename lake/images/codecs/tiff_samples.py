"""Samples of TIFF that Pillow would lose or misread: of 16 bits and more, signed, floating, and of any number of bands.

tifffile finds and assembles strips, tiles and planes, and imagecodecs unpacks them, each into as many bytes as it must
have; ``docs/decisions/0015-image-codecs.md`` has what was measured.
"""

from io import BytesIO

import numpy as np

from lake.core.records import Array
from lake.images.codecs.tiff import kind, strip_metadata
from lake.images.types import Header


def samples(data: bytes, header: Header) -> Array:
    """The samples of an image as they are stored, but with black at zero.

    Args:
      data: the whole file.
      header: of it.

    Returns:
      ``[H, W, K]`` of any integer or floating type, in native byte order.

    Raises:
      Exception: of any kind, for a damaged file.
    """
    from tifffile import TiffFile

    found = kind(data)
    with TiffFile(BytesIO(strip_metadata(data))) as file:
        page = file.pages.first
        stored = page.asarray(maxworkers=1)
    apart = stored.ndim == 3 and stored.shape == (found.samples, header.height, header.width)
    pixels = np.moveaxis(stored, 0, 2) if apart and page.planarconfig == 2 else stored
    pixels = pixels.reshape(header.height, header.width, found.samples)
    if pixels.dtype != found.dtype:
        raise ValueError(f"samples are {pixels.dtype}, the header says {found.dtype}")
    return np.iinfo(pixels.dtype).max - pixels if found.inverted else pixels


def to_pixels(stored: Array) -> Array:
    """Samples as pixels: uint8 and uint16 as they are, others as float32 on their own scale.

    A number beyond float32 becomes infinite.

    >>> to_pixels(np.array([32767, -32767], np.int16))
    array([ 32767., -32767.], dtype=float32)
    """
    if stored.dtype in (np.uint8, np.uint16):
        return stored
    with np.errstate(over="ignore"):
        return stored.astype(np.float32, copy=False)

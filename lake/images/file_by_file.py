"""Decode plain images of one shape by imagecodecs, file by file, in a process that has not started TensorFlow.

Files are screened first: its decoders let some damage pass that is cheap to see. PNGs that are tiny are decoded as one
(``tall_png``).
"""

from collections.abc import Callable
from math import prod

import numpy as np

from lake.core.records import Array
from lake.images import tall_png
from lake.images.codecs import jpeg, png
from lake.images.types import ImageCodec

INTACT: dict[str, Callable[[bytes], bool]] = {ImageCodec.PNG: png.intact, ImageCodec.JPEG: jpeg.intact}


def decode_files(kind: str, files: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Decode files of one format.

    Args:
      kind: PNG or JPEG.
      files: object ``[n]`` of bytes.
      shape: that their pixels have, (H, W, C).

    Returns: Positions of the files that decode, ascending int ``[m]``, and their pixels, uint8 ``[m, H, W, C]``.
    """
    if kind is not ImageCodec.PNG or not tall_png.pays(shape):
        return _one_by_one(kind, files, shape)
    good, pixels = tall_png.decode_tall(files, shape)
    if len(good) == len(files):
        return good, pixels
    rest = np.delete(np.arange(len(files)), good)
    others, more = _one_by_one(kind, files[rest], shape)
    positions = np.concatenate([good, rest[others]])
    order = np.argsort(positions)
    return positions[order], np.concatenate([pixels, more])[order]


def _one_by_one(kind: str, files: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    import imagecodecs

    decode = imagecodecs.png_decode if kind is ImageCodec.PNG else imagecodecs.jpeg8_decode
    pixels = _between_vectors((len(files), *shape))
    images = pixels[..., 0] if shape[2] == 1 else pixels
    good = list[int]()
    for position, data in enumerate(files.tolist()):
        if not INTACT[kind](data):
            continue
        try:
            decode(data, out=images[len(good)])
        except Exception:  # of its own classes, or since its shape or depth is another; ``decode_one`` finds it
            continue
        good.append(position)
    return np.array(good, int), pixels[: len(good)]


def _between_vectors(shape: tuple[int, ...]) -> Array:
    """An array of uint8 with no defined values, which does not begin at a multiple of 32 bytes.

    Rows that begin at one are written past the cache by libjpeg-turbo (AVX2, non-temporal stores), and a small image
    then takes nearly twice as long.

    >>> _between_vectors((2, 32, 32, 3)).ctypes.data % 32
    16
    """
    size = prod(shape)
    space = np.empty(size + 32, np.uint8)
    start = (16 - space.ctypes.data) % 32
    return space[start : start + size].reshape(shape)

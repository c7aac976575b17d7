"""Turning and resizing, on Pillow images: one for 8-bit pixels, one of float per channel for wider ones.

Resizing is Pillow's bicubic filter with antialiasing (its support grows with the reduction) in 8-bit arithmetic for
8-bit pixels and in float32 for others. With alpha kept (C = 4), Pillow weights colours by alpha as it must.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pipeline.images.base import ImageError, Resize
from pipeline.records import Array, Reason

if TYPE_CHECKING:
    from PIL.Image import Image

_UINT16_MAX = 65535
_BAND = 1 << 22  # pixels that are copied at once


def planes_of(pixels: Array) -> "list[Image]":
    """Pixels ``[H, W, C]`` as images: uint8 with C 1, 3 or 4 as one, uint16 and float32 as one of float per channel."""
    from PIL import Image

    channels = pixels.shape[2]
    if pixels.dtype == np.uint8:
        return [Image.fromarray(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels))]
    return [Image.fromarray(np.ascontiguousarray(pixels[..., c], np.float32)) for c in range(channels)]


def pixels_of(planes: "list[Image]", dtype: type[np.generic]) -> Array:
    """Images as pixels ``[H, W, C]`` of a dtype: uint8 as they are; uint16 rounded and clipped, bicubic overshoots."""
    arrays = [np.asarray(plane) for plane in planes]
    if dtype == np.uint8:
        return arrays[0][..., None] if arrays[0].ndim == 2 else arrays[0]
    pixels = np.stack(arrays, axis=-1)
    if dtype == np.uint16:
        pixels = np.clip(np.rint(pixels), 0, _UINT16_MAX)
    return pixels.astype(dtype)


def array_of(image: "Image") -> Array:
    """Any Pillow image as pixels ``[H, W, K]``, uint8, uint16 or float32.

    A large one goes band by band: NumPy's own way would hold its pixels twice more.
    """
    if image.width * image.height <= _BAND:
        return _whole(image)
    first = _whole(image.crop((0, 0, image.width, 1)))
    pixels = np.empty((image.height, *first.shape[1:]), first.dtype.newbyteorder("="))
    step = max(_BAND // image.width, 1)
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        pixels[top:bottom] = _whole(image.crop((0, top, image.width, bottom)))
    return pixels


def _whole(image: "Image") -> Array:
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def turned(pixels: Array, orientation: int) -> Array:
    """Pixels ``[H, W, K]`` turned as ``upright`` turns images; a view where nothing is turned."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    down, across = _FLIPS[orientation]
    return np.ascontiguousarray(pixels[::down, ::across])


_FLIPS = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}  # rows, columns


def upright(planes: "list[Image]", orientation: int) -> "list[Image]":
    """Turned as EXIF orientation 1..8 asks (CIPA DC-008, tag 274)."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return planes if orientation == 1 else [plane.transpose(turns[orientation]) for plane in planes]


def fits(size: tuple[int, int], target: tuple[int, int], resize: Resize | None) -> None:
    """Check a size (height, width) before anything is decoded.

    Raises:
      ImageError: WRONG_SIZE: it differs from the target and is not resized, or is larger and only padded.
    """
    if size == target or resize in (Resize.FIT, Resize.CROP, Resize.STRETCH):
        return
    sizes = f"{size[0]}x{size[1]} pixels (height x width), the model takes {target[0]}x{target[1]}"
    if resize is None:
        raise ImageError(Reason.WRONG_SIZE, f"{sizes}; --resize changes sizes")
    if size[0] > target[0] or size[1] > target[1]:
        raise ImageError(Reason.WRONG_SIZE, f"{sizes}; only --resize fit, crop or stretch make images smaller")


def resized(planes: "list[Image]", target: tuple[int, int], resize: Resize | None) -> "list[Image]":
    """Of the target's (height, width), by a mode that ``fits`` has agreed to."""
    height, width = target
    if resize is None or planes[0].size == (width, height):
        return planes
    make = _MAKE[resize]
    return [make(plane, width, height) for plane in planes]


def _stretch(plane: "Image", width: int, height: int) -> "Image":
    from PIL.Image import Resampling

    return plane.resize((width, height), Resampling.BICUBIC)


def _crop(plane: "Image", width: int, height: int) -> "Image":
    from PIL.Image import Resampling

    scale = min(plane.width / width, plane.height / height)
    across, down = width * scale, height * scale
    left, top = (plane.width - across) / 2, (plane.height - down) / 2
    box = max(left, 0.0), max(top, 0.0), min(left + across, plane.width), min(top + down, plane.height)
    return plane.resize((width, height), Resampling.BICUBIC, box=box)


def _fit(plane: "Image", width: int, height: int) -> "Image":
    scale = min(width / plane.width, height / plane.height)
    across = min(max(round(plane.width * scale), 1), width)
    down = min(max(round(plane.height * scale), 1), height)
    return _pad(_stretch(plane, across, down), width, height)


def _pad(plane: "Image", width: int, height: int) -> "Image":
    from PIL import Image

    whole = Image.new(plane.mode, (width, height))  # black, and transparent where there is alpha
    whole.paste(plane, ((width - plane.width) // 2, (height - plane.height) // 2))
    return whole


_MAKE: "dict[Resize, Callable[[Image, int, int], Image]]" = {
    Resize.STRETCH: _stretch,
    Resize.CROP: _crop,
    Resize.FIT: _fit,
    Resize.PAD: _pad,
}

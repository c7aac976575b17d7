"""Orientation and resizing, on Pillow images: one image for 8-bit pixels, one float image per channel for others.

Resizing uses Pillow's bicubic filter with antialiasing (its support grows with the reduction), in 8-bit arithmetic for
8-bit pixels and in float32 for others. For RGBA, Pillow weights colours by alpha.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lake.core.records import Array, Reason
from lake.images.types import ImageError, Resize

if TYPE_CHECKING:
    from PIL.Image import Image

_UINT16_MAX = 65535
_BAND = 1 << 22  # pixels copied at once


def planes_of(pixels: Array) -> "list[Image]":
    """Pixels as Pillow images.

    Args:
      pixels: ``[H, W, C]`` of uint8, uint16 or float32.

    Returns:
      One image for uint8 with C up to 4, else one per channel: of uint8 grey ones, of others float images (mode F).
    """
    from PIL import Image

    channels = pixels.shape[2]
    if pixels.dtype == np.uint8 and channels <= 4:
        return [Image.fromarray(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels))]
    kind = np.uint8 if pixels.dtype == np.uint8 else np.float32
    return [Image.fromarray(np.ascontiguousarray(pixels[..., c], kind)) for c in range(channels)]


def pixels_of(planes: "list[Image]", dtype: type[np.generic]) -> Array:
    """Pillow images as pixels; the inverse of ``planes_of``.

    Args:
      planes: as ``planes_of`` gives them.
      dtype: of the pixels. For uint16, values are rounded and clipped, since bicubic filters overshoot.

    Returns:
      Pixels ``[H, W, C]``.

    >>> pixels = np.arange(6, dtype=np.uint16).reshape(2, 3, 1)
    >>> bool((pixels_of(planes_of(pixels), np.uint16) == pixels).all())
    True
    """
    arrays = [np.asarray(plane) for plane in planes]
    if dtype == np.uint8 and len(arrays) == 1:
        return arrays[0][..., None] if arrays[0].ndim == 2 else arrays[0]
    pixels = np.stack(arrays, axis=-1)
    if dtype == np.uint16:
        pixels = np.clip(np.rint(pixels), 0, _UINT16_MAX)
    return pixels.astype(dtype)


def array_of(image: "Image") -> Array:
    """Any Pillow image as pixels ``[H, W, K]`` of uint8, uint16 or float32.

    A large image is copied band by band, since NumPy's own conversion would hold its pixels twice more.
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
    """Pixels ``[H, W, K]`` turned upright, as ``upright`` does for Pillow images; a view if nothing is turned.

    Args:
      pixels: as stored.
      orientation: EXIF orientation, 1 to 8.

    >>> turned(np.array([[[1], [2]]]), 6)[..., 0].tolist()
    [[1], [2]]
    >>> turned(np.array([[[1], [2]]]), 3)[..., 0].tolist()
    [[2, 1]]
    """
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    down, across = _FLIPS[orientation]
    return np.ascontiguousarray(pixels[::down, ::across])


# Steps along rows and columns by orientation; 5 to 8 are transposed first.
_FLIPS = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}


def upright(planes: "list[Image]", orientation: int) -> "list[Image]":
    """Images turned upright by their EXIF orientation (CIPA DC-008, tag 274).

    Args:
      planes: as stored.
      orientation: EXIF orientation, 1 to 8.
    """
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
    """Check by its size that an image can become the target's size, before anything is decoded.

    Args:
      size: (height, width) of the upright image.
      target: (height, width) that the model takes.
      resize: the policy; None for no resizing.

    Raises:
      ImageError: WRONG_SIZE, if it differs and there is no resizing, or if it is larger and only padded.

    >>> fits((20, 30), (10, 10), Resize.CROP)
    >>> fits((20, 30), (10, 10), None)
    Traceback (most recent call last):
    ...
    lake.images.types.ImageError: 20x30 pixels (height x width), the model takes 10x10; --resize changes sizes
    """
    if size == target or resize in (Resize.FIT, Resize.CROP, Resize.STRETCH):
        return
    sizes = f"{size[0]}x{size[1]} pixels (height x width), the model takes {target[0]}x{target[1]}"
    if resize is None:
        raise ImageError(Reason.WRONG_SIZE, f"{sizes}; --resize changes sizes")
    if size[0] > target[0] or size[1] > target[1]:
        raise ImageError(Reason.WRONG_SIZE, f"{sizes}; only --resize fit, crop or stretch make images smaller")


def resize_planes(planes: "list[Image]", target: tuple[int, int], resize: Resize | None) -> "list[Image]":
    """Resize images.

    Args:
      planes: as ``planes_of`` gives them.
      target: (height, width) that the model takes.
      resize: a policy that ``fits`` accepts for them.
    """
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
    # Rounding may put an edge slightly outside the image, which Pillow refuses.
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

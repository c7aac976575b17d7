"""Orientation and resizing, on Pillow images: one image for 8-bit pixels, one float image per channel for others.

Resizing uses Pillow's bicubic filter, or the one that a ``CenterCrop`` names, with antialiasing (its support grows with
the reduction), in 8-bit arithmetic for 8-bit pixels and in float32 for others. For RGBA, it weights colours by alpha.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lake.core.records import Array, Reason
from lake.images.center_crop import CenterCrop
from lake.images.types import ImageError, Resize

if TYPE_CHECKING:
    from PIL.Image import Image

# Left, top, right and bottom of an image in planes that may hold more than it, in their pixels.
Extent: TypeAlias = tuple[float, float, float, float]

_UINT16_MAX = 65535
_BAND = 1 << 22  # pixels copied at once
_LONG = (
    8  # times as long as wide: of such an image only what the crop needs is scaled, to at most a step of 8 bits more
)


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


def fits(size: tuple[int, int], target: tuple[int, int], resize: Resize | CenterCrop | None) -> None:
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
    if size == target or isinstance(resize, CenterCrop) or resize in (Resize.FIT, Resize.CROP, Resize.STRETCH):
        return
    sizes = f"{size[0]}x{size[1]} pixels (height x width), the model takes {target[0]}x{target[1]}"
    if resize is None:
        raise ImageError(Reason.WRONG_SIZE, f"{sizes}; --resize changes sizes")
    if size[0] > target[0] or size[1] > target[1]:
        raise ImageError(Reason.WRONG_SIZE, f"{sizes}; only --resize fit, crop or stretch make images smaller")


def reduction(size: tuple[int, int], target: tuple[int, int], resize: Resize | CenterCrop | None) -> int:
    """The largest of 8, 4, 2 and 1 that divides both sides of an image into at least twice what is made of them.

    Args:
      size: (height, width) of the upright image.
      target: (height, width) that the model takes.
      resize: a policy that ``fits`` accepts for them.

    >>> reduction((3000, 4000), (224, 224), Resize.CROP), reduction((3000, 4000), (224, 224), Resize.FIT)
    (4, 8)
    """
    made = _inside(size, target) if resize is Resize.FIT else target
    if isinstance(resize, CenterCrop):
        made = resize.scaled(size)
    spare = min(side / wanted for side, wanted in zip(size, made, strict=True))
    return next((times for times in (8, 4, 2) if spare >= 2 * times), 1)


def extent(size: tuple[int, int], times: int, orientation: int) -> Extent:
    """Where an image lies in its upright planes after its sides were divided, and rounded up to whole pixels.

    Without this an image of 17 pixels, reduced to 9 and then to 4, would be shrunk by 9/8.5 and shifted.

    Args:
      size: (height, width) of the image as it is stored.
      times: what its sides were divided by.
      orientation: EXIF orientation that was undone, 1 to 8.

    >>> extent((16, 17), 2, 1), extent((16, 17), 2, 2)
    ((0.0, 0.0, 8.5, 8.0), (0.5, 0.0, 9.0, 8.0))
    """
    height, width = size[::-1] if orientation >= 5 else size
    down, across = _FLIPS.get(orientation, (1, 1))
    left = -width % times / times if across < 0 else 0.0
    top = -height % times / times if down < 0 else 0.0
    return left, top, left + width / times, top + height / times


def resize_planes(
    planes: "list[Image]", target: tuple[int, int], resize: Resize | CenterCrop | None, extent: Extent | None = None
) -> "list[Image]":
    """Resize images.

    Args:
      planes: as ``planes_of`` gives them.
      target: (height, width) that the model takes.
      resize: a policy that ``fits`` accepts for them.
      extent: where the image lies in the planes; None if it is all of them.
    """
    height, width = target
    box = extent or (0.0, 0.0, float(planes[0].width), float(planes[0].height))
    if isinstance(resize, CenterCrop):
        return [_center_crop(plane, target, resize, box) for plane in planes]
    if resize is None or planes[0].size == (width, height):
        return planes
    make = _MAKE[resize]
    return [make(plane, width, height, box) for plane in planes]


def _stretch(plane: "Image", width: int, height: int, box: Extent) -> "Image":
    from PIL.Image import Resampling

    return plane.resize((width, height), Resampling.BICUBIC, box=box)


def _crop(plane: "Image", width: int, height: int, box: Extent) -> "Image":
    scale = min((box[2] - box[0]) / width, (box[3] - box[1]) / height)
    across, down = width * scale, height * scale
    left, top = box[0] + (box[2] - box[0] - across) / 2, box[1] + (box[3] - box[1] - down) / 2
    # Rounding may put an edge slightly outside the image, which Pillow refuses.
    cut = max(left, box[0]), max(top, box[1]), min(left + across, box[2]), min(top + down, box[3])
    return _stretch(plane, width, height, cut)


def _fit(plane: "Image", width: int, height: int, box: Extent) -> "Image":
    down, across = _inside((box[3] - box[1], box[2] - box[0]), (height, width))
    return _pad(_stretch(plane, across, down, box), width, height, box)


def _center_crop(plane: "Image", target: tuple[int, int], crop: CenterCrop, box: Extent) -> "Image":
    from PIL.Image import Resampling

    kept, size = Resampling[crop.interpolation.name], (box[3] - box[1], box[2] - box[0])
    (height, width), (top, left) = crop.scaled(size), crop.corner(size, target)
    if max(height, width) <= _LONG * crop.shorter:
        whole = plane.resize((width, height), kept, box=box)
        return whole.crop((left, top, left + target[1], top + target[0]))
    across, down = (box[2] - box[0]) / width, (box[3] - box[1]) / height
    right, bottom = min((left + target[1]) * across + box[0], box[2]), min((top + target[0]) * down + box[1], box[3])
    return plane.resize(target[::-1], kept, box=(left * across + box[0], top * down + box[1], right, bottom))


def _inside(size: tuple[float, float], target: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the largest image of the same aspect ratio that lies in a target."""
    scale = min(wanted / side for side, wanted in zip(size, target, strict=True))
    down, across = (min(max(round(side * scale), 1), wanted) for side, wanted in zip(size, target, strict=True))
    return down, across


def _pad(plane: "Image", width: int, height: int, _: Extent) -> "Image":
    from PIL import Image

    whole = Image.new(plane.mode, (width, height))  # black, and transparent where there is alpha
    whole.paste(plane, ((width - plane.width) // 2, (height - plane.height) // 2))
    return whole


_MAKE: "dict[Resize, Callable[[Image, int, int, Extent], Image]]" = {
    Resize.STRETCH: _stretch,
    Resize.CROP: _crop,
    Resize.FIT: _fit,
    Resize.PAD: _pad,
}

"""Colour conversion to the channels that the model takes."""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.images.base import Color, Header, ImageError
from pipeline.records import Array, Reason

if TYPE_CHECKING:
    from PIL.Image import Image

_LUMA = (19595, 38470, 7471)  # ITU-R 601-2 times 65536, as Pillow has it
_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_OPAQUE = {"1": "L", "LA": "L", "CMYK": "RGB", "YCbCr": "RGB", "RGBX": "RGB", "RGBA": "RGB", "RGBa": "RGBA"}
_AS_IS = {"LA": "LA", "La": "LA", "RGBA": "RGBA", "RGBa": "RGBA", "PA": "RGBA"}
_AS_IS |= {"L": "L", "1": "L", "RGB": "RGB", "P": "RGB", "RGBX": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}


def allowed(header: Header, channels: int, color: Color) -> None:
    """Check, before anything is decoded, that the colours become the model's; a palette is judged by what it shows.

    Raises:
      ImageError: WRONG_CHANNELS.
    """
    if channels == 1 and header.channels > 1 and not header.palette:
        needs_luma(color)


def needs_luma(color: Color) -> None:
    """Colour is about to become grey.

    Raises:
      ImageError: WRONG_CHANNELS: the policy does not allow it.
    """
    if color is not Color.CONVERT:
        raise ImageError(Reason.WRONG_CHANNELS, "in colour, the model takes grey; --color convert makes it grey")


def as_is(image: "Image") -> "Image":
    """An 8-bit image as L, LA, RGB or RGBA, whichever it is; a palette, CMYK and 1 bit become that as in ``native``.

    Raises:
      ImageError: UNSUPPORTED_IMAGE for another kind of image.
    """
    if image.mode not in _AS_IS:
        raise ImageError(Reason.UNSUPPORTED_IMAGE, f"an image of mode {image.mode}")
    mode = _AS_IS[image.mode]
    if mode in ("L", "RGB") and "transparency" in image.info:
        mode = {"L": "LA", "RGB": "RGBA"}[mode]
    return image if image.mode == mode else image.convert(mode)


def native(image: "Image", channels: int, color: Color) -> "Image":
    """An 8-bit image as L or RGB for 1 and 3 channels, RGBA (or L, RGB where it has no alpha) for 4.

    1-bit becomes 0 and 255, CMYK becomes RGB by Pillow's rule (each of R, G, B = (255 - C, M, Y) * (255 - K) / 255),
    alpha is dropped without blending, a palette is looked up.

    Raises:
      ImageError: WRONG_CHANNELS; UNSUPPORTED_IMAGE for another kind of image.
    """
    keeps_alpha = channels == 4 and (image.mode in _ALPHA or "transparency" in image.info)
    shows_palette = image.mode in ("P", "PA")
    image = image.convert("RGBA") if keeps_alpha else _opaque(image)
    if shows_palette and not keeps_alpha and _is_grey(image):
        image = image.getchannel(0)
    if channels == 1 and image.mode == "RGB":
        needs_luma(color)
        image = image.convert("L")
    return image


def spread(pixels: Array, channels: int, color: Color) -> Array:
    """Pixels ``[..., K]`` with K 1 (grey), 2 (grey, alpha), 3 or 4 (RGB, alpha) as ``[..., channels]``, same dtype.

    Raises:
      ImageError: WRONG_CHANNELS.
    """
    have = pixels.shape[-1]
    if have == channels:
        return pixels
    if have not in (1, 2, 3, 4) or channels not in (1, 3, 4):
        raise ImageError(Reason.WRONG_CHANNELS, f"{have} channels, the model takes {channels}")
    if channels == 4:
        return _with_alpha(pixels)
    pixels = pixels[..., : 1 if have < 3 else 3]
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 1:
        needs_luma(color)
        return _luma(pixels)
    return np.repeat(pixels, 3, axis=-1)


def _opaque(image: "Image") -> "Image":
    if image.mode in ("L", "RGB"):
        return image
    image.info.pop("transparency", None)  # with it, converting would warn that it is lost, which is meant
    if image.mode in ("P", "PA"):
        return image.convert("RGB")
    if image.mode not in _OPAQUE:
        raise ImageError(Reason.UNSUPPORTED_IMAGE, f"an image of mode {image.mode}")
    if image.mode == "RGBa":
        image = image.convert("RGBA")
    return image.convert(_OPAQUE[image.mode])


def _is_grey(image: "Image") -> bool:
    pixels = np.asarray(image)
    return bool((pixels == pixels[..., :1]).all())


def _with_alpha(pixels: Array) -> Array:
    """Grey, grey with alpha or RGB as RGBA; opaque where there was no alpha."""
    have = pixels.shape[-1]
    colours = pixels[..., :3] if have == 3 else np.repeat(pixels[..., :1], 3, axis=-1)
    top = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1.0
    alpha = pixels[..., 1:2] if have == 2 else np.full_like(pixels[..., :1], top)
    return np.concatenate([colours, alpha], axis=-1)


def _luma(pixels: Array) -> Array:
    weights = np.array(_LUMA, np.float64)
    if np.issubdtype(pixels.dtype, np.integer):
        sums = pixels.astype(np.uint64) @ weights.astype(np.uint64)
        return ((sums + 0x8000) >> 16).astype(pixels.dtype)[..., None]
    return (pixels @ (weights / 65536)).astype(pixels.dtype)[..., None]

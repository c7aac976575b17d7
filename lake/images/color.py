"""Conversion between the channels that an image has and those that the model takes."""

from typing import TYPE_CHECKING

import numpy as np

from lake.core.records import Array, Reason
from lake.images.types import Alpha, Color, Header, ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_COLORS = 4  # more channels are bands that are no colours
LUMA = (19595, 38470, 7471)  # weights of R, G and B (ITU-R 601-2) times 65536, as in Pillow
_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
# Target mode by Pillow mode: without alpha, and as the image is stored.
_OPAQUE = {"1": "L", "LA": "L", "CMYK": "RGB", "YCbCr": "RGB", "RGBX": "RGB", "RGBA": "RGB", "RGBa": "RGBA"}
_AS_IS = {"LA": "LA", "La": "LA", "RGBA": "RGBA", "RGBa": "RGBA", "PA": "RGBA"}
_AS_IS |= {"L": "L", "1": "L", "RGB": "RGB", "P": "RGB", "RGBX": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}


def allowed(header: Header, channels: int, color: Color) -> None:
    """Check by the header that the colours can become those of the model. A palette is judged by its colours, later.

    Args:
      header: of the image.
      channels: that the model takes: 1, 3 or 4.
      color: the policy.

    Raises:
      ImageError: WRONG_CHANNELS.
    """
    if header.channels > MOST_COLORS and header.channels != channels:
        raise ImageError(Reason.WRONG_CHANNELS, f"{header.channels} bands, the model takes {channels}")
    if channels == 1 and header.channels > 1 and not header.palette:
        needs_luma(color)


def restorable(header: Header, channels: int) -> None:
    """Check that a model can restore an image as it is stored: a grey model sees each band by itself.

    Args:
      header: of the image.
      channels: that the model takes.

    Raises:
      ImageError: WRONG_CHANNELS, if the image has other bands than the model takes.
    """
    if header.channels > MOST_COLORS and channels not in (1, header.channels):
        text = f"{header.channels} bands, the model takes {channels}; a grey model takes each by itself"
        raise ImageError(Reason.WRONG_CHANNELS, text)


def is_alpha(channels: int, *, bands: bool) -> bool:
    """Whether the last channel of pixels is alpha.

    Args:
      channels: of the pixels.
      bands: as of ``Group``.
    """
    return channels in (2, 4) and not bands


def file_has_bands(header: Header, alpha: Alpha) -> bool:
    """Whether the last channel of an image file is data.

    Args:
      header: of the file.
      alpha: what is taken for alpha.
    """
    return alpha is Alpha.NONE or (alpha is Alpha.AUTO and header.band)


def array_has_bands(pixels: Array, alpha: Alpha) -> bool:
    """Whether the last channel of an array is data. Programs that show arrays take four channels of 8 bits for RGBA.

    Args:
      pixels: ``[..., K]``.
      alpha: what is taken for alpha.

    >>> array_has_bands(np.zeros((5, 5, 2), np.uint16), Alpha.AUTO)
    True
    """
    shown = pixels.dtype == np.uint8 and pixels.shape[-1] == MOST_COLORS
    return alpha is Alpha.NONE or (alpha is Alpha.AUTO and not shown)


def needs_luma(color: Color) -> None:
    """Check that the policy allows turning colour into grey.

    Raises:
      ImageError: WRONG_CHANNELS, if it does not.
    """
    if color is not Color.CONVERT:
        raise ImageError(Reason.WRONG_CHANNELS, "in colour, the model takes grey; --color convert makes it grey")


def to_stored_mode(image: "Image") -> "Image":
    """An 8-bit image as L, LA, RGB or RGBA, whichever matches what is stored.

    A palette, CMYK and 1-bit images are converted as in ``native``.

    Args:
      image: a loaded Pillow image of 8 bits or fewer.

    Raises:
      ImageError: UNSUPPORTED_IMAGE for any other kind of image.
    """
    if image.mode not in _AS_IS:
        raise ImageError(Reason.UNSUPPORTED_IMAGE, f"an image of mode {image.mode}")
    mode = _AS_IS[image.mode]
    if mode in ("L", "RGB") and "transparency" in image.info:
        mode = {"L": "LA", "RGB": "RGBA"}[mode]
    return image if image.mode == mode else image.convert(mode)


def native(image: "Image", channels: int, color: Color) -> "Image":
    """An 8-bit image with the model's channels: L or RGB for 1 or 3; RGBA for 4, or L or RGB if it has no alpha.

    1-bit pixels become 0 and 255. CMYK becomes RGB by Pillow's rule: each of R, G, B = (255 - C, M, Y) * (255 - K) /
    255. Alpha is dropped without blending. A palette is looked up.

    Args:
      image: a loaded Pillow image of 8 bits or fewer.
      channels: that the model takes: 1, 3 or 4.
      color: whether colour may become grey.

    Raises:
      ImageError: WRONG_CHANNELS; UNSUPPORTED_IMAGE for any other kind of image.
    """
    keeps_alpha = channels == 4 and (image.mode in _ALPHA or "transparency" in image.info)
    shows_palette = image.mode in ("P", "PA")
    image = image.convert("RGBA") if keeps_alpha else _opaque(image)
    # A palette whose colours are all grey is grey, and needs no conversion that loses colour.
    if shows_palette and not keeps_alpha and is_grey(np.asarray(image)):
        image = image.getchannel(0)
    if channels == 1 and image.mode == "RGB":
        needs_luma(color)
        image = image.convert("L")
    return image


def spread(pixels: Array, channels: int, color: Color) -> Array:
    """Convert pixels to another number of channels; the dtype stays.

    Args:
      pixels: ``[..., K]`` with K 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha).
      channels: C: 1, 3 or 4.
      color: whether colour may become grey.

    Returns:
      ``[..., C]``. New alpha is opaque: the largest integer, or 1.0.

    Raises:
      ImageError: WRONG_CHANNELS.

    >>> spread(np.array([[7, 8]], np.uint8), 3, Color.STRICT)
    array([[7, 7, 7]], dtype=uint8)
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
    image.info.pop("transparency", None)  # it is dropped on purpose; Pillow would warn
    if image.mode in ("P", "PA"):
        return image.convert("RGB")
    if image.mode not in _OPAQUE:
        raise ImageError(Reason.UNSUPPORTED_IMAGE, f"an image of mode {image.mode}")
    if image.mode == "RGBa":
        image = image.convert("RGBA")
    return image.convert(_OPAQUE[image.mode])


def is_grey(pixels: Array) -> bool:
    """Whether all channels are equal.

    Args:
      pixels: ``[H, W, K]``.
    """
    return all(np.array_equal(pixels[..., 0], pixels[..., k]) for k in range(1, pixels.shape[2]))


def _with_alpha(pixels: Array) -> Array:
    """Grey, grey with alpha, or RGB as RGBA; opaque if there was no alpha."""
    have = pixels.shape[-1]
    colours = pixels[..., :3] if have == 3 else np.repeat(pixels[..., :1], 3, axis=-1)
    top = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1.0
    alpha = pixels[..., 1:2] if have == 2 else np.full_like(pixels[..., :1], top)
    return np.concatenate([colours, alpha], axis=-1)


def _luma(pixels: Array) -> Array:
    weights = np.array(LUMA, np.float64)
    if np.issubdtype(pixels.dtype, np.integer):
        # Rounded as Pillow rounds, so that arrays and image files give the same grey.
        sums = pixels.astype(np.uint64) @ weights.astype(np.uint64)
        return ((sums + 0x8000) >> 16).astype(pixels.dtype)[..., None]
    return (pixels @ (weights / 65536)).astype(pixels.dtype)[..., None]

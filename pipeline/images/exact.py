"""One image at a time, of any kind on the allow-list. What ``bulk`` decodes is bit-equal to what this does."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.images import color, geometry, jpeg, png, tiff
from pipeline.images.base import Format, Header, ImageError, Orientation, Target
from pipeline.records import Array, Reason

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST_TEXT = 200  # characters of a decoder's message
# The classes themselves: Image.open would also look at global limits, and at formats inside formats (MPO).
_PLUGINS = {
    Format.PNG: ("PIL.PngImagePlugin", "PngImageFile"),
    Format.WEBP: ("PIL.WebPImagePlugin", "WebPImageFile"),
    Format.TIFF: ("PIL.TiffImagePlugin", "TiffImageFile"),
    Format.BMP: ("PIL.BmpImagePlugin", "BmpImageFile"),
    Format.GIF: ("PIL.GifImagePlugin", "GifImageFile"),
}
_ESSENCE = {Format.PNG: png.essence, Format.JPEG: jpeg.essence, Format.TIFF: tiff.essence}


def admit(header: Header, target: Target) -> None:
    """Check by the header alone that the image can become what the model takes.

    Raises:
      ImageError: WRONG_SIZE or WRONG_CHANNELS.
    """
    size = header.height, header.width
    turned = turn_of(header, target) >= 5
    geometry.fits(size[::-1] if turned else size, target.size, target.resize)
    color.allowed(header, target.channels, target.color)


def turn_of(header: Header, target: Target) -> int:
    """The orientation to undo, 1 for none."""
    return header.orientation if target.orientation is Orientation.APPLY else 1


def decode(data: bytes, header: Header, target: Target) -> Array:
    """Pixels ``[H, W, C]``: uint8, uint16 for 16-bit PNG and grey 16-bit TIFF, float32 for float TIFF.

    First frame of an animation (of APNG the default image), first page of a TIFF.

    Args:
      data: the whole file.
      header: of it, from ``sniff``: it bounds what is allocated here.
      target: shape and policies.

    Raises:
      ImageError: CORRUPT_IMAGE, with the decoder's words; WRONG_SIZE, WRONG_CHANNELS, UNSUPPORTED_IMAGE,
        NON_FINITE_INPUT.
    """
    admit(header, target)
    planes, dtype = _planes(data, header, target)
    planes = geometry.upright(planes, turn_of(header, target))
    planes = geometry.resized(planes, target.size, target.resize)
    return color.spread(geometry.pixels_of(planes, dtype), target.channels, target.color)


def as_is(data: bytes, header: Header) -> Array:
    """Pixels ``[H, W, K]`` as they are stored, with K 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha).

    A palette becomes RGB, with alpha where it has transparency, and CMYK becomes RGB; dtypes as of ``decode``.

    Args:
      data: the whole file.
      header: of it, from ``sniff``: it bounds what is allocated here.

    Raises:
      ImageError: CORRUPT_IMAGE, UNSUPPORTED_IMAGE, NON_FINITE_INPUT.
    """
    if header.format is Format.PNG and header.depth == 16:
        return _with_transparency(_wide_png(data), data, header)
    image = _load(data, header)
    return _wide(image, data) if _is_wide(header) else geometry.array_of(_converted(image, header, color.as_is))


def _planes(data: bytes, header: Header, target: Target) -> "tuple[list[Image], type[np.generic]]":
    wide = _wide_png(data) if header.format is Format.PNG and header.depth == 16 else None
    if wide is None:
        image = _load(data, header)
        if not _is_wide(header):
            native = partial(color.native, channels=target.channels, color=target.color)
            return [_converted(image, header, native)], np.uint8
        wide = _wide(image, data)
    wide = color.spread(wide, target.channels, target.color)
    return geometry.planes_of(wide), wide.dtype.type


def _load(data: bytes, header: Header) -> "Image":
    essence = _ESSENCE[header.format](data) if header.format in _ESSENCE else data
    factor = tiff.flattened(data) if _is_wide(header) else 1
    size = header.width * factor, header.height
    try:
        return _jpeg(essence, header, size) if header.format is Format.JPEG else _opened(essence, header, size)
    except MemoryError:  # says nothing about the image
        raise
    except Exception as error:  # whatever a parser of hostile bytes may raise: one bad image costs one record
        raise _corrupt(header, error) from error


def _opened(essence: bytes, header: Header, size: tuple[int, int]) -> "Image":
    module, name = _PLUGINS[header.format]
    image: Image = getattr(import_module(module), name)(BytesIO(essence))
    if image.size != size:
        raise ValueError(f"decodes to {image.size}, its header says {size}")
    image.load()
    return image


def _jpeg(essence: bytes, header: Header, size: tuple[int, int]) -> "Image":
    """By libjpeg alone, without the plugin's own parser of markers, which takes longer than a small image.

    libjpeg writes as many pixels as the frame header says, whatever there is room for. That it finds the one frame
    header that ``jpeg.header`` saw, and so ``size``, is what ``jpeg.essence`` lays the segments out anew for.
    """
    from PIL import Image

    mode = {1: "L", 3: "RGB", 4: "CMYK"}[header.channels]
    # As the plugin does: CMYK is stored inverted, as Adobe began it.
    return Image.frombytes(mode, size, essence, "jpeg", "CMYK;I" if header.cmyk else mode, "")


def _converted(image: "Image", header: Header, convert: "Callable[[Image], Image]") -> "Image":
    try:
        return convert(image)
    except ValueError as error:  # a palette or transparency that makes no sense, which loading did not look at
        raise _corrupt(header, error) from error


def _corrupt(header: Header, error: Exception) -> ImageError:
    text = " ".join(f"{type(error).__name__}: {error}".split())[:_MOST_TEXT]
    return ImageError(Reason.CORRUPT_IMAGE, f"{header.format} of {header.width}x{header.height} pixels: {text}")


def _is_wide(header: Header) -> bool:
    """A TIFF of 16-bit or floating samples."""
    return header.format is Format.TIFF and header.depth > 8


def _wide(image: "Image", data: bytes) -> Array:
    """float32 or uint16 ``[H, W, K]`` of a wide TIFF, of the machine's byte order."""
    pixels = geometry.array_of(image)
    if tiff.flattened(data) > 1:
        pixels = tiff.pixels(data, pixels[..., 0])
    if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
        raise ImageError(Reason.NON_FINITE_INPUT, "NaN or infinite pixels")
    return pixels


def _with_transparency(pixels: Array, data: bytes, header: Header) -> Array:
    """16-bit pixels with the alpha that tRNS means, which TensorFlow does not look at."""
    if not header.alpha or pixels.shape[2] in (2, 4):
        return pixels
    hidden_color = png.transparent(data)
    if len(hidden_color) != pixels.shape[2]:
        raise ImageError(Reason.CORRUPT_IMAGE, f"PNG: tRNS with {len(hidden_color)} of {pixels.shape[2]} samples")
    hidden = (pixels == np.array(hidden_color, np.uint16)).all(axis=2, keepdims=True)
    return np.concatenate([pixels, np.where(hidden, np.uint16(0), np.uint16(65535))], axis=2)


def _wide_png(data: bytes) -> Array:
    """uint16 ``[H, W, K]``; by TensorFlow, since Pillow silently reduces 16-bit colour to 8."""
    from model.backend import tensorflow

    tf: Any = tensorflow()
    essence = png.essence(data)
    try:
        pixels: Array = tf.io.decode_png(essence, dtype=tf.uint16).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ImageError(Reason.CORRUPT_IMAGE, f"PNG of 16 bits: {error.message[:_MOST_TEXT]}") from error
    return pixels

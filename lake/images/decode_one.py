"""Decode one image at a time, of any kind on the allow-list. What ``decode_bulk`` decodes has the same bits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from lake.core.records import Array, Reason
from lake.images import color, geometry, white
from lake.images.codecs import CODECS, isobmff, jpeg2000, jpegxl, png, tiff_samples
from lake.images.types import DecodeMode, Header, ImageCodec, ImageError, Orientation, Target

if TYPE_CHECKING:
    from PIL.Image import Image

_SAMPLES: dict[str, Callable[[bytes, Header], Array]] = {
    ImageCodec.TIFF: tiff_samples.samples,
    ImageCodec.JPEGXL: jpegxl.samples,
    ImageCodec.JPEG2000: jpeg2000.samples,
    ImageCodec.AVIF: isobmff.avif_samples,
    ImageCodec.HEIC: isobmff.heic_samples,
}
_MOST_TEXT = 200  # characters of a decoder's message


def admit(header: Header, target: Target) -> None:
    """Check by the header alone that the image can become what the model takes.

    Args:
      header: of the image.
      target: shape and policies.

    Raises:
      ImageError: WRONG_SIZE or WRONG_CHANNELS.
    """
    geometry.fits(upright_size(header, target), target.size, target.resize)
    color.allowed(header, target.channels, target.color)


def turn_of(header: Header, target: Target) -> int:
    """The EXIF orientation to undo, 1 for none."""
    return header.orientation if target.orientation is Orientation.APPLY else 1


def upright_size(header: Header, target: Target) -> tuple[int, int]:
    """(height, width) of the image when it is upright."""
    size = header.height, header.width
    return size[::-1] if turn_of(header, target) >= 5 else size


def reduced(header: Header, target: Target) -> tuple[int, geometry.Extent | None]:
    """How an image is decoded that is resized afterwards.

    Args:
      header: of an image that the target's size and policies admit.
      target: shape and policies.

    Returns:
      What its sides are divided by in decoding: 1, 2, 4 or 8; and where the upright image lies in what is decoded, None
      if it is all of that.
    """
    if target.decode is not DecodeMode.FAST or header.format is not ImageCodec.JPEG or target.any_size:
        return 1, None
    times = geometry.reduction(upright_size(header, target), target.size, target.resize)
    if times == 1:
        return 1, None
    return times, geometry.extent((header.height, header.width), times, turn_of(header, target))


def decode_one(data: bytes, header: Header, target: Target) -> Array:
    """Decode an image to the target's shape.

    Of an animation this is the first frame (of an APNG the default image), of a TIFF the first page that is no smaller
    copy of another.

    Args:
      data: the whole file.
      header: what ``read_header`` gave for it; it bounds what is allocated here.
      target: shape and policies.

    Returns:
      Pixels ``[H, W, C]``: uint8; uint16 for 16-bit PNG and TIFF, and for other formats of 9 to 16 bits, which are
      brought to 16; float32, with white at 1, for TIFF of other types and floating JPEG XL.

    Raises:
      ImageError: CORRUPT_IMAGE with the decoder's message; WRONG_SIZE, WRONG_CHANNELS, UNSUPPORTED_IMAGE,
        NON_FINITE_INPUT, WRONG_SCALE.
    """
    admit(header, target)
    times, extent = reduced(header, target)
    planes, dtype = _planes(data, header, target, times)
    planes = geometry.upright(planes, turn_of(header, target))
    planes = geometry.resize_planes(planes, target.size, target.resize, extent)
    return color.spread(geometry.pixels_of(planes, dtype), target.channels, target.color)


def decode_stored(data: bytes, header: Header, times: int = 1) -> Array:
    """Decode an image as it is stored, without changes of channels.

    A palette becomes RGB, with alpha if it has transparency. CMYK becomes RGB.

    Args:
      data: the whole file.
      header: what ``read_header`` gave for it; it bounds what is allocated here.
      times: what the sides are divided by, as ``reduced`` says.

    Returns:
      Pixels ``[H, W, K]`` with K 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGB, alpha) or more (bands); dtypes as of
      ``decode_one``, but floating ones are on the scale of the file.

    Raises:
      ImageError: CORRUPT_IMAGE, UNSUPPORTED_IMAGE, NON_FINITE_INPUT.
    """
    if header.format is ImageCodec.PNG and header.depth == 16:
        return _with_transparency(_wide_png(data), data, header)
    if header.raw:
        return _samples(data, header)
    return geometry.array_of(_converted(_load(data, header, times), header, color.to_stored_mode))


def _planes(data: bytes, header: Header, target: Target, times: int) -> "tuple[list[Image], type[np.generic]]":
    if header.raw:
        wide = _samples(data, header)
    elif header.depth == 16:
        wide = _wide_png(data)
        if target.channels == 4:  # fewer drop alpha
            wide = _with_transparency(wide, data, header)
    else:
        native = partial(color.native, channels=target.channels, color=target.color)
        return [_converted(_load(data, header, times), header, native)], np.uint8
    wide = white.image_at_one(wide, white.white_of(header, target))
    wide = color.spread(wide, target.channels, target.color)
    return geometry.planes_of(wide), wide.dtype.type


def _load(data: bytes, header: Header, times: int = 1) -> "Image":
    stripped = CODECS[header.format].strip_metadata(data)
    with _guarded(header):
        return _jpeg(stripped, header, times) if header.format is ImageCodec.JPEG else _opened(stripped, header)


@contextmanager
def _guarded(header: Header) -> Iterator[None]:
    """Turn whatever a parser of hostile bytes raises into the error of one image."""
    try:
        yield
    except MemoryError:  # says nothing about the image
        raise
    except Exception as error:
        raise _corrupt(header, error) from error


def _opened(stripped: bytes, header: Header) -> "Image":
    # The plugin itself: Image.open would apply global limits and look for formats inside formats (MPO).
    plugin = CODECS[header.format].plugin
    assert plugin is not None
    module, name = plugin
    image: Image = getattr(import_module(module), name)(BytesIO(stripped))
    if image.size != (header.width, header.height):
        raise ValueError(f"decodes to {image.size}, its header says {(header.width, header.height)}")
    image.load()
    if image.size != (header.width, header.height):  # which some decoders learn only now
        raise ValueError(f"decodes to {image.size}, its header says {(header.width, header.height)}")
    if header.format is ImageCodec.PNG and not header.palette and "transparency" in image.info:
        image.info["transparency"] = _scaled(png.transparent(stripped), header)
    return image


def _scaled(samples: tuple[int, ...], header: Header) -> int | tuple[int, ...]:
    """The transparent colour on the scale of the decoded samples, which Pillow brings to 8 bits without it."""
    if len(samples) < header.channels:
        raise ValueError(f"tRNS with {len(samples)} of {header.channels} samples")
    most = (1 << header.depth) - 1
    scaled = tuple((sample & most) * 255 // most for sample in samples[: header.channels])  # higher bits mean nothing
    return scaled if len(scaled) > 1 else scaled[0]


def _jpeg(stripped: bytes, header: Header, times: int) -> "Image":
    """Decode with libjpeg alone. The plugin's own parser of markers takes longer than a small image.

    libjpeg writes as many pixels as the frame header says, divided and rounded up, whatever the size of the buffer.
    ``jpeg.strip_metadata`` lays out the segments so that libjpeg finds the same single frame header as ``jpeg.header``,
    and so the same size. A smaller image is made of the low frequencies of each block. All data is read for it, so
    damage is found as in a whole one.
    """
    from PIL import Image

    mode = {1: "L", 3: "RGB", 4: "CMYK"}[header.channels]
    # Adobe stores CMYK inverted, and Pillow's plugin assumes that of every CMYK JPEG.
    size, stored = (-(-header.width // times), -(-header.height // times)), "CMYK;I" if header.cmyk else mode
    return Image.frombytes(mode, size, stripped, "jpeg", stored, "", times)


def _converted(image: "Image", header: Header, convert: "Callable[[Image], Image]") -> "Image":
    try:
        return convert(image)
    except ValueError as error:  # an invalid palette or transparency, which loading does not check
        raise _corrupt(header, error) from error


def _corrupt(header: Header, error: Exception) -> ImageError:
    text = " ".join(f"{type(error).__name__}: {error}".split())[:_MOST_TEXT]
    return ImageError(Reason.CORRUPT_IMAGE, f"{header.format} of {header.width}x{header.height} pixels: {text}")


def _samples(data: bytes, header: Header) -> Array:
    """Pixels ``[H, W, K]`` of what Pillow does not decode: uint8, uint16, or float32 on their own scale."""
    with _guarded(header):
        pixels = tiff_samples.to_pixels(_SAMPLES[header.format](data, header))
    if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
        raise ImageError(Reason.NON_FINITE_INPUT, "NaN or infinite pixels")
    return pixels


def _with_transparency(pixels: Array, data: bytes, header: Header) -> Array:
    """Add the alpha channel that a tRNS chunk implies, since ``_wide_png`` leaves that chunk out."""
    if not header.alpha or pixels.shape[2] in (2, 4):
        return pixels
    hidden_color = png.transparent(data)
    if len(hidden_color) != pixels.shape[2]:
        raise ImageError(Reason.CORRUPT_IMAGE, f"PNG: tRNS with {len(hidden_color)} of {pixels.shape[2]} samples")
    hidden = (pixels == np.array(hidden_color, np.uint16)).all(axis=2, keepdims=True)
    return np.concatenate([pixels, np.where(hidden, np.uint16(0), np.uint16(65535))], axis=2)


def _wide_png(data: bytes) -> Array:
    """Pixels ``[H, W, K]`` of a 16-bit PNG, uint16, by libpng: Pillow reduces 16-bit colour to 8 bits."""
    import imagecodecs

    # Of a transparent colour libpng would make an alpha channel, for which not all callers ask.
    stripped = png.strip_metadata(data, transparency=False)
    pixels = np.empty(png.shape(data), np.uint16)
    # Without ``out`` each failure of ``png_decode`` takes a reference from None, until the process ends of it.
    try:
        imagecodecs.png_decode(stripped, out=pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    except Exception as error:  # of its own classes
        raise ImageError(Reason.CORRUPT_IMAGE, f"PNG of 16 bits: {str(error)[:_MOST_TEXT]}") from error
    return pixels

"""Pixels to image files."""

from enum import StrEnum
from io import BytesIO
from typing import Any

import numpy as np

from pipeline.images import icc, write_png, write_tiff
from pipeline.images.base import Format, ImageError
from pipeline.images.headers import format_of
from pipeline.images.webp import is_lossless
from pipeline.records import Array, Reason, Stage
from pipeline.writers.base import ImageFile

_MOST_BYTES = (1 << 31) - 1  # of pixels: what a PNG chunk, a TensorFlow tensor and an Arrow binary can hold
_MOST_SIDE = {Format.JPEG: 65500, Format.WEBP: 16383}  # pixels, by libjpeg and RFC 9649
_SUFFIX = {Format.PNG: "png", Format.JPEG: "jpg", Format.WEBP: "webp", Format.TIFF: "tif"}
_LOSSLESS_WEBP = {"lossless": True, "exact": True, "method": 1, "quality": 20}  # three times faster, 5% larger


class ImageFormat(StrEnum):
    """In which format images are written."""

    LOSSLESS = "lossless"  # PNG for integers, TIFF for floats
    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"  # lossless
    TIFF = "tiff"
    SAME = "same"  # of the original where it is PNG, JPEG, WebP (lossless if it was) or TIFF; else LOSSLESS


_FORMATS = {
    ImageFormat.PNG: Format.PNG,
    ImageFormat.JPEG: Format.JPEG,
    ImageFormat.WEBP: Format.WEBP,
    ImageFormat.TIFF: Format.TIFF,
}


class ImageEncoder:
    """Writes image files; any number of threads may use one.

    Nothing is reduced to fit a format, and the bytes depend on pixels, profile and options alone. The colour profile of
    the original goes along unless it is damaged or of other colours; nothing else of its metadata does.

    Args:
      format: which one.
      quality: of JPEG (at 4:4:4) and of lossy WebP, 1 to 100.
    """

    def __init__(self, format: ImageFormat, quality: int) -> None:
        self._format, self._quality = format, quality

    def encode(self, pixels: Array, original: bytes | None) -> ImageFile:
        """The file of one image.

        Args:
          pixels: ``[H, W, K]`` with K 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha): uint8, uint16 or float32
            (in 0..1, but kept as it is beyond).
          original: the file that it was made of, for its profile and, where asked, its format.

        Raises:
          ImageError: UNWRITABLE_IMAGE, of stage ``write``: the format cannot keep this depth, alpha or size.
        """
        format = self._resolve(pixels, original)
        _check(pixels, format)
        profile = icc.profile(original, pixels.shape[2]) if original else b""
        return ImageFile(data=self._write(pixels, format, profile, original), suffix=_SUFFIX[format])

    def _resolve(self, pixels: Array, original: bytes | None) -> Format:
        if self._format in _FORMATS:
            return _FORMATS[self._format]
        same = format_of(original) if self._format is ImageFormat.SAME and original else None
        if same in _SUFFIX:
            return same
        return Format.PNG if pixels.dtype.kind == "u" else Format.TIFF

    def _write(self, pixels: Array, format: Format, profile: bytes, original: bytes | None) -> bytes:
        if format is Format.PNG:
            return write_png.write(pixels, profile)
        if format is Format.TIFF:
            return write_tiff.write(pixels, profile)
        if format is Format.JPEG:
            return _saved(pixels, "JPEG", profile, quality=self._quality, subsampling=0)
        lossless = self._format is ImageFormat.WEBP or original is None or is_lossless(original)
        options = _LOSSLESS_WEBP if lossless else {"quality": self._quality, "exact": True}
        return _saved(_in_colour(pixels), "WEBP", profile, **options)


def _check(pixels: Array, format: Format) -> None:
    height, width, channels = pixels.shape
    if channels not in (1, 2, 3, 4):
        raise _unwritable(f"{channels} channels: images have 1 to 4")
    if pixels.nbytes > _MOST_BYTES:
        raise _unwritable(f"{pixels.nbytes} bytes of pixels, more than {_MOST_BYTES}")
    most = _MOST_SIDE.get(format, _MOST_BYTES)
    if max(height, width) > most:
        raise _unwritable(f"{format} of {width}x{height} pixels: a side has at most {most}")
    if pixels.dtype.kind == "f" and format is not Format.TIFF:
        raise _unwritable(f"{format} has no floating pixels; --image-format lossless or tiff keeps them")
    if pixels.dtype == np.uint16 and format in _MOST_SIDE:
        raise _unwritable(f"{format} has no 16 bits; --image-format png or tiff keeps them")
    if channels in (2, 4) and format is Format.JPEG:
        raise _unwritable(f"{format} has no alpha; --image-format png, webp or tiff keeps it")


def _unwritable(detail: str) -> ImageError:
    return ImageError(Reason.UNWRITABLE_IMAGE, detail, Stage.WRITE)


def _in_colour(pixels: Array) -> Array:
    """Grey as the RGB that WebP has only; RGB as it is."""
    channels = pixels.shape[2]
    return pixels if channels > 2 else pixels[..., [0, 0, 0, 1][: 2 + channels]]


def _saved(pixels: Array, format: str, profile: bytes, **options: Any) -> bytes:
    from PIL import Image

    out = BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(out, format, icc_profile=profile or None, **options)
    return out.getvalue()

"""Encode pixels as image files."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from io import BytesIO
from typing import Any

import numpy as np

from lake.core.records import Array, Reason, Stage
from lake.images.codecs import icc, png_write, tiff, tiff_write
from lake.images.codecs.metadata import NOTHING, Metadata, metadata_of, of_tiff
from lake.images.codecs.resolution import with_density
from lake.images.codecs.webp import is_lossless
from lake.images.color import MOST_COLORS
from lake.images.header import format_of
from lake.images.types import ImageCodec, ImageError, ImageFile

_MOST_BYTES = (1 << 31) - 1  # bytes of pixels: the limit of a PNG chunk, a TensorFlow tensor and an Arrow binary
_MOST_SIDE: dict[str, int] = {
    ImageCodec.JPEG: 65500,
    ImageCodec.WEBP: 16383,
}  # pixels: limits of libjpeg and of RFC 9649
_SUFFIX: dict[str, str] = {
    ImageCodec.PNG: "png",
    ImageCodec.JPEG: "jpg",
    ImageCodec.WEBP: "webp",
    ImageCodec.TIFF: "tif",
}
_MOST_SEGMENT = 65_000  # bytes of EXIF or XMP: what a JPEG segment holds
# Three times faster than Pillow's defaults, for files that are 5% larger.
_LOSSLESS_WEBP = {"lossless": True, "exact": True, "method": 1, "quality": 20}


class ImageFormat(StrEnum):
    """The format in which images are written."""

    LOSSLESS = "lossless"  # PNG for 8 and 16 bits, TIFF for floats, other integers and more than four channels
    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"  # lossless
    TIFF = "tiff"
    SAME = "same"  # the original's, if PNG, JPEG, WebP (lossless if it was) or TIFF; else as LOSSLESS


_FORMATS = {
    ImageFormat.PNG: ImageCodec.PNG,
    ImageFormat.JPEG: ImageCodec.JPEG,
    ImageFormat.WEBP: ImageCodec.WEBP,
    ImageFormat.TIFF: ImageCodec.TIFF,
}


class ImageEncoder:
    """Encodes image files. Thread-safe.

    Pixels are never reduced to fit a format, and the bytes depend on pixels, metadata and options alone. Of the
    original the ICC profile is kept unless it is damaged or of another colour space; EXIF, XMP, resolution and the
    place on Earth where the format can hold them (``metadata``); all else is dropped.

    Args:
      format: of the files.
      quality: 1 to 100, of JPEG (sampled 4:4:4) and of lossy WebP.
      upright: whether pixels were turned as the originals' orientation says.
    """

    def __init__(self, format: ImageFormat, quality: int, *, upright: bool = True) -> None:
        self._format, self._quality, self._upright = format, quality, upright

    def encode(self, pixels: Array, original: bytes | None, *, bands: bool = False) -> ImageFile:
        r"""Encode one image.

        Args:
          pixels: ``[H, W, K]`` with K 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGB, alpha) or more (bands): uint8,
            uint16, or float32 (nominal range 0..1; values beyond it are kept); for TIFF also other integers.
          original: the image file that the pixels were made from, for its metadata and, with SAME, its format.
          bands: the last channel is data, also of two or four, and no alpha.

        Raises:
          ImageError: UNWRITABLE_IMAGE of stage ``write``, if the format cannot store this depth, alpha or size, or
            bands.

        >>> file = ImageEncoder(ImageFormat.PNG, quality=90).encode(np.zeros((2, 3, 1), np.uint8), None)
        >>> file.suffix, file.data[:4]
        ('png', b'\x89PNG')
        """
        bands = bands and pixels.shape[2] in (2, 4)
        format = self._resolve(pixels, original, bands=bands)
        # Who says that the last channel of such files is data gets it back where it was.
        same = bands and _known_format(original) == format
        _check(pixels, format, bands=bands and not same)
        found = metadata_of(original, pixels.shape, upright=self._upright) if original else NOTHING
        if format is ImageCodec.TIFF:
            data = tiff_write.write(pixels, of_tiff(found), _colors(pixels, original) if bands else None)
        else:
            data = self._write(pixels, format, found, original)
        return ImageFile(data=data, suffix=_SUFFIX[format])

    def encode_pages(
        self, pages: Sequence[Array], originals: Sequence[bytes], bands: Sequence[bool] | None = None
    ) -> ImageFile:
        """Encode the pages of one TIFF, each as ``encode`` does.

        Args:
          pages: pixels of each page, as of ``encode``.
          originals: the page that each was made from, as a file of its own. The ICC profile of the first one is that of
            those which have none.
          bands: of each page, as of ``encode``; None for none.

        Raises:
          ImageError: UNWRITABLE_IMAGE of stage ``write``: a page has no form in TIFF, or all of them are too large.
        """
        for pixels in pages:
            _check(pixels, ImageCodec.TIFF, bands=False)
        if sum(pixels.nbytes for pixels in pages) > _MOST_BYTES:
            raise _unwritable(f"{len(pages)} pages of more than {_MOST_BYTES} bytes")
        found = [
            metadata_of(original, pixels.shape, upright=self._upright)
            for pixels, original in zip(pages, originals, strict=True)
        ]
        first = [icc.fitting_profile(originals[0], pixels.shape[2]) for pixels in pages]
        tags = [of_tiff(replace(own, profile=own.profile or usual)) for own, usual in zip(found, first, strict=True)]
        colors = [
            _colors(pixels, original) if data and pixels.shape[2] in (2, 4) else None
            for pixels, original, data in zip(pages, originals, bands or [False] * len(pages), strict=True)
        ]
        return ImageFile(data=tiff_write.write_pages(pages, tags, colors), suffix=_SUFFIX[ImageCodec.TIFF])

    def _resolve(self, pixels: Array, original: bytes | None, *, bands: bool) -> str:
        if self._format in _FORMATS:
            return _FORMATS[self._format]
        same = format_of(original) if self._format is ImageFormat.SAME and original else None
        if same in _SUFFIX:
            return same
        in_png = pixels.dtype in (np.uint8, np.uint16) and pixels.shape[2] <= MOST_COLORS and not bands
        return ImageCodec.PNG if in_png else ImageCodec.TIFF

    def _write(self, pixels: Array, format: str, found: Metadata, original: bytes | None) -> bytes:
        if format is ImageCodec.PNG:
            phys = found.resolution.phys() if found.resolution else b""
            return png_write.write(pixels, found.profile, phys, found.exif, found.xmp)
        if format is ImageCodec.JPEG:
            return with_density(_saved(pixels, "JPEG", found, quality=self._quality, subsampling=0), found.resolution)
        lossless = self._format is ImageFormat.WEBP or original is None or is_lossless(original)
        options = _LOSSLESS_WEBP if lossless else {"quality": self._quality, "exact": True}
        return _saved(_in_colour(pixels), "WEBP", found, **options)


def _colors(pixels: Array, original: bytes | None) -> int:
    """How many channels of pixels with bands are colours: as in the TIFF they were made from; of others grey alone."""
    rgb = original and _known_format(original) is ImageCodec.TIFF and not tiff.kind(original).grey
    return 3 if rgb and pixels.shape[2] > 2 else 1


def _known_format(original: bytes | None) -> str | None:
    """The format of the file that pixels were made from; None where it is no image, as latents are none."""
    try:
        return format_of(original) if original else None
    except ImageError:
        return None


def _check(pixels: Array, format: str, *, bands: bool) -> None:
    height, width, channels = pixels.shape
    if bands and format is not ImageCodec.TIFF:
        raise _unwritable(f"{format} takes the last of {channels} for alpha; --image-format lossless or tiff keeps it")
    if channels > MOST_COLORS and format is not ImageCodec.TIFF:
        raise _unwritable(f"{channels} channels: {format} has 1 to 4; --image-format lossless or tiff keeps them")
    if pixels.nbytes > _MOST_BYTES:
        raise _unwritable(f"{pixels.nbytes} bytes of pixels, more than {_MOST_BYTES}")
    most = _MOST_SIDE.get(format, _MOST_BYTES)
    if max(height, width) > most:
        raise _unwritable(f"{format} of {width}x{height} pixels: a side has at most {most}")
    if pixels.dtype not in (np.uint8, np.uint16) and format is not ImageCodec.TIFF:
        kind = "floating" if pixels.dtype.kind == "f" else pixels.dtype.name
        raise _unwritable(f"{format} has no {kind} pixels; --image-format lossless or tiff keeps them")
    if pixels.dtype == np.uint16 and format in _MOST_SIDE:
        raise _unwritable(f"{format} has no 16 bits; --image-format png or tiff keeps them")
    if channels in (2, 4) and format is ImageCodec.JPEG:
        raise _unwritable(f"{format} has no alpha; --image-format png, webp or tiff keeps it")


def _unwritable(detail: str) -> ImageError:
    return ImageError(Reason.UNWRITABLE_IMAGE, detail, Stage.WRITE)


def _in_colour(pixels: Array) -> Array:
    """Grey as RGB, since WebP has no grey; RGB unchanged. Alpha is kept."""
    channels = pixels.shape[2]
    return pixels if channels > 2 else pixels[..., [0, 0, 0, 1][: 2 + channels]]


def _saved(pixels: Array, format: str, found: Metadata, **options: Any) -> bytes:
    from PIL import Image

    out = BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    most = _MOST_SEGMENT if format == "JPEG" else _MOST_BYTES
    if 0 < len(found.exif) <= most:
        options["exif"] = b"Exif\x00\x00" + found.exif
    if 0 < len(found.xmp) <= most:
        options["xmp"] = found.xmp
    image.save(out, format, icc_profile=found.profile or None, **options)
    return out.getvalue()

"""AVIF and HEIC, both images in ISO base media files (ISO 14496-12, 23008-12)."""

from dataclasses import replace
from functools import partial
from io import BytesIO

import numpy as np

from lake.core.records import Array
from lake.images.codecs import av1_depth
from lake.images.codecs.depth import at_full_scale
from lake.images.codecs.plugin import header_of, info, opened
from lake.images.types import Codec, Header, ImageCodec

_AVIF = ("PIL.AvifImagePlugin", "AvifImageFile")
_HEIC = ("pillow_heif.as_plugin", "HeifImageFile")
_ANY = frozenset({b"mif1", b"msf1", b"miaf"})  # brands of any image, whose coding other brands name
_MOST_BRANDS = 1 << 10  # bytes of brands that are looked at


def avif(data: bytes) -> Header:
    """Parse the boxes of an AVIF.

    Raises:
      ImageError: CORRUPT_IMAGE; UNSUPPORTED_IMAGE (``av1_depth``).
    """
    found = header_of(opened(data, ImageCodec.AVIF, _AVIF), ImageCodec.AVIF)
    bits = av1_depth.depth(data)
    return replace(found, depth=bits, raw=bits > 8)


def avif_samples(data: bytes, header: Header) -> Array:
    """The pixels of an AVIF of 10 or 12 bits, by libavif, in imagecodecs: Pillow reduces them to 8 bits.

    Args:
      data: the whole file.
      header: of it.

    Returns:
      ``[H, W, K]`` of uint16, with white at 65,535.

    Raises:
      Exception: of any kind, for a damaged file.
    """
    from imagecodecs import avif_decode

    pixels: Array = np.asarray(avif_decode(data, index=0, numthreads=1))
    pixels = pixels.reshape(header.height, header.width, -1)
    if pixels.shape[2] < header.channels:  # grey, which Pillow calls colour if there is alpha
        pixels = pixels[..., [0, 0, 0, 1][: 2 + pixels.shape[2]]]
    return _checked(at_full_scale(pixels, header.depth), header)


def heic(data: bytes) -> Header:
    """Parse the boxes of a HEIC, which libheif turns upright as its own boxes say.

    Raises:
      ImageError: CORRUPT_IMAGE; UNSUPPORTED_IMAGE without the extra.
    """
    image = opened(data, ImageCodec.HEIC, _HEIC, "heif")
    bits = int(image.info.get("bit_depth", 8))
    return replace(header_of(image, ImageCodec.HEIC, upright=True), depth=bits, raw=bits > 8)


def heic_samples(data: bytes, header: Header) -> Array:
    """The pixels of a HEIC of 10 or 12 bits, upright, as of ``avif_samples``; grey stays grey."""
    from pillow_heif import open_heif

    image = open_heif(BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    pixels = np.asarray(image).reshape(header.height, header.width, -1)
    return _checked(at_full_scale(pixels, header.depth), header)


def _checked(pixels: Array, header: Header) -> Array:
    if pixels.shape[2] != header.channels + header.alpha or pixels.dtype != np.uint16:
        raise ValueError(f"{pixels.dtype} of {pixels.shape[2]} channels, not {header.depth} bits of {header.channels}")
    return pixels


def _has_brand(brands: frozenset[bytes], data: bytes) -> bool:
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4]), len(data), _MOST_BRANDS)
    others = {data[at : at + 4] for at in range(16, end - 3, 4)}
    return data[8:12] in brands or (data[8:12] in _ANY and not others.isdisjoint(brands))


AVIF = Codec(
    name=ImageCodec.AVIF,
    suffixes=(".avif",),
    magic=(),
    header=avif,
    profile=lambda data: info(opened(data, ImageCodec.AVIF, _AVIF), "icc_profile"),
    exif=lambda data: info(opened(data, ImageCodec.AVIF, _AVIF), "exif"),
    xmp=lambda data: info(opened(data, ImageCodec.AVIF, _AVIF), "xmp"),
    plugin=_AVIF,
    recognise=partial(_has_brand, frozenset({b"avif", b"avis"})),
)
HEIC = Codec(
    name=ImageCodec.HEIC,
    suffixes=(".heic", ".heif", ".hif"),
    magic=(),
    header=heic,
    profile=lambda data: info(opened(data, ImageCodec.HEIC, _HEIC, "heif"), "icc_profile"),
    exif=lambda data: info(opened(data, ImageCodec.HEIC, _HEIC, "heif"), "exif"),
    xmp=lambda data: info(opened(data, ImageCodec.HEIC, _HEIC, "heif"), "xmp"),
    plugin=_HEIC,
    recognise=partial(_has_brand, frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})),
)

"""AVIF and HEIC, both images in ISO base media files (ISO 14496-12, 23008-12)."""

from functools import partial

from lake.images.codecs.plugin import header_of, info, opened
from lake.images.types import Codec, Header, ImageCodec

_AVIF = ("PIL.AvifImagePlugin", "AvifImageFile")
_HEIC = ("pillow_heif.as_plugin", "HeifImageFile")
_ANY = frozenset({b"mif1", b"msf1", b"miaf"})  # brands of any image, whose coding other brands name
_MOST_BRANDS = 1 << 10  # bytes of brands that are looked at


def avif(data: bytes) -> Header:
    """Parse the boxes of an AVIF.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    return header_of(opened(data, ImageCodec.AVIF, _AVIF), ImageCodec.AVIF)


def heic(data: bytes) -> Header:
    """Parse the boxes of a HEIC, which libheif turns upright as its own boxes say.

    Raises:
      ImageError: CORRUPT_IMAGE; UNSUPPORTED_IMAGE without the extra.
    """
    return header_of(opened(data, ImageCodec.HEIC, _HEIC, "heif"), ImageCodec.HEIC, upright=True)


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
    plugin=_HEIC,
    recognise=partial(_has_brand, frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})),
)

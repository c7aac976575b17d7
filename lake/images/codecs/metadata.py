"""What a written image takes along of the file that it was made from: profile, EXIF, XMP, resolution, place on Earth.

What the pixels no longer are is not taken: nothing of places in an image that was turned or resized.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lake.images.codecs import CODECS, exif, exif_tags, icc, jpeg, png, png_text, tiff, webp, xmp
from lake.images.codecs.resolution import Resolution, of_directory, of_jfif, of_phys
from lake.images.codecs.tiff_directory import Values
from lake.images.codecs.tiff_tags import PROFILE, XMP
from lake.images.header import format_of, read_header
from lake.images.types import ImageCodec, ImageError

# Of GeoTIFF (OGC 19-008r4): scale, tie points, transformation and keys; of GDAL: its own metadata and no-data value.
_PLACES = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)
_BYTE, _UNDEFINED = 1, 7  # types
_AFTER_IHDR = 37  # where a PNG has the type of its second chunk
_TRANSPOSED = 5  # orientations from this one on swap the sides


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What goes along with pixels.

    Attributes:
      profile: an ICC profile; empty for none.
      exif: an EXIF block without its prefix; empty for none.
      xmp: an XMP packet; empty for none.
      resolution: in pixels per length; None if it is not known.
      tags: type and values of tags of a little-endian TIFF, for a TIFF alone.
    """

    profile: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    resolution: Resolution | None = None
    tags: Mapping[int, Values] = field(default_factory=dict)


NOTHING = Metadata()


def metadata_of(data: bytes, shape: tuple[int, ...], *, upright: bool) -> Metadata:
    """What an image takes along. Whatever is damaged is left out: it does not make the image bad.

    Args:
      data: the whole file that it was made from.
      shape: ``[H, W, K]`` of the image.
      upright: whether it was turned as the file's orientation says.
    """
    if data.startswith(b"IDAT", _AFTER_IHDR) and png_text.XMP not in data:  # a small PNG, in less than 1 us
        return NOTHING
    profile = icc.fitting_profile(data, shape[2])
    try:
        block, packet, resolution, tags = _exif(data), _xmp(data), _resolution(data), _places(data)
        if upright and not (block or packet or resolution or tags):
            return Metadata(profile=profile)
        header = read_header(data, 1 << 62)
    except ImageError:
        return Metadata(profile=profile)
    turn = header.orientation if upright else 1
    size = (header.width, header.height) if turn >= _TRANSPOSED else (header.height, header.width)
    same = size == shape[:2]
    done = upright or header.format in (ImageCodec.HEIC, ImageCodec.JPEGXL)  # whose decoders turn
    block = exif.restated(block, shape[1], shape[0], upright=done)
    if not block and not done and header.orientation > 1:  # another place had said it
        block = exif_tags.block(exif_tags.turned(header.orientation))
    return Metadata(
        profile=profile,
        exif=block,
        xmp=xmp.restated(packet, shape[1], shape[0], upright=done),
        resolution=resolution.turned(turn >= _TRANSPOSED) if resolution and same else None,
        tags=tags if same and turn == 1 else {},
    )


def _exif(data: bytes) -> bytes:
    """The EXIF block as the file has it. Most files have none, which a search tells before anything is parsed."""
    kind = format_of(data)
    if kind is ImageCodec.PNG:
        return png.content(data, b"eXIf") if data.find(b"eXIf", 0, data.find(b"IDAT")) > 0 else b""
    if kind is ImageCodec.JPEG:
        return jpeg.exif_block(data) if b"Exif\x00\x00" in data else b""
    if kind is ImageCodec.WEBP:
        return webp.content(data, b"EXIF") if data[12:16] == b"VP8X" else b""
    if kind is ImageCodec.TIFF:
        return exif_tags.block(exif_tags.of_directory(tiff.directory(data)))
    found = CODECS[kind].exif
    return found(data) if found else b""


def _xmp(data: bytes) -> bytes:
    """The XMP packet as the file has it, found as ``_exif`` finds its block."""
    kind = format_of(data)
    if kind is ImageCodec.PNG:
        return png.xmp(data) if png_text.XMP in data else b""
    if kind is ImageCodec.JPEG:
        return jpeg.xmp(data) if jpeg.XMP in data else b""
    if kind is ImageCodec.WEBP:
        return webp.content(data, b"XMP ") if data[12:16] == b"VP8X" else b""
    if kind is ImageCodec.TIFF:
        return tiff.directory(data).content(XMP)
    found = CODECS[kind].xmp
    return found(data) if found else b""


def _resolution(data: bytes) -> Resolution | None:
    kind = format_of(data)
    if kind is ImageCodec.PNG:
        return of_phys(png.content(data, b"pHYs")) if data.find(b"pHYs", 0, data.find(b"IDAT")) > 0 else None
    if kind is ImageCodec.JPEG:
        return of_jfif(data)
    return of_directory(tiff.directory(data)) if kind is ImageCodec.TIFF else None


def _places(data: bytes) -> Mapping[int, Values]:
    if format_of(data) is not ImageCodec.TIFF:
        return {}
    tags = tiff.directory(data)
    return {tag: tags.little(tag) for tag in _PLACES if tags.is_whole(tag)}


def of_tiff(found: Metadata) -> exif_tags.Tags:
    """Type and values of the tags of a little-endian TIFF that say it."""
    profile = {PROFILE: (_UNDEFINED, found.profile)} if found.profile else {}
    packet = {XMP: (_BYTE, found.xmp)} if found.xmp else {}
    resolution = found.resolution.tags() if found.resolution else {}
    return {**found.tags, **exif_tags.of_block(found.exif), **resolution, **profile, **packet}

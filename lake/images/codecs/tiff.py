"""TIFF (TIFF 6.0, Adobe, 1992; BigTIFF): the header, and the image in a form that decoders read correctly.

What has 8 bits or fewer in the usual channels is decoded by Pillow, all else by tifffile (``tiff_samples``).
"""

import lzma
import struct
from collections.abc import Iterable

from lake.images.codecs import exif, jpeg, tiff_pages
from lake.images.codecs.tiff_directory import Directory, corrupt, directory_at, restated
from lake.images.codecs.tiff_kind import Kind, kind_of
from lake.images.codecs.tiff_tags import (
    BITS,
    COMPRESSION,
    EXTRA,
    HEIGHT,
    JPEG,
    KIND,
    LZMA,
    ORIENTATION,
    PLANES,
    PREDICTED,
    PREDICTOR,
    PROFILE,
    ROWS,
    SAMPLES,
    STRIP_BYTES,
    STRIPS,
    TILE_BYTES,
    TILE_LENGTH,
    TILE_WIDTH,
    TILES,
    WIDTH,
    XMP,
)
from lake.images.types import Codec, Header, ImageCodec

# The tags that determine pixels. The numbers are photometric interpretation, fill order, fax options, colour map,
# JPEG tables and YCbCr coding.
_PIXELS = {WIDTH, HEIGHT, BITS, COMPRESSION, STRIPS, SAMPLES, STRIP_BYTES, PREDICTOR, TILE_WIDTH, TILE_LENGTH, TILES}
_PIXELS |= {TILE_BYTES, EXTRA, KIND, ROWS, PLANES, 262, 266, 292, 293, 320, 347, 529, 530, 531, 532}
# Tags with any number of values.
_MANY = {BITS, STRIPS, STRIP_BYTES, TILES, TILE_BYTES, EXTRA, KIND, 320, 347, 529, 530, 532}
_MOST_XMP = 1 << 20  # bytes of XMP that are looked at
_MOST_PADDING = 4  # times the image's pixels that its tiles may have before they count instead
_MOST_XZ = 128 << 20  # bytes of memory for an LZMA stream: its largest preset takes 65 MiB
_XZ_HEADER = 1 << 10  # bytes of it that hold its header
_PIXEL_BYTES = 16  # of a pixel with the largest channels that other formats have: larger ones count as several


def header(data: bytes) -> Header:
    """Parse the directory of the first page that is no smaller copy of another; further pages are counted.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE, also if strips or tiles reach beyond the file. UNSUPPORTED_IMAGE for kinds of samples
        that are not read (``tiff_kind``).
    """
    tags = directory(data)
    width, height = tags.value(WIDTH, 0), tags.value(HEIGHT, 0)
    found = kind_of(tags)
    padded = _check_parts(tags, width, height, whole=found.raw)
    return Header(
        format=ImageCodec.TIFF,
        width=width,
        height=height,
        channels=found.channels,
        depth=found.bits,
        alpha=found.alpha,
        band=found.band,
        palette=found.palette,
        orientation=_orientation(tags),
        canvas=max(padded, _counted(found, width * height)),
        pages=tiff_pages.count(data),
        raw=found.raw,
        white=found.white,
    )


def strip_metadata(data: bytes) -> bytes:
    """The same image as a classic file with a new directory that holds only the tags that determine pixels.

    EXIF, profiles, further pages and the orientation, which Pillow would apply, are left out. The new directory is
    appended, so offsets stay valid.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    tags = directory(data)
    # Of other compressions libtiff, which nearly all writers use, knows no predictor, and ignores the tag.
    ignored = {PREDICTOR} if tags.value(COMPRESSION, 1) not in PREDICTED else set()
    return restated(tags, _PIXELS - ignored, {})


def kind(data: bytes) -> Kind:
    """The samples of the image.

    Args:
      data: the whole file.

    Raises:
      ImageError: as ``header``.
    """
    return kind_of(directory(data))


def directory(data: bytes) -> Directory:
    """The directory of the first page.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    tags = directory_at(data, tiff_pages.first(data))
    for tag in tags.entries.keys() & (_PIXELS | {ORIENTATION}):
        tags.check(tag, single=tag in _PIXELS - _MANY)
    return tags


def profile(data: bytes) -> bytes:
    """The ICC profile; empty if there is none.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    return directory(data).content(PROFILE)


def _orientation(tags: Directory) -> int:
    stated = None
    if ORIENTATION in tags.entries:
        kind, count, place = tags.entries[ORIENTATION]
        inline = tags.entries[ORIENTATION].size <= 4
        field = tags.data[place : place + 4] if inline else struct.pack(tags.layout.order + "I", place)
        entry = struct.pack(tags.layout.order + "HHI", ORIENTATION, kind, count) + field
        stated = exif.number(tags.data, tags.layout.order, entry)
    return exif.turn(stated, tags.content(XMP)[:_MOST_XMP])


def _counted(kind: Kind, pixels: int) -> int:
    """The pixels that an image counts for, if its samples are larger or more than those of other formats, else 0."""
    size = kind.samples * max(kind.bits // 8, 1)
    return -(-pixels * size // _PIXEL_BYTES) if size > _PIXEL_BYTES else 0


def _check_parts(tags: Directory, width: int, height: int, *, whole: bool) -> int:
    """Check that strips or tiles are not absurdly many and lie inside the file; and that all are there, if asked.

    Returns:
      Pixels of a tile, or of all tiles if they are far more than those of the image; 0 for strips.
    """
    tile = _tile(tags)
    across, down = (-(-width // tile[0]), -(-height // tile[1])) if all(tile) else (1, height)
    samples, compression = tags.value(SAMPLES, 1), tags.value(COMPRESSION, 1)
    place, size = (TILES, TILE_BYTES) if all(tile) else (STRIPS, STRIP_BYTES)
    starts, sizes = tags.values(place, ()), tags.values(size, ())
    if not 0 < len(starts) <= samples * across * down:
        raise corrupt(f"{len(starts)} strips or tiles for {width}x{height} pixels of {samples} samples")
    if len(sizes) not in (0, len(starts)):
        raise corrupt(f"{len(starts)} strips or tiles with {len(sizes)} sizes")
    rows = 1 if all(tile) else max(tags.value(ROWS, height), 1)
    needed = across * -(-down // rows) * (samples if tags.value(PLANES, 1) != 1 else 1)
    # tifffile gives zeros for what is missing or empty.
    if whole and (len(starts) < needed or 0 in sizes or (not sizes and (needed > 1 or compression != 1))):
        raise corrupt(f"{len(starts)} strips or tiles of {needed}, {sizes.count(0)} of them empty")
    if compression == JPEG:
        jpeg.check_scans(tags.data.count(b"\xff\xda") / len(starts), width * height, ImageCodec.TIFF)
    parts = list(zip(starts, sizes, strict=False))
    if any(start + size > len(tags.data) for start, size in parts):
        raise corrupt(f"strips or tiles reach beyond the file's {len(tags.data)} bytes")
    if compression == LZMA:
        _check_xz(tags.data[start : start + size] for start, size in parts)
    return max(tile[0] * tile[1], across * tile[0] * down * tile[1] // _MOST_PADDING)


def _check_xz(parts: Iterable[bytes]) -> None:
    """Check that LZMA streams do not ask for more memory than any encoder's presets do."""
    for part in parts:
        try:
            lzma.LZMADecompressor(memlimit=_MOST_XZ).decompress(part[:_XZ_HEADER], 1)
        except lzma.LZMAError as error:
            raise corrupt(f"LZMA: {error}") from error


def _tile(tags: Directory) -> tuple[int, int]:
    """Width and length of a tile; (0, 0) for strips."""
    if TILES not in tags.entries:
        return 0, 0
    tile = tags.value(TILE_WIDTH, 0), tags.value(TILE_LENGTH, 0)
    if not all(tile):
        raise corrupt(f"tiles of {tile[0]}x{tile[1]} pixels")
    return tile


CODEC = Codec(
    name=ImageCodec.TIFF,
    suffixes=(".tif", ".tiff"),
    magic=(b"II\x2a\x00", b"MM\x00\x2a", b"II\x2b\x00", b"MM\x00\x2b"),  # the last two of BigTIFF
    header=header,
    plugin=("PIL.TiffImagePlugin", "TiffImageFile"),
    strip_metadata=strip_metadata,
)

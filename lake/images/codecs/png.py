"""PNG chunks (PNG specification, third edition: https://www.w3.org/TR/png-3/)."""

import struct
import zlib
from collections.abc import Iterator

from lake.core.records import Reason
from lake.images.codecs import exif, png_text
from lake.images.types import Codec, Header, ImageCodec, ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 1, 6: 3}  # by colour type
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# The chunks that determine pixels.
_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_ORIENTED = frozenset({b"eXIf"}) | png_text.TEXTS
# Chunks that a decoder may inflate though pixels do not depend on them. In bulk they are not taken out first.
_PACKED = frozenset({b"zTXt", b"iTXt", b"iCCP"})
_MOST_PACKED = 1 << 12  # bytes of them in a plain image: enough for usual profiles, and at most 4 MiB inflated
_MOST_CHUNKS = 1 << 18  # bounds time and memory; with the usual 8 kB per IDAT this allows 2 GB
_OVERHEAD = 12  # bytes of a chunk beside its content: length, type and CRC
_FIRST = len(SIGNATURE) + _OVERHEAD + 13  # where the chunk after IHDR begins
_IEND = b"\x00\x00\x00\x00IEND"  # without its CRC
_END = _IEND + zlib.crc32(b"IEND").to_bytes(4)
_PLAIN = _FIRST + _OVERHEAD + len(_END)  # bytes beside the content of the one IDAT
_AFTER_IDAT = -len(_END) - 4


def header(data: bytes) -> Header:
    """Parse IHDR, and the types of the other chunks up to IEND. CRCs are verified, except those of IDAT.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE, if it is truncated, a CRC is wrong, or a critical chunk is unknown.
    """
    width, height, depth, color, interlaced = _ihdr(data)
    chunks = list(_chunks(data))
    kinds = {kind: (start, length) for kind, start, length in reversed(chunks)}  # the first of each
    return Header(
        format=ImageCodec.PNG,
        width=width,
        height=height,
        channels=_CHANNELS[color],
        depth=depth,
        alpha=color in (4, 6) or b"tRNS" in kinds,
        palette=color == 3,
        orientation=_orientation(data, chunks, kinds),
        pages=_pages(data, kinds),
        plain=depth == 8
        and color in (0, 2)
        and not interlaced
        and kinds.keys().isdisjoint({b"tRNS", b"PLTE"})
        and sum(length for kind, _, length in chunks if kind in _PACKED) <= _MOST_PACKED,
    )


def strip_metadata(data: bytes, *, transparency: bool = True) -> bytes:
    """The same image reduced to the chunks that determine pixels, with the CRCs of IDAT verified.

    Pillow stops at the last row, so it would miss damage in the last IDAT. Texts, profiles and animation then reach no
    parser.

    Args:
      data: the whole file.
      transparency: whether to keep the transparent colours (tRNS).

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    kept = _PIXELS if transparency else _PIXELS - {b"tRNS"}
    parts: list[bytes | memoryview] = [SIGNATURE]
    whole = memoryview(data)
    for kind, start, length in _chunks(data):
        if kind == b"IDAT":
            _check_crc(data, kind, start, length)
        if kind in kept:
            parts.append(whole[start - 8 : start + length + 4])
    return b"".join(parts)


def intact(data: bytes) -> bool:
    """Whether the CRC of each IDAT is right, in a file whose other chunks are known to be good.

    It takes less than 1 us for a small image, several times less than ``strip_metadata``.
    """
    # Most small images are IHDR, one IDAT and IEND, which needs no loop.
    stop = _FIRST + 8 + int.from_bytes(data[_FIRST : _FIRST + 4])
    if data.startswith(b"IDAT", _FIRST + 4) and data.startswith(_IEND, stop + 4):
        return zlib.crc32(data[_FIRST + 4 : stop]) == int.from_bytes(data[stop : stop + 4])
    position, end = len(SIGNATURE), len(data)
    while position + _OVERHEAD <= end:
        start, stop = position + 4, position + 8 + int.from_bytes(data[position : position + 4])
        if data.startswith(b"IDAT", start):
            if zlib.crc32(memoryview(data)[start:stop]) != int.from_bytes(data[stop : stop + 4]):
                return False
        elif data.startswith(b"IEND", start):
            break
        position = stop + 4
    return True


def only_idat(data: bytes) -> bytes | None:
    """The content of the one IDAT of a file that has just it between IHDR and IEND, if its CRC is right; else None.

    Args:
      data: the whole file, whose IHDR is known to be good.
    """
    if not (data.startswith(b"IDAT", _FIRST + 4) and data.endswith(_END)):
        return None
    if int.from_bytes(data[_FIRST : _FIRST + 4]) != len(data) - _PLAIN:
        return None
    if zlib.crc32(data[_FIRST + 4 : _AFTER_IDAT]) != int.from_bytes(data[_AFTER_IDAT : _AFTER_IDAT + 4]):
        return None
    return data[_FIRST + 8 : _AFTER_IDAT]


def whole(data: bytes) -> bool:
    """Whether the checksums of all chunks prove a file, from its first byte to its last one.

    Args:
      data: of any kind.
    """
    end = len(SIGNATURE)
    try:
        for kind, start, length in _chunks(data):
            if kind == b"IDAT":
                _check_crc(data, kind, start, length)
            end = start + length + 4
    except ImageError:
        return False
    return data.startswith(SIGNATURE) and end == len(data)


def shape(data: bytes) -> tuple[int, int, int]:
    """(H, W, K) of a file without a palette, with K 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha).

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    width, height, _, color, _ = _ihdr(data)
    return height, width, _CHANNELS[color] + (color in (4, 6))


def transparent(data: bytes) -> tuple[int, ...]:
    """The samples of the one transparent colour (tRNS) of a grey or RGB image; () if there is none.

    Args:
      data: the whole file.
    """
    samples = content(data, b"tRNS")
    return struct.unpack_from(f">{len(samples) // 2}H", samples)


def content(data: bytes, name: bytes) -> bytes:
    """The content of the first chunk of a type; empty if there is none.

    Args:
      data: the whole file.
      name: the type, four bytes.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    for kind, start, length in _chunks(data):
        if kind == name:
            return data[start : start + length]
    return b""


def xmp(data: bytes) -> bytes:
    """The XMP packet, its first MiB; empty if there is none.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    return png_text.last_text(data, _chunks(data), png_text.XMP)


def _ihdr(data: bytes) -> tuple[int, int, int, int, int]:
    if len(data) < 33 or data[8:16] != b"\x00\x00\x00\rIHDR":
        raise ImageError(Reason.CORRUPT_IMAGE, "PNG: does not begin with a whole IHDR chunk")
    width, height, depth, color, compression, filtering, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if depth not in _DEPTHS.get(color, ()) or compression or filtering or interlaced > 1:
        raise ImageError(Reason.CORRUPT_IMAGE, f"PNG: IHDR with colour type {color} and bit depth {depth} is not valid")
    return width, height, depth, color, interlaced


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start of the content and its length, of each chunk up to IEND."""
    position, end = len(SIGNATURE), len(data)
    for _ in range(_MOST_CHUNKS):
        if position + _OVERHEAD > end:
            break
        length = int.from_bytes(data[position : position + 4])
        kind = data[position + 4 : position + 8]
        if position + _OVERHEAD + length > end:
            raise ImageError(Reason.CORRUPT_IMAGE, f"PNG: cut off in chunk {kind!r} at byte {position} of {end}")
        if kind != b"IDAT":  # whose CRC the decoder or ``strip_metadata`` checks
            _check_crc(data, kind, position + 8, length)
        # An upper-case first letter marks a critical chunk: decoders must not show the image without knowing it.
        if not kind[0] & 0x20 and kind not in _PIXELS:
            raise ImageError(Reason.CORRUPT_IMAGE, f"PNG: unknown critical chunk {kind!r}")
        yield kind, position + 8, length
        if kind == b"IEND":
            return
        position += _OVERHEAD + length
    raise ImageError(Reason.CORRUPT_IMAGE, f"PNG: no IEND chunk up to byte {position} of {end}")


def _check_crc(data: bytes, kind: bytes, start: int, length: int) -> None:
    content = memoryview(data)[start - 4 : start + length]
    if zlib.crc32(content) != int.from_bytes(data[start + length : start + length + 4]):
        raise ImageError(Reason.CORRUPT_IMAGE, f"PNG: wrong CRC of chunk {kind!r} at byte {start - 8}")


def _pages(data: bytes, kinds: dict[bytes, tuple[int, int]]) -> int:
    """Frames of an animated PNG, and its default image where that is none of them (no fcTL before it)."""
    if b"acTL" not in kinds or kinds[b"acTL"][1] < 4:
        return 1
    start, _ = kinds[b"acTL"]
    frames = int.from_bytes(data[start : start + 4])
    apart = kinds.get(b"fcTL", (len(data), 0)) > kinds.get(b"IDAT", (0, 0))
    return max(frames, 1) + apart


def _orientation(data: bytes, chunks: list[tuple[bytes, int, int]], kinds: dict[bytes, tuple[int, int]]) -> int:
    """Orientation by eXIf, else by ImageMagick's text of it, else by XMP."""
    if kinds.keys().isdisjoint(_ORIENTED):
        return 1
    if b"eXIf" in kinds:
        start, length = kinds[b"eXIf"]
        block = data[start : start + length]
    else:
        block = png_text.raw_profile(png_text.last_text(data, chunks, b"Raw profile type exif"))
    return exif.turn(exif.find(block), png_text.last_text(data, chunks, png_text.XMP))


CODEC = Codec(
    name=ImageCodec.PNG,
    suffixes=(".png", ".apng"),
    magic=(SIGNATURE,),
    header=header,
    plugin=("PIL.PngImagePlugin", "PngImageFile"),
    strip_metadata=strip_metadata,
)

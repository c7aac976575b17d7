"""PNG by its chunks (PNG specification, third edition: https://www.w3.org/TR/png-3/)."""

import struct
import zlib
from collections.abc import Iterator

from pipeline.images import exif
from pipeline.images.base import Format, Header, ImageError
from pipeline.records import Reason

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 1, 6: 3}  # by colour type
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_MOST_CHUNKS = 1 << 18  # bounds time and memory: 8 kB of IDAT in each are 2 GB
_OVERHEAD = 12  # length, type and CRC of a chunk


def header(data: bytes) -> Header:
    """Read from IHDR and, up to IEND, from the types of the other chunks; CRCs are checked but those of IDAT.

    Raises:
      ImageError: CORRUPT_IMAGE: cut off, a wrong CRC, or an unknown critical chunk.
    """
    width, height, depth, color, interlaced = _ihdr(data)
    kinds = {kind: (start, length) for kind, start, length in reversed(list(_chunks(data)))}  # the first of each
    return Header(
        format=Format.PNG,
        width=width,
        height=height,
        channels=_CHANNELS[color],
        depth=depth,
        alpha=color in (4, 6) or b"tRNS" in kinds,
        palette=color == 3,
        orientation=_orientation(data, kinds),
        plain=depth == 8 and color in (0, 2) and not interlaced and kinds.keys().isdisjoint({b"tRNS", b"PLTE"}),
    )


def essence(data: bytes) -> bytes:
    """The same image reduced to the chunks that make pixels, after checking the CRCs of IDAT.

    Pillow reads no further than the last row and so misses damage in the last IDAT; and texts, profiles and
    animation need not pass through any parser.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    parts: list[bytes | memoryview] = [SIGNATURE]
    whole = memoryview(data)
    for kind, start, length in _chunks(data):
        if kind == b"IDAT":
            _check_crc(data, kind, start, length)
        if kind in _PIXELS:
            parts.append(whole[start - 8 : start + length + 4])
    return b"".join(parts)


def intact(data: bytes) -> bool:
    """Whether the CRC of each IDAT is right, of a file whose other chunks are known to be good.

    In 1 us for a small image, which ``essence`` takes several for.
    """
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


def transparent(data: bytes) -> tuple[int, ...]:
    """The samples of the one colour that tRNS makes transparent in a grey or RGB image; () where there is none."""
    found = content(data, b"tRNS")
    return struct.unpack_from(f">{len(found) // 2}H", found)


def content(data: bytes, name: bytes) -> bytes:
    """What the first chunk of a type holds; empty where there is none.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    for kind, start, length in _chunks(data):
        if kind == name:
            return data[start : start + length]
    return b""


def _ihdr(data: bytes) -> tuple[int, int, int, int, int]:
    if len(data) < 33 or data[8:16] != b"\x00\x00\x00\rIHDR":
        raise ImageError(Reason.CORRUPT_IMAGE, "PNG: does not begin with a whole IHDR chunk")
    width, height, depth, color, compression, filtering, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if depth not in _DEPTHS.get(color, ()) or compression or filtering or interlaced > 1:
        raise ImageError(Reason.CORRUPT_IMAGE, f"PNG: IHDR with colour type {color} and bit depth {depth} is not valid")
    return width, height, depth, color, interlaced


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start of the content and its length of each chunk up to IEND."""
    position, end = len(SIGNATURE), len(data)
    for _ in range(_MOST_CHUNKS):
        if position + _OVERHEAD > end:
            break
        length = int.from_bytes(data[position : position + 4])
        kind = data[position + 4 : position + 8]
        if position + _OVERHEAD + length > end:
            raise ImageError(Reason.CORRUPT_IMAGE, f"PNG: cut off in chunk {kind!r} at byte {position} of {end}")
        if kind != b"IDAT":  # whose CRC the decoder or ``essence`` checks
            _check_crc(data, kind, position + 8, length)
        if not kind[0] & 0x20 and kind not in _PIXELS:  # upper case: not to be shown without understanding it
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


def _orientation(data: bytes, kinds: dict[bytes, tuple[int, int]]) -> int:
    if b"eXIf" not in kinds:
        return 1
    start, length = kinds[b"eXIf"]
    return exif.orientation(data[start : start + length])

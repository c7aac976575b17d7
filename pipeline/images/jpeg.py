"""JPEG by its markers (ITU-T T.81, annex B; JFIF: T.871; Adobe's APP14: T.872)."""

import re
import struct
from collections.abc import Iterator

from pipeline.images import exif
from pipeline.images.base import Format, Header, ImageError
from pipeline.records import Reason

_SOS, _APP0, _APP1, _APP2, _APP14, _COM = 0xDA, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_PROFILE = b"ICC_PROFILE\x00"  # then the number of the part, of how many, and the part
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..15 without DHT, JPG and DAC
_READ = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # sequential and progressive, Huffman and arithmetic
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, RST0..7, SOI: no length follows
_RESERVED = frozenset({0x00, *range(0x02, 0xC0)})  # no markers: decoders skip them byte by byte, or refuse them
# SOS, a scan with stuffed bytes and RST0..7 in it, and EOI.
_WHOLE_SCAN = re.compile(rb"\xff\xda[^\xff]*+(?:\xff++[\x00\xd0-\xd7][^\xff]*+)*+\xff++\xd9")
_FILL = re.compile(rb"\xff+(?=\xff)")
_MOST_SEGMENTS = 1 << 14  # before the first scan; bounds time and memory
# Sampling factors of the components, as H << 4 | V: 4:4:4, 4:2:2 and 4:2:0, and any grey.
_COMMON = frozenset({(0x11, 0x11, 0x11), (0x21, 0x11, 0x11), (0x22, 0x11, 0x11)})


def header(data: bytes) -> Header:
    """Read from the markers up to the first scan.

    Raises:
      ImageError: CORRUPT_IMAGE; UNSUPPORTED_IMAGE for 12-bit, lossless and hierarchical JPEG.
    """
    frame: tuple[int, bytes] | None = None
    adobe, turn, end = None, 1, 0
    for marker, start, end in _segments(data):
        if marker in _FRAMES:
            if frame is not None:
                raise ImageError(Reason.CORRUPT_IMAGE, "JPEG: two frame headers before the first scan")
            frame = marker, data[start:end]
        elif marker == _APP1 and turn == 1 and data.startswith(b"Exif\x00\x00", start):
            turn = exif.orientation(data[start:end])
        elif marker == _APP14 and data.startswith(b"Adobe", start) and end - start >= 12:
            adobe = data[start + 11]
    if frame is None:
        raise ImageError(Reason.CORRUPT_IMAGE, "JPEG: no frame header before the first scan")
    return _header(*frame, adobe, turn, end)


def essence(data: bytes) -> bytes:
    """The same image without the application segments and comments that have no part in its pixels.

    Profiles, EXIF, previews and texts need not pass through any parser. JFIF's APP0 and Adobe's APP14 stay: they say
    how colours are coded. Up to the first scan nothing stands between the segments, where parsers could differ.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    parts, end = [data[:2]], 2
    for marker, start, end in _segments(data):
        if marker in (_APP0, _APP14) or not (0xE0 <= marker <= 0xEF or marker == _COM):
            parts += (bytes((0xFF, marker)), data[start - 2 : end])
    return b"".join((*parts, data[end:]))


def intact(data: bytes) -> bool:
    """Whether the first scan is followed by the end of the image, as in each baseline file that is whole.

    Takes less than 1 us for a small image.
    """
    return _WHOLE_SCAN.search(data) is not None


def profile(data: bytes) -> bytes:
    """The ICC profile, put together from its segments (ICC.1:2022, annex B.4); empty where one is missing.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    parts: dict[int, bytes] = {}
    count = 0
    for marker, start, end in _segments(data):
        if marker == _APP2 and data.startswith(_PROFILE, start) and end - start > len(_PROFILE) + 2:
            number, count = data[start + len(_PROFILE) : start + len(_PROFILE) + 2]
            parts[number] = data[start + len(_PROFILE) + 2 : end]
    whole = sorted(parts) == list(range(1, count + 1))
    return b"".join(parts[number] for number in sorted(parts)) if whole else b""


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of the content of each segment, the last one being the header of the first scan."""
    position, size = 2, len(data)
    for _ in range(_MOST_SEGMENTS):
        if (fill := _FILL.match(data, position)) is not None:  # a marker may be preceded by any number of 0xFF
            position = fill.end()
        if position + 4 > size:
            break
        if data[position] != 0xFF or data[position + 1] in _RESERVED:
            raise ImageError(Reason.CORRUPT_IMAGE, f"JPEG: no marker at byte {position}")
        marker = data[position + 1]
        if marker in _BARE:
            position += 2
            continue
        start, end = position + 4, position + 2 + (data[position + 2] << 8 | data[position + 3])
        if not start <= end <= size:
            raise ImageError(Reason.CORRUPT_IMAGE, f"JPEG: cut off in segment {marker:#04x} at byte {position}")
        yield marker, start, end
        if marker == _SOS:
            return
        position = end
    raise ImageError(Reason.CORRUPT_IMAGE, f"JPEG: no scan up to byte {position} of {size}")


def _header(marker: int, frame: bytes, adobe: int | None, turn: int, extent: int) -> Header:
    if len(frame) < 6 or len(frame) != 6 + 3 * frame[5]:
        raise ImageError(Reason.CORRUPT_IMAGE, f"JPEG: frame header of {len(frame)} bytes")
    depth, height, width, channels = struct.unpack_from(">BHHB", frame)
    if marker not in _READ or depth != 8 or channels not in (1, 3, 4):
        raise ImageError(
            Reason.UNSUPPORTED_IMAGE, f"JPEG of process SOF{marker - 0xC0}, {depth} bits, {channels} components"
        )
    return Header(
        format=Format.JPEG,
        width=width,
        height=height,
        channels=channels,
        orientation=turn,
        extent=extent,
        plain=marker in (0xC0, 0xC1) and _common(frame, adobe),
    )


def _common(frame: bytes, adobe: int | None) -> bool:
    """Grey, or YCbCr by component numbers 1, 2, 3 and usual sampling: leaves no decoder room to guess."""
    if frame[5] == 1:
        return adobe is None
    return frame[6::3] == b"\x01\x02\x03" and tuple(frame[7::3]) in _COMMON and adobe in (None, 1)

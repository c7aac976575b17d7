"""JPEG markers and segments (ITU-T T.81, annex B; JFIF: T.871; Adobe's APP14: T.872)."""

import re
import struct
from collections.abc import Iterator
from dataclasses import replace

from lake.core.records import Reason
from lake.images.codecs import exif, mpf
from lake.images.types import Codec, Header, ImageCodec, ImageError

_SOS, _EOI, _APP0, _APP1, _APP2, _APP14, _COM = 0xDA, 0xD9, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_PROFILE = b"ICC_PROFILE\x00"  # followed by the part's number, the number of parts, and the part
XMP = b"http://ns.adobe.com/xap/1.0/\x00"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..15 without DHT, JPG and DAC
_READ = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # sequential and progressive, Huffman and arithmetic coding
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, RST0..7, SOI: these have no length
_RESERVED = frozenset({0x00, *range(0x02, 0xC0)})  # no markers: some decoders skip them, others refuse them
# SOS, a scan with stuffed bytes and RST0..7 in it, and EOI.
_WHOLE_SCAN = re.compile(rb"\xff\xda[^\xff]*+(?:\xff++[\x00\xd0-\xd7][^\xff]*+)*+\xff++\xd9")
_FILL = re.compile(rb"\xff+(?=\xff)")
_NEXT = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")  # the next marker after a scan's data
# Each scan of a progressive image visits every pixel. Encoders write about 10 scans; empty ones cost no bytes.
_MOST_SCANS = 32
_SCANNED_PIXELS = 1 << 28  # scans times pixels that are decoded however many scans there are; takes about a second
_MOST_SEGMENTS = 1 << 14  # segments before the first scan; bounds time and memory
# Sampling factors of the components, as H << 4 | V: 4:4:4, 4:2:2 and 4:2:0, and any grey.
_COMMON = frozenset({(0x11, 0x11, 0x11), (0x21, 0x11, 0x11), (0x22, 0x11, 0x11)})


def header(data: bytes) -> Header:
    """Parse the markers up to the first scan.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE; UNSUPPORTED_IMAGE for 12-bit, lossless and hierarchical JPEG, and for too many scans.
    """
    frame: tuple[int, bytes] | None = None
    adobe, stated, xmp, end, pictures, gain_map = None, None, b"", 0, 1, False
    for marker, start, end in _segments(data):
        if marker in _FRAMES:
            # Decoders differ in which of two frame headers counts, so the size would not be certain.
            if frame is not None:
                raise ImageError(Reason.CORRUPT_IMAGE, "JPEG: two frame headers before the first scan")
            frame = marker, data[start:end]
        elif marker == _APP1 and data.startswith(b"Exif\x00\x00", start):
            stated = exif.find(data[start:end]) if stated in (None, 1) else stated
        elif marker in (_APP1, _APP2):
            gain_map = gain_map or mpf.is_gain_map(data[start:end])
            xmp = data[start:end] if data.startswith(XMP, start) else xmp
            pictures = max(pictures, mpf.pictures(data[start:end]) if marker == _APP2 else 1)
        elif marker == _APP14 and data.startswith(b"Adobe", start) and end - start >= 12:
            adobe = data[start + 11]
    if frame is None:
        raise ImageError(Reason.CORRUPT_IMAGE, "JPEG: no frame header before the first scan")
    found = _header(*frame, adobe, exif.turn(stated, xmp), end, 1 if gain_map else pictures)
    # Decoders of a baseline image stop after a scan that has all components.
    if found.plain and data[start:end][:1] == bytes((found.channels,)):
        return found
    check_scans(_scans(data, end, found.width * found.height), found.width * found.height, ImageCodec.JPEG)
    return replace(found, plain=False)


def check_scans(scans: float, pixels: int, format: str) -> None:
    """Check that scans are not so many that decoding them would take long.

    Args:
      scans: of the image, the first one included.
      pixels: of each scan.
      format: of the file, for the error.

    Raises:
      ImageError: UNSUPPORTED_IMAGE.
    """
    if scans > _MOST_SCANS and scans * pixels > _SCANNED_PIXELS:
        text = (
            f"{format} of {scans:.0f} scans of {pixels} pixels: at most {_MOST_SCANS} scans of a large image are read"
        )
        raise ImageError(Reason.UNSUPPORTED_IMAGE, text)


def _scans(data: bytes, position: int, pixels: int) -> int:
    """The number of scans, counted from the data of the first one; exact only if they might be too many."""
    most = 1 + data.count(b"\xff\xda", position)
    if most <= _MOST_SCANS or most * pixels <= _SCANNED_PIXELS:
        return most
    scans = 1
    # Segments are walked, since previews in them and pictures after the end have scans of their own.
    for _ in range(_MOST_SEGMENTS):
        marker = _NEXT.search(data, position)
        if marker is None or (kind := data[marker.end() - 1]) == _EOI:
            return scans
        scans += kind == _SOS
        position = marker.end() + (
            0 if kind in _BARE else max(int.from_bytes(data[marker.end() : marker.end() + 2]), 2)
        )
    return most


def strip_metadata(data: bytes) -> bytes:
    """The same image without application segments and comments that do not affect its pixels.

    Profiles, EXIF, previews and texts then reach no parser. JFIF's APP0 and Adobe's APP14 stay, since they say how
    colours are coded. Up to the first scan nothing is left between the segments, where parsers could disagree.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    parts, end = [data[:2]], 2
    for marker, start, end in _segments(data):
        if marker in (_APP0, _APP14) or not (0xE0 <= marker <= 0xEF or marker == _COM):
            parts += (bytes((0xFF, marker)), data[start - 2 : end])
    return b"".join((*parts, data[end:]))


def intact(data: bytes) -> bool:
    """Whether the first scan ends with the end of the image, as in every complete baseline file.

    This is a cheap test for damage: it takes less than 1 us for a small image.
    """
    return _WHOLE_SCAN.search(data) is not None


def exif_block(data: bytes) -> bytes:
    """The first EXIF block, without its prefix; empty if there is none.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    for marker, start, end in _segments(data):
        if marker == _APP1 and data.startswith(b"Exif\x00\x00", start):
            return data[start + 6 : end]
    return b""


def xmp(data: bytes) -> bytes:
    """The last XMP packet, without what extends it; empty if there is none.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    places = [(start, end) for marker, start, end in _segments(data) if marker == _APP1]
    packets = [data[start + len(XMP) : end] for start, end in places if data.startswith(XMP, start)]
    return packets[-1] if packets else b""


def profile(data: bytes) -> bytes:
    """The ICC profile, joined from its segments (ICC.1:2022, annex B.4); empty if a part is missing.

    Args:
      data: the whole file.

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
    """Marker, and start and end of the content, of each segment. The last one is the header of the first scan."""
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


def _header(marker: int, frame: bytes, adobe: int | None, turn: int, extent: int, pages: int) -> Header:
    if len(frame) < 6 or len(frame) != 6 + 3 * frame[5]:
        raise ImageError(Reason.CORRUPT_IMAGE, f"JPEG: frame header of {len(frame)} bytes")
    depth, height, width, channels = struct.unpack_from(">BHHB", frame)
    if marker not in _READ or depth != 8 or channels not in (1, 3, 4):
        raise ImageError(
            Reason.UNSUPPORTED_IMAGE, f"JPEG of process SOF{marker - 0xC0}, {depth} bits, {channels} components"
        )
    return Header(
        format=ImageCodec.JPEG,
        width=width,
        height=height,
        channels=channels,
        orientation=turn,
        extent=extent if pages == 1 else 0,
        pages=pages,
        plain=marker in (0xC0, 0xC1) and _is_common(frame, adobe),
    )


def _is_common(frame: bytes, adobe: int | None) -> bool:
    """Whether colours are grey, or YCbCr with component ids 1, 2, 3 and usual sampling: decoders cannot differ."""
    if frame[5] == 1:
        return adobe is None
    return frame[6::3] == b"\x01\x02\x03" and tuple(frame[7::3]) in _COMMON and adobe in (None, 1)


CODEC = Codec(
    name=ImageCodec.JPEG,
    suffixes=(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo"),
    magic=(b"\xff\xd8\xff",),
    header=header,
    strip_metadata=strip_metadata,
)

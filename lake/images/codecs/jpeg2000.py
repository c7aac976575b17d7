"""JPEG 2000 headers (ITU-T T.800: annex A, the codestream; annex I, its file)."""

import struct
from collections.abc import Iterator

from lake.core.records import Reason
from lake.images.codecs.plugin import header_of, opened
from lake.images.types import Codec, Header, ImageCodec, ImageError

_PLUGIN = ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile")
_FILE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_CODESTREAM = b"\xff\x4f\xff\x51"  # SOC and SIZ
_MOST_BOXES = 1 << 10  # bounds time
_MOST_TILES = 1 << 16
_SIZ = 38  # bytes of SIZ without its components


def header(data: bytes) -> Header:
    """Parse SIZ, and the boxes around the codestream, which must say the same.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE; UNSUPPORTED_IMAGE for samples that Pillow would reduce: colour of more than 8 bits, and
        signed ones.
    """
    start = data.find(_CODESTREAM) if data.startswith(_CODESTREAM) else _codestream(data)
    if data[start : start + 4] != _CODESTREAM or len(data) < start + 4 + _SIZ:
        raise _corrupt(f"no codestream at byte {start} of {len(data)}")
    *_, right, bottom, left, top, across, down, _, _, components = struct.unpack_from(">HHIIIIIIIIH", data, start + 4)
    depths = data[start + 4 + _SIZ : start + 4 + _SIZ + 3 * components : 3]
    if not (across and down and components) or right <= left or bottom <= top or len(depths) < components:
        raise _corrupt(f"{right - left}x{bottom - top} pixels of {components} components in tiles {across}x{down}")
    if -(-right // across) * -(-bottom // down) > _MOST_TILES:
        raise _corrupt(f"{right - left}x{bottom - top} pixels in tiles of {across}x{down}")
    if max(depths) > 15 or (max(depths) > 7 and components > 1):
        bits = [1 + (depth & 127) for depth in depths]
        raise ImageError(Reason.UNSUPPORTED_IMAGE, f"JPEG 2000: {components} components of {bits} bits, or signed")
    found = header_of(opened(data, ImageCodec.JPEG2000, _PLUGIN), ImageCodec.JPEG2000)
    if (found.width, found.height) != (right - left, bottom - top):
        raise _corrupt(f"{right - left}x{bottom - top} pixels in a file of {found.width}x{found.height}")
    return found


def _codestream(data: bytes) -> int:
    """Where the codestream begins in a file of boxes."""
    for kind, start in _boxes(data):
        if kind == b"jp2c":
            return start
    raise _corrupt("no box with a codestream")


def _boxes(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Type of each box, and where its content starts."""
    position = 0
    for _ in range(_MOST_BOXES):
        if position + 8 > len(data):
            return
        size, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if size == 1 and position + 16 <= len(data):
            (size,), head = struct.unpack_from(">Q", data, position + 8), 16
        yield kind, position + head
        if size < head:  # 0: up to the end
            return
        position += size


def _corrupt(problem: str) -> ImageError:
    return ImageError(Reason.CORRUPT_IMAGE, f"JPEG 2000: {problem}")


CODEC = Codec(
    name=ImageCodec.JPEG2000,
    suffixes=(".jp2", ".j2k", ".j2c", ".jpc", ".jpx"),
    magic=(_FILE, _CODESTREAM),
    header=header,
    plugin=_PLUGIN,
)

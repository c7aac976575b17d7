"""JPEG XL headers (ISO/IEC 18181-1, annexes B to E; 18181-2, its file), and its pixels by libjxl, in imagecodecs."""

import struct
from collections.abc import Iterator

import numpy as np

from lake.core.records import Array, Reason
from lake.images.codecs.depth import at_full_scale
from lake.images.types import Codec, Header, ImageCodec, ImageError

_CODESTREAM = b"\xff\x0a"
_FILE = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_MOST_BYTES = 1 << 12  # of the codestream that hold its header
_MOST_BOXES = 1 << 10  # bounds time
_SIDE = ((9, 1), (13, 1), (18, 1), (30, 1))  # bits and smallest value, by selector
_SMALL = ((0, 1), (0, 2), (0, 0), (0, 0))
_ENUM = ((0, 0), (0, 1), (4, 2), (6, 18))
_RATIOS = {1: (1, 1), 2: (6, 5), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}  # width to height
_MOST_BITS = 16  # of an integer
_GREY, _UPRIGHT = 1, 5  # colour space; orientations from this one on swap the sides


class _Bits:
    """Reads numbers of bits, the lowest first."""

    def __init__(self, data: bytes) -> None:
        self._number, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, bits: int) -> int:
        if bits > self._left:
            raise _corrupt("cut off in its header")
        value = self._number & (1 << bits) - 1
        self._number >>= bits
        self._left -= bits
        return value

    def choose(self, kinds: tuple[tuple[int, int], ...]) -> int:
        """A number of as many bits as a selector of two bits says, above the smallest of its kind."""
        bits, least = kinds[self.take(2)]
        return least + self.take(bits)


def header(data: bytes) -> Header:
    """Parse the size and the image metadata. Sides are those of the upright image, as its decoder gives it.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE; UNSUPPORTED_IMAGE for previews, integers of more than 16 bits, and extra
        channels other than one of alpha.
    """
    bits = _Bits(_codestream(data)[len(_CODESTREAM) : _MOST_BYTES])
    height, width = _size(bits)
    orientation, animated, depth, alpha, channels = _metadata(bits)
    if orientation >= _UPRIGHT:
        height, width = width, height
    return Header(
        format=ImageCodec.JPEGXL,
        width=width,
        height=height,
        channels=channels,
        depth=depth,
        alpha=alpha,
        pages=1 + animated,
        raw=True,
    )


def samples(data: bytes, header: Header) -> Array:
    """The pixels of the first frame, upright.

    Args:
      data: the whole file.
      header: of it.

    Returns:
      ``[H, W, K]`` of uint8, uint16 or a floating type; integers have white at the largest number of their type.

    Raises:
      Exception: of any kind, for a damaged file.
    """
    from imagecodecs import jpegxl_decode

    pixels = at_full_scale(np.asarray(jpegxl_decode(data, index=0, numthreads=1)), header.depth)
    channels = (1 if header.channels == 1 else 3) + header.alpha
    return pixels.reshape(header.height, header.width, channels)


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)
    height = 8 * (1 + bits.take(5)) if small else bits.choose(_SIDE)
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio]
        return height, height * across // down
    return height, 8 * (1 + bits.take(5)) if small else bits.choose(_SIDE)


def _metadata(bits: _Bits) -> tuple[int, bool, int, bool, int]:
    """Orientation, whether there are frames, bits of a sample, whether there is alpha, and colour channels."""
    if bits.take(1):  # all is as usual
        return 1, False, 8, False, 3
    orientation, animated = 1, False
    if bits.take(1):
        orientation = 1 + bits.take(3)
        if bits.take(1):
            _size(bits)  # for which it is meant
        if bits.take(1):
            raise ImageError(Reason.UNSUPPORTED_IMAGE, "JPEG XL with a preview")
        animated = bool(bits.take(1))
        if animated:
            _skip_animation(bits)
    depth = _depth(bits)
    bits.take(1)  # whether 16 bits are enough for a decoder
    alpha = _alpha(bits)
    bits.take(1)  # whether colours are stored as XYB
    grey = not bits.take(1) and not bits.take(1) and bits.choose(_ENUM) == _GREY
    return orientation, animated, depth, alpha, 1 if grey else 3


def _skip_animation(bits: _Bits) -> None:
    bits.choose(((0, 100), (0, 1000), (10, 1), (30, 1)))
    bits.choose(((0, 1), (0, 1001), (8, 1), (10, 1)))
    bits.choose(((0, 0), (3, 0), (16, 0), (32, 0)))
    bits.take(1)


def _depth(bits: _Bits) -> int:
    if bits.take(1):  # floating
        depth = bits.choose(((0, 32), (0, 16), (0, 24), (6, 1)))
        bits.take(4)
        return depth
    depth = bits.choose(((0, 8), (0, 10), (0, 12), (6, 1)))
    if depth > _MOST_BITS:
        raise ImageError(Reason.UNSUPPORTED_IMAGE, f"JPEG XL of integers of {depth} bits")
    return depth


def _alpha(bits: _Bits) -> bool:
    """Whether there is alpha, and nothing else beside the colours."""
    count = bits.choose(((0, 0), (0, 1), (4, 2), (12, 1)))
    if not count:
        return False
    if count == 1 and bits.take(1):  # alpha as usual
        return True
    if count > 1 or bits.choose(_ENUM):
        raise ImageError(Reason.UNSUPPORTED_IMAGE, f"JPEG XL of {count} extra channels, not all of them alpha")
    _depth(bits)
    bits.choose(((0, 0), (0, 3), (0, 4), (3, 1)))  # how many times it is smaller
    name = bits.choose(((0, 0), (4, 0), (5, 16), (10, 48)))
    for _ in range(name):
        bits.take(8)
    bits.take(1)  # whether colours are multiplied by it
    return True


def _codestream(data: bytes) -> bytes:
    if data.startswith(_CODESTREAM):
        return data[:_MOST_BYTES]
    parts = b""
    for kind, content in _boxes(data):
        parts += {b"jxlc": content, b"jxlp": content[4:]}.get(kind, b"")
        if len(parts) >= _MOST_BYTES:
            break
    if not parts.startswith(_CODESTREAM):
        raise _corrupt("no codestream in its boxes")
    return parts


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type of each box, and the first bytes of its content."""
    position = 0
    for _ in range(_MOST_BOXES):
        if position + 16 > len(data):
            return
        size, kind = struct.unpack_from(">I4s", data, position)
        head = 16 if size == 1 else 8
        size = int.from_bytes(data[position + 8 : position + 16]) if size == 1 else size or len(data) - position
        if size < head:
            return
        yield kind, data[position + head : position + min(size, _MOST_BYTES)]
        position += size


def _corrupt(problem: str) -> ImageError:
    return ImageError(Reason.CORRUPT_IMAGE, f"JPEG XL: {problem}")


CODEC = Codec(name=ImageCodec.JPEGXL, suffixes=(".jxl",), magic=(_CODESTREAM, _FILE), header=header)

"""WebP chunks (RFC 9649)."""

from collections.abc import Iterator

from lake.core.records import Reason
from lake.images.codecs import exif
from lake.images.types import Codec, Header, ImageCodec, ImageError

_READ = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"EXIF", b"XMP "})
_MOST_CHUNKS = 1 << 18  # bounds time; each frame of an animation is a chunk
_MOST_BYTES = {b"EXIF": 1 << 16, b"XMP ": 1 << 20}  # of a chunk that are looked at
_FRAME_HEADER = 16  # bytes of an ANMF chunk before the frame's own chunks
_ALPHA, _ANIMATION = 0x10, 0x02  # flags of VP8X


def header(data: bytes) -> Header:
    """Parse VP8X if there is one, else the bitstream's own header.

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE, if it is truncated or a still image's frame differs from its canvas.
    """
    chunks: dict[bytes, bytes] = {}
    frames = 0
    for name, start, size in _chunks(data):
        frames += name == b"ANMF"
        if name in _READ:
            chunks.setdefault(name, data[start : start + min(size, _MOST_BYTES.get(name, 16))])
    extended = chunks.get(b"VP8X")
    width, height, alpha = _frame(chunks)
    if extended is not None:
        canvas, alpha = _canvas(extended), bool(extended[0] & _ALPHA)
        if width and canvas != (width, height):
            raise ImageError(Reason.CORRUPT_IMAGE, f"WebP: frame of {width}x{height} on a canvas of {canvas}")
        width, height = canvas
    return Header(
        format=ImageCodec.WEBP,
        width=width,
        height=height,
        channels=3,
        alpha=alpha,
        orientation=exif.turn(exif.find(chunks.get(b"EXIF", b"")), chunks.get(b"XMP ", b"")),
        pages=max(frames, 1),
    )


def content(data: bytes, wanted: bytes) -> bytes:
    """The content of the first chunk with a name; empty if there is none.

    Args:
      data: the whole file.
      wanted: the name, four bytes.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    for name, start, size in _chunks(data):
        if name == wanted:
            return data[start : start + size]
    return b""


def is_lossless(data: bytes) -> bool:
    """Whether the image, or the first frame of an animation, is coded losslessly (VP8L).

    Args:
      data: the whole file.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    for name, start, _ in _chunks(data):
        if name == b"ANMF":
            return data.startswith(b"VP8L", start + _FRAME_HEADER)
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8L"
    return False


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start of the content and its length, of each chunk."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise ImageError(Reason.CORRUPT_IMAGE, f"WebP: {len(data)} bytes of the {end} it claims")
    position = 12
    for _ in range(_MOST_CHUNKS):
        if position + 8 > end:
            return
        name, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        if position + 8 + size > end:
            raise ImageError(Reason.CORRUPT_IMAGE, f"WebP: cut off in chunk {name!r} at byte {position}")
        yield name, position + 8, size
        position += 8 + size + size % 2


def _canvas(extended: bytes) -> tuple[int, int]:
    if len(extended) < 10:
        raise ImageError(Reason.CORRUPT_IMAGE, "WebP: short VP8X chunk")
    return 1 + int.from_bytes(extended[4:7], "little"), 1 + int.from_bytes(extended[7:10], "little")


def _frame(chunks: dict[bytes, bytes]) -> tuple[int, int, bool]:
    """Size and alpha of a still image's bitstream; (0, 0, False) for an animation, whose canvas has the size."""
    if lossy := chunks.get(b"VP8 "):
        if lossy[3:6] != b"\x9d\x01\x2a" or len(lossy) < 10:
            raise ImageError(Reason.CORRUPT_IMAGE, "WebP: VP8 does not begin with a key frame")
        return _side(lossy[6:8]), _side(lossy[8:10]), b"ALPH" in chunks
    if lossless := chunks.get(b"VP8L"):
        if lossless[0] != 0x2F or len(lossless) < 5:
            raise ImageError(Reason.CORRUPT_IMAGE, "WebP: VP8L without its signature")
        word = int.from_bytes(lossless[1:5], "little")
        return 1 + (word & 0x3FFF), 1 + (word >> 14 & 0x3FFF), bool(word >> 28 & 1)
    if (extended := chunks.get(b"VP8X")) and extended[0] & _ANIMATION:
        return 0, 0, False
    raise ImageError(Reason.CORRUPT_IMAGE, "WebP: no image in it")


def _side(field: bytes) -> int:
    """A side in a VP8 header: 14 bits; the upper two bits of the field are a scaling hint."""
    return int.from_bytes(field, "little") & 0x3FFF


CODEC = Codec(
    name=ImageCodec.WEBP,
    suffixes=(".webp",),
    # RIFF is also the container of WAV and AVI.
    magic=(b"RIFF",),
    kind=b"WEBP",
    header=header,
    plugin=("PIL.WebPImagePlugin", "WebPImageFile"),
)

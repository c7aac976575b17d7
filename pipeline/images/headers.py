"""What an image is, by its header alone: nothing is decoded, and nothing is allocated by what the header claims.

The allow-list is PNG, JPEG, WebP, TIFF, BMP and GIF, told apart by their first bytes. Everything else is refused by
name of reason, also what Pillow could open (EPS starts a program, ICO and PDF hold other files).
"""

from pipeline.images import bmp, gif, jpeg, png, tiff, webp
from pipeline.images.base import Format, Header, ImageError
from pipeline.records import Reason


def sniff(data: bytes, max_pixels: int = 1 << 27) -> Header:
    """The header of an encoded image.

    Args:
      data: the whole file.
      max_pixels: width times height that an image, its canvas and its tiles may have.

    Raises:
      ImageError: EMPTY_IMAGE, UNKNOWN_FORMAT, TOO_MANY_PIXELS; CORRUPT_IMAGE where the header is cut off or
        contradicts itself; UNSUPPORTED_IMAGE for kinds that would lose bits (16-bit RGB TIFF) or are not read.
    """
    header = _parse(format_of(data), data)
    _check_size(header, max_pixels)
    return header


def format_of(data: bytes) -> Format:
    """The format by the first bytes.

    Raises:
      ImageError: EMPTY_IMAGE or UNKNOWN_FORMAT; the detail shows the bytes.
    """
    if not data:
        raise ImageError(Reason.EMPTY_IMAGE, "no bytes")
    for magic, kind in _MAGIC:
        if data.startswith(magic) and (kind is not Format.WEBP or data[8:12] == b"WEBP"):
            return kind
    raise ImageError(Reason.UNKNOWN_FORMAT, f"not PNG, JPEG, WebP, TIFF, BMP or GIF: begins with {data[:12]!r}")


_MAGIC = (
    (png.SIGNATURE, Format.PNG),
    (b"\xff\xd8\xff", Format.JPEG),
    (b"RIFF", Format.WEBP),
    (b"II\x2a\x00", Format.TIFF),
    (b"MM\x00\x2a", Format.TIFF),
    (b"II\x2b\x00", Format.TIFF),  # BigTIFF: refused by its name
    (b"MM\x00\x2b", Format.TIFF),
    (b"GIF87a", Format.GIF),
    (b"GIF89a", Format.GIF),
    (b"BM", Format.BMP),
)


def _parse(kind: Format, data: bytes) -> Header:
    parsers = {
        Format.PNG: png.header,
        Format.JPEG: jpeg.header,
        Format.WEBP: webp.header,
        Format.TIFF: tiff.header,
        Format.BMP: bmp.header,
        Format.GIF: gif.header,
    }
    return parsers[kind](data)


def _check_size(header: Header, max_pixels: int) -> None:
    if not (header.width and header.height):
        raise ImageError(Reason.CORRUPT_IMAGE, f"{header.format} of {header.width}x{header.height} pixels")
    pixels = max(header.width * header.height, header.canvas)
    if pixels > max_pixels:
        size = f"{header.width}x{header.height} pixels" if header.canvas <= max_pixels else f"{pixels} pixels"
        raise ImageError(
            Reason.TOO_MANY_PIXELS, f"{header.format} claims {size}, more than the {max_pixels} that are allowed"
        )

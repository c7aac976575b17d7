"""Read what an image is from its header. Nothing is decoded, and nothing is allocated because of what a header claims.

The allow-list is PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000, HEIC and JPEG XL, told apart by their first bytes.
Everything else is refused, also what Pillow could open: EPS starts a program, ICO and PDF contain other files.
"""

from lake.core.records import Reason
from lake.images.codecs import CODECS
from lake.images.types import Header, ImageCodec, ImageError, Pages, Target

_COUNTED_TO_TWO = (ImageCodec.GIF, ImageCodec.JPEGXL)


def read_header(data: bytes, max_pixels: int = 1 << 27) -> Header:
    """Parse the header of an encoded image.

    Args:
      data: the whole file.
      max_pixels: the largest width times height of an image, of its canvas and of its tiles.

    Raises:
      ImageError: EMPTY_IMAGE, UNKNOWN_FORMAT, TOO_MANY_PIXELS; CORRUPT_IMAGE if the header is truncated or contradicts
        itself; UNSUPPORTED_IMAGE for kinds of images that are not supported, such as JPEG of 12 bits, or that need an
        extra which is not installed.
    """
    header = CODECS[format_of(data)].header(data)
    _check_size(header, max_pixels)
    return header


def header_for(data: bytes, target: Target) -> Header:
    """Parse the header of an encoded image, and check its pixels and its pages against a target's policies.

    Args:
      data: the whole file.
      target: the policies.

    Raises:
      ImageError: as ``read_header``; SEVERAL_PAGES if the target does not take such a file.
    """
    header = read_header(data, target.max_pixels)
    all_of_tiff = target.pages == Pages.ALL and header.format == ImageCodec.TIFF
    if header.pages > 1 and target.pages not in (None, Pages.FIRST) and not all_of_tiff:
        found = f"{header.format} of {header.pages}{' or more' * (header.format in _COUNTED_TO_TWO)} pages or frames"
        every = ", and denoise --pages all every one" if header.format == ImageCodec.TIFF else ""
        raise ImageError(Reason.SEVERAL_PAGES, f"{found}; --pages first takes the first one{every}")
    return header


def format_of(data: bytes) -> str:
    """The format of an image by its first bytes.

    Args:
      data: the file, or at least its first 12 bytes.

    Raises:
      ImageError: EMPTY_IMAGE or UNKNOWN_FORMAT; the detail shows the bytes.

    >>> format_of(b"GIF89a...")
    <ImageCodec.GIF: 'GIF'>
    """
    if not data:
        raise ImageError(Reason.EMPTY_IMAGE, "no bytes")
    for codec in CODECS.values():
        if codec.recognises(data):
            return codec.name
    *names, last = CODECS
    raise ImageError(Reason.UNKNOWN_FORMAT, f"not {', '.join(names)} or {last}: begins with {data[:12]!r}")


def _check_size(header: Header, max_pixels: int) -> None:
    if not (header.width and header.height):
        raise ImageError(Reason.CORRUPT_IMAGE, f"{header.format} of {header.width}x{header.height} pixels")
    pixels = max(header.width * header.height, header.canvas)
    if pixels > max_pixels:
        size = f"{header.width}x{header.height} pixels" if header.canvas <= max_pixels else f"{pixels} pixels"
        raise ImageError(
            Reason.TOO_MANY_PIXELS, f"{header.format} claims {size}, more than the {max_pixels} that are allowed"
        )

"""Headers of formats whose containers a library parses, by Pillow's decoders and by such as extras bring.

Opening a file parses its header; pixels are decoded, and their memory taken, when they are loaded.
"""

from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING

from lake.core.records import Reason
from lake.images.codecs import exif
from lake.images.types import Header, ImageError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_MOST_TEXT = 200  # characters of a library's message
# Channels, alpha, bits and palette by Pillow's mode.
_MODES = {
    "L": (1, False, 8, False),
    "LA": (1, True, 8, False),
    "I;16": (1, False, 16, False),
    "RGB": (3, False, 8, False),
    "RGBA": (3, True, 8, False),
    "RGBa": (3, True, 8, False),
    "P": (3, False, 8, True),
    "PA": (3, True, 8, True),
    "CMYK": (4, False, 8, False),
}


def opened(data: bytes, format: str, plugin: tuple[str, str], extra: str = "") -> "ImageFile":
    """A file whose header was parsed.

    Args:
      data: the whole file.
      format: for errors.
      plugin: module and class of the decoder.
      extra: of this package, which brings the module; empty for one that is always there.

    Raises:
      ImageError: CORRUPT_IMAGE; UNSUPPORTED_IMAGE where the extra is not installed.
    """
    module, name = plugin
    if extra and find_spec(module.partition(".")[0]) is None:
        raise ImageError(Reason.UNSUPPORTED_IMAGE, f"{format} is read with an extra: pip install 'latentlake[{extra}]'")
    kind = getattr(import_module(module), name)
    try:
        image: ImageFile = kind(BytesIO(data))
    except MemoryError:  # says nothing about the image
        raise
    except Exception as error:  # a parser of hostile bytes may raise anything
        text = " ".join(f"{type(error).__name__}: {error}".split())[:_MOST_TEXT]
        raise ImageError(Reason.CORRUPT_IMAGE, f"{format}: {text}") from error
    return image


def header_of(image: "ImageFile", format: str, *, upright: bool = False) -> Header:
    """The header of an opened file.

    Args:
      image: as of ``opened``.
      format: of the file.
      upright: its decoder has turned it already.

    Raises:
      ImageError: UNSUPPORTED_IMAGE for another kind of pixels.
    """
    if image.mode not in _MODES:
        raise ImageError(Reason.UNSUPPORTED_IMAGE, f"{format} of mode {image.mode}")
    channels, alpha, depth, palette = _MODES[image.mode]
    xmp = image.info.get("xmp", b"")
    return Header(
        format=format,
        width=image.width,
        height=image.height,
        channels=channels,
        depth=depth,
        alpha=alpha,
        palette=palette,
        orientation=1 if upright else exif.turn(exif.find(image.info.get("exif", b"")), xmp),
        pages=getattr(image, "n_frames", 1),
    )


def info(image: "ImageFile", name: str) -> bytes:
    """What an opened file holds under a name, as Pillow calls it; empty for nothing."""
    found = image.info.get(name)
    return bytes(found) if found else b""

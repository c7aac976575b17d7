"""Names of images that are written again, and where two of them would get one."""

from collections.abc import Iterable, Iterator
from itertools import chain

from pipeline.images.base import Format, ImageError
from pipeline.images.encode import ImageFormat
from pipeline.images.headers import format_of

# what an extension names, as the extension that is written for it
_NAMED = {
    **{name: name for name in ("png", "webp", "bmp", "gif", "npy")},
    **dict.fromkeys(("jpg", "jpeg", "jpe", "jfif"), "jpg"),
    **dict.fromkeys(("tif", "tiff"), "tif"),
}
_CONTENT = {Format.PNG: "png", Format.JPEG: "jpg", Format.WEBP: "webp", Format.TIFF: "tif"}
_LOSSLESS = ("png", "tif")
_WRITTEN = {
    ImageFormat.LOSSLESS: _LOSSLESS,
    ImageFormat.PNG: ("png",),
    ImageFormat.JPEG: ("jpg",),
    ImageFormat.WEBP: ("webp",),
    ImageFormat.TIFF: ("tif",),
}


def renamed(name: str, suffix: str, original: bytes) -> str:
    """The name or path of an image that was replaced: where its format changed, the last extension does.

    An extension that names the written format already (``.jpeg``) or none at all (``.img``) stays.

    Args:
      name: of the image before.
      suffix: of the written format, as in ``ImageFile``.
      original: the image before, or its first bytes.
    """
    return name if _names(name) in (None, suffix) or _content(original) == suffix else _with(name, suffix)


def collision(paths: Iterable[str], format: ImageFormat) -> tuple[str, str] | None:
    """Two files that a folder written again could call the same (``a.jpg`` and ``a.bmp``); None where there are none.

    Args:
      paths: of all files of the input, each once.
      format: in which images are written.
    """
    taken: dict[str, str] = {}
    for path, name in chain.from_iterable(_possible(path, format) for path in paths):
        if taken.setdefault(name, path) != path:
            return taken[name], path
    return None


def _possible(path: str, format: ImageFormat) -> Iterator[tuple[str, str]]:
    """A path with each name that its image may get, as far as names tell."""
    own = _names(path)
    kept = own is None or (format is ImageFormat.SAME and own in _CONTENT.values())
    suffixes = [] if kept else _WRITTEN.get(format, _LOSSLESS)
    yield path, path
    yield from ((path, _with(path, suffix)) for suffix in suffixes if suffix != own)


def _names(name: str) -> str | None:
    _, dot, extension = name.rpartition(".")
    return _NAMED.get(extension.lower()) if dot else None


def _content(original: bytes) -> str | None:
    try:
        return _CONTENT.get(format_of(original))
    except ImageError:  # numbers
        return None


def _with(name: str, suffix: str) -> str:
    return f"{name.rpartition('.')[0]}.{suffix}"

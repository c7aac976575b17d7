"""Names of images: of rewritten files, of columns called after formats, and pairs of files of one name to come."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from lake.core.errors import InputError
from lake.core.records import Shard
from lake.images.encoder import ImageFormat
from lake.images.header import format_of
from lake.images.types import ImageCodec, ImageError

# Formats that an extension can name, by the extension that is written for them.
_NAMED = {
    **{name: name for name in ("png", "webp", "bmp", "gif", "npy", "safetensors", "avif", "jxl")},
    **dict.fromkeys(("heic", "heif", "hif"), "heic"),
    **dict.fromkeys(("jp2", "j2k", "j2c", "jpc", "jpx", "jpf"), "jp2"),
    **dict.fromkeys(("jpg", "jpeg", "jpe", "jfif", "jif", "pjpeg", "pjp", "mpo"), "jpg"),
    **dict.fromkeys(("tif", "tiff"), "tif"),
    "apng": "png",
}
_CONTENT: dict[str, str] = {
    ImageCodec.PNG: "png",
    ImageCodec.JPEG: "jpg",
    ImageCodec.WEBP: "webp",
    ImageCodec.TIFF: "tif",
}
_LOSSLESS = ("png", "tif")
_WRITTEN = {
    ImageFormat.LOSSLESS: _LOSSLESS,
    ImageFormat.PNG: ("png",),
    ImageFormat.JPEG: ("jpg",),
    ImageFormat.WEBP: ("webp",),
    ImageFormat.TIFF: ("tif",),
}


def renamed(name: str, suffix: str, original: bytes) -> str:
    r"""The name or path of a replaced image. If its format changed, its last extension changes too.

    An extension that names the new format already (``.jpeg``), or no format at all (``.img``), stays.

    Args:
      name: of the original image.
      suffix: of the new format, as in ``ImageFile``.
      original: the original image, or its first bytes.

    >>> renamed("cats/1.jpg", "png", b"\xff\xd8\xff")
    'cats/1.png'
    """
    return name if _names(name) in (None, suffix) or _content(original) == suffix else _with(name, suffix)


def check_one_image(shard: Shard, usual: Sequence[str]) -> None:
    """Check that the image is not one of several that are called after their formats, as a photograph and its mask are.

    Args:
      shard: for the error.
      usual: the columns or features with the usual name of an image that a shard has, the one to be taken first.

    Raises:
      InputError: there are several.

    >>> check_one_image(Shard(uri="/in/a.parquet", path="a.parquet", size=1, identity="1"), ["image", "jpg", "png"])
    """
    several = [name for name in usual if name in _NAMED]
    if len(several) > 1 and several[0] == usual[0]:
        raise InputError(f"{shard.path}: there are several images, {' and '.join(several)}; choose one with --image")


def collision(paths: Iterable[str], format: ImageFormat) -> tuple[str, str] | None:
    """Two files whose rewritten images could get the same name (``a.jpg`` and ``a.bmp``); None if there are none.

    Args:
      paths: of all input files, each once.
      format: of the images.

    >>> collision(["a.jpg", "a.bmp"], ImageFormat.PNG)
    ('a.jpg', 'a.bmp')
    """
    taken: dict[str, str] = {}
    for path, name in chain.from_iterable(_possible(path, format) for path in paths):
        if taken.setdefault(name, path) != path:
            return taken[name], path
    return None


def _possible(path: str, format: ImageFormat) -> Iterator[tuple[str, str]]:
    """A path with each name that its image could get, as far as that can be told from the name."""
    own = _names(path)
    stays = own is None or (format is ImageFormat.SAME and own in _CONTENT.values())
    suffixes = [] if stays else _WRITTEN.get(format, _LOSSLESS)
    yield path, path
    yield from ((path, _with(path, suffix)) for suffix in suffixes if suffix != own)


def _names(name: str) -> str | None:
    _, dot, extension = name.rpartition(".")
    return _NAMED.get(extension.lower()) if dot else None


def _content(original: bytes) -> str | None:
    try:
        return _CONTENT.get(format_of(original))
    except ImageError:  # the original is an array of numbers
        return None


def _with(name: str, suffix: str) -> str:
    return f"{name.rpartition('.')[0]}.{suffix}"

"""Whether one URI lies inside another one, by the places that they lead to and not by their text."""

import errno
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOCAL = ("", "file")


def path_below(uri: str, directory: str) -> str | None:
    """The path of a URI below a directory.

    On a disk links, ``..`` and mounts are resolved; ``uri`` need not exist. On object stores empty parts, ``.`` and
    ``..`` are, since some programs resolve them before they ask the store.

    Args:
      uri: of a file or directory.
      directory: of the directory.

    Returns:
      The path, "" for the directory itself; None if the URI is elsewhere.

    >>> path_below("s3://b/x//y/./z", "s3://b/x/")
    'y/z'
    >>> path_below("s3://b/xy", "s3://b/x") is None
    True
    """
    schemes = _scheme(uri), _scheme(directory)
    if all(scheme in _LOCAL for scheme in schemes):
        return _below_on_disk(local_path(uri), local_path(directory))
    if schemes[0] != schemes[1]:
        return None
    for resolve in (False, True):
        one, other = _parts(uri, resolve=resolve), _parts(directory, resolve=resolve)
        if one[: len(other)] == other:
            return "/".join(one[len(other) :])
    return None


def local_path(uri: str) -> Path:
    """The path of a local file, which may be named by a ``file://`` URI.

    Raises:
      OSError: decoding makes another directory of the name.

    >>> local_path("file:///data/a%20b").as_posix()
    '/data/a b'
    """
    if not uri.startswith("file://"):
        return Path(uri)
    encoded = urlsplit(uri).path
    path = unquote(encoded)
    # A file of the input may be called "%2e%2e%2fx", and outputs have the names of inputs.
    if ".." in path.split("/") and ".." not in encoded.split("/"):
        raise OSError(errno.ENOTDIR, "its name is decoded to one in another directory; name the place by a path", uri)
    return Path(path)


def is_local(uri: str) -> bool:
    """Whether a URI is of the local disk."""
    return _scheme(uri) in _LOCAL


def _scheme(uri: str) -> str:
    return urlsplit(uri).scheme if "://" in uri else ""


def _below_on_disk(path: Path, directory: Path) -> str | None:
    try:
        wanted = directory.stat()
    except OSError:  # what does not exist holds nothing
        return None
    whole = Path(os.path.realpath(path))
    for place in (whole, *whole.parents):
        try:
            if os.path.samestat(place.stat(), wanted):
                return "" if place == whole else whole.relative_to(place).as_posix()
        except OSError:
            continue
    return None


def _parts(uri: str, *, resolve: bool) -> list[str]:
    parts = list[str]()
    for part in uri.partition("://")[2].split("/"):
        if part == ".." and resolve:
            del parts[max(len(parts) - 1, 1) :]  # the bucket stays
        elif part not in ("", "."):
            parts.append(part)
    return parts

"""List the files below a directory of the local disk, with a policy for symbolic links."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from lake.storage.store import MISSING, Links, Listing, Stat

TEMPORARY = ".latentlake-"  # prefix of files that are being written; never listed
NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # also a link that leads to itself


@dataclass(frozen=True, slots=True)
class _Entry:
    """A name in a directory; of a directory with a slash at its end. ``status`` is known of links only."""

    name: str
    link: bool
    status: os.stat_result | None


def walk(prefix: str, root: Path, listing: Listing) -> Iterator[Stat]:
    """The files below a directory, in the order of their URIs.

    Args:
      prefix: URI of the directory.
      root: its path.
      listing: which of them.

    Raises:
      OSError: a directory cannot be read.
    """
    return _Walk(prefix.rstrip("/"), root, listing).below("")


class _Walk:
    """One listing of a directory."""

    def __init__(self, prefix: str, root: Path, listing: Listing) -> None:
        self._prefix, self._root, self._listing = prefix, root, listing

    def below(self, directory: str) -> Iterator[Stat]:
        """The files below a directory, whose path is empty or ends in a slash."""
        # Sorted as whole URIs, as object stores list them: 'a-b/x' comes before 'a/x'. One directory's names are in
        # memory at a time.
        with os.scandir(self._root / directory) as entries:
            found = sorted((_entry(e) for e in entries if not e.name.startswith(TEMPORARY)), key=lambda e: e.name)
        for entry in found:
            path = directory + entry.name
            if not self._starts(path):
                continue
            if not entry.name.endswith("/"):
                yield from self._file(path, entry)
            elif self._listing.deep and self._listing.enter(path[:-1]) and self._follows(path, entry):
                yield from self.below(path)

    def _starts(self, path: str) -> bool:
        """Whether a file, or one below a directory, can begin as it must."""
        start = self._listing.start
        return path.startswith(start) or (path.endswith("/") and start.startswith(path))

    def _file(self, path: str, entry: _Entry) -> Iterator[Stat]:
        uri, place = f"{self._prefix}/{path}", self._root / path
        try:
            status = place.stat()
        except OSError as error:
            if error.errno not in NOTHING_THERE:
                raise
            if entry.link and self._listing.links is not None:
                yield Stat(uri=uri, size=0, identity=f"{MISSING}{place.readlink()}")
            return
        if S_ISREG(status.st_mode) and (not entry.link or self._stays(path)):
            yield stat_of(uri, status)

    def _follows(self, path: str, entry: _Entry) -> bool:
        """Whether a directory is looked into. One that is a link to a directory above it would be listed for ever."""
        links = self._listing.links
        if not entry.link:
            return True
        if self._leads_back(path, entry):
            if links is not None:
                links.left(path, True)
            return False
        if links is not None and self._stays(path):
            links.followed(os.path.realpath(self._root / path))
            return True
        return links is None

    def _leads_back(self, path: str, entry: _Entry) -> bool:
        target = entry.status
        above = (self._root / path).parents[: path.count("/")]
        return target is not None and any(os.path.samestat(target, one.stat()) for one in above)

    def _stays(self, path: str) -> bool:
        """Whether a link leads to a place below the roots. If not, it is told of."""
        links = self._listing.links
        if links is None or _within(os.path.realpath(self._root / path), links):
            return True
        links.left(path, False)
        return False


def _within(target: str, links: Links) -> bool:
    return links.roots is None or any(os.path.commonpath((target, root)) == root for root in links.roots)


def _entry(entry: os.DirEntry[str]) -> _Entry:
    if not entry.is_symlink():
        return _Entry(entry.name + "/" * entry.is_dir(), False, None)
    try:
        status = entry.stat()
    except OSError as error:
        if error.errno not in NOTHING_THERE:
            raise
        return _Entry(entry.name, True, None)
    return _Entry(entry.name + "/" * S_ISDIR(status.st_mode), True, status)


def stat_of(uri: str, status: os.stat_result) -> Stat:
    """What the disk says about a file."""
    return Stat(uri=uri, size=status.st_size, identity=f"{status.st_size}-{status.st_mtime_ns}")

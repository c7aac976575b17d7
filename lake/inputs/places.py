"""What the inputs name: a file, a directory, the files of a glob. Each is listed once."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

from lake.core.errors import InputError
from lake.inputs.globs import Glob, expand, is_glob, is_hidden, literal_parts
from lake.inputs.passed_over import PassedOverTally, Why, listed
from lake.storage import Stat, store_for
from lake.storage.buckets import check_bucket
from lake.storage.location import is_local, local_path
from lake.storage.store import MISSING, Links, Listing

_FEW = 8  # names in one directory of a store that are asked for one by one
_PAGE = 1000  # objects that a store lists in one request


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What one input names.

    Attributes:
      given: the input, as the user wrote it.
      base: the directory of the file, or above the files.
      stat: of the file that was named; None for a directory or a glob.
      glob: the files that are meant.
    """

    given: str
    base: str
    stat: Stat | None
    glob: Glob

    @property
    def named(self) -> bool:
        """Whether it is a file that was named, which must be a shard."""
        return self.stat is not None


def find_places(inputs: Sequence[str]) -> list[Place]:
    """What each input names. The name of an existing file or directory is no glob, whatever characters it has.

    Args:
      inputs: URIs of files, directories and globs, with or without braces.

    Raises:
      InputError: there is no such file or directory.
    """
    names = _Names(one for uri in inputs for one in _expanded(uri))
    return [place for uri in inputs for place in _places(uri, names)]


class Visit:
    """One listing of places: which of their files are meant, and what is passed over.

    Args:
      places: what is listed.
      follow_links: follow links that lead out of the places.
      is_input: whether a file is an input by its name, even if that begins with an underscore.

    Attributes:
      tally: counts what is passed over.
      followed: targets of links to directories that were followed.
    """

    def __init__(self, places: Sequence[Place], *, follow_links: bool, is_input: Callable[[str], bool]) -> None:
        self._roots = None if follow_links else [_real(place.base) for place in places if is_local(place.base)]
        self._is_input = is_input
        self.tally, self.followed = PassedOverTally(), set[str]()

    def files(self, place: Place) -> Iterator[Stat]:
        """The files that a place means, in the order of their URIs.

        Raises:
          InputError: a glob matches none.
        """
        if place.stat is not None:
            yield place.stat
            return
        none = True
        try:
            for stat in store_for(place.base).list(place.base, self._listing(place.glob)):
                if self._is_meant(place.glob, below(stat.uri, place.base)):
                    none = False
                    yield stat
        except (FileNotFoundError, NotADirectoryError) as error:
            if not none:
                raise
            raise _no_match(place, self.tally) from error
        if none and not place.glob.whole:
            raise _no_match(place, self.tally)

    def _listing(self, glob: Glob) -> Listing:
        def enter(path: str) -> bool:
            if glob.may_hold(path):
                return True
            if glob.whole:  # its name is the only reason
                self.tally.add(Why.HIDDEN, f"{path}/")
            return False

        def left(path: str, back: bool) -> None:
            if path.endswith("/") or self._matches(glob, path):
                self.tally.add(Why.LINK_LOOP if back else Why.LINK_OUTSIDE, path)

        links = Links(roots=self._roots, left=left, followed=self.followed.add)
        return Listing(start=glob.start, deep=glob.deep, enter=enter, links=links)

    def _is_meant(self, glob: Glob, path: str) -> bool:
        if self._matches(glob, path):
            return True
        hidden = _hidden_part(path)
        # What is in hidden directories is not looked at on a disk, so that nothing can be said of a glob's.
        if glob.whole or (glob.hides(path) and not hidden.endswith("/")):
            self.tally.add(Why.HIDDEN, hidden)
        return False

    def _matches(self, glob: Glob, path: str) -> bool:
        name = path.rpartition("/")[2]
        return glob.matches(path, underscored=name.startswith("_") and self._is_input(name))


def is_missing(stat: Stat) -> bool:
    """Whether a file is a link whose target does not exist."""
    return stat.identity.startswith(MISSING)


def below(uri: str, base: str) -> str:
    """The path of a URI below a directory that it begins with."""
    return uri[len(base.rstrip("/")) + 1 :]


def _expanded(uri: str) -> list[str]:
    try:
        return list(expand(uri))
    except ValueError as error:
        raise InputError(f"{uri}: {error}; name directories or globs") from error


def _places(uri: str, names: "_Names") -> Iterator[Place]:
    ones = _expanded(uri)
    if ones != [uri] and (literal := _literal(uri, uri, names)) is not None:
        yield literal
        return
    for one in ones:
        if (literal := _literal(uri, one, names)) is not None:
            yield literal
        elif is_glob(one):
            glob = _glob(one)
            yield Place(given=one, base=glob.base, stat=None, glob=glob)
        else:
            check_bucket(one, InputError)
            raise InputError(_not_there(one))


def _literal(given: str, uri: str, names: "_Names") -> Place | None:
    """The file or directory of this very name, if there is one."""
    if (stat := names.stat(uri)) is not None:
        base = uri.rpartition("/")[0] or ("/" if uri.startswith("/") else ".")
        return Place(given=given, base=base, stat=stat, glob=Glob.everything(base))
    if _is_directory(uri):
        return Place(given=given, base=uri.rstrip("/") or "/", stat=None, glob=Glob.everything(uri))
    return None


def _glob(uri: str) -> Glob:
    """A glob. An existing directory in its name is no pattern."""
    parts, literal = uri.split("/"), 0
    for count in literal_parts(uri):
        if any(is_glob(part) for part in parts[literal : count - 1]) or not _is_directory("/".join(parts[:count])):
            break
        literal = count
    return Glob(uri, literal)


def _is_directory(uri: str) -> bool:
    return store_for(uri).is_directory(uri)


def _not_there(uri: str) -> str:
    if is_local(uri) and local_path(uri).is_symlink():
        target = local_path(uri).readlink()
        return f"{uri}: a link to {target}, which does not exist; fetch it (git annex get, dvc pull), or leave it out"
    return f"{uri}: no such file or directory"


def _no_match(place: Place, tally: PassedOverTally) -> InputError:
    check_bucket(place.base, InputError)
    if place.glob.whole:
        return InputError(f"{place.given}: no such directory")
    if (outside := tally.found().get(Why.LINK_OUTSIDE)) is not None:
        names = listed(outside.examples, outside.count)
        return InputError(
            f"{place.given}: the glob matches only links that lead out of {place.base} ({names}); "
            "--follow-links reads them"
        )
    return InputError(f"{place.given}: the glob matches no file (quote it, and use ** to cross directories)")


def _hidden_part(path: str) -> str:
    """A path up to its first hidden name."""
    parts = path.split("/")
    first = next((at for at, part in enumerate(parts) if is_hidden(part)), len(parts) - 1)
    return "/".join(parts[: first + 1]) + ("/" if first < len(parts) - 1 else "")


def _real(uri: str) -> str:
    return os.path.realpath(local_path(uri))


class _Names:
    """What stores say about names. Many in one directory of an object store are looked up in its listing.

    Args:
      uris: all names that will be asked for.
    """

    def __init__(self, uris: Iterator[str]) -> None:
        groups = defaultdict[str, list[str]](list)
        for uri in uris:
            if not is_local(uri) and not is_glob(uri):
                groups[uri.rpartition("/")[0]].append(uri)
        self._groups = {directory: names for directory, names in groups.items() if len(names) > _FEW}
        self._known: dict[str, Stat] = {}

    def stat(self, uri: str) -> Stat | None:
        """What the store says about one name; None if there is no such object."""
        if (names := self._groups.pop(uri.rpartition("/")[0], None)) is not None:
            self._known |= _listed(names)
        return self._known.get(uri) or store_for(uri).stat(uri)


def _listed(names: list[str]) -> dict[str, Stat]:
    """Those of the names that a listing of their directory has, in no more requests than one for each name."""
    directory = names[0].rpartition("/")[0]
    wanted, first, last = set(names), min(names), max(names)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    start = below("".join(character for character, _ in same), directory)
    found: dict[str, Stat] = {}
    listing = store_for(directory).list(directory, Listing(start=start, deep=False))
    for stat in islice(listing, _PAGE * len(names)):
        if stat.uri in wanted:
            found[stat.uri] = stat
        if stat.uri >= last:
            break
    return found

"""The files of an input as they are found: shards by format, companions of shards, and what is passed over."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping

from lake.core.errors import InputError
from lake.core.quantities import counted
from lake.core.records import Shard
from lake.formats import FORMATS, MIXED
from lake.formats.reader import Reader
from lake.inputs.companions import Companions
from lake.inputs.passed_over import PassedOverTally, Why, listed
from lake.inputs.places import Place, Visit, below, is_missing
from lake.inputs.shard_list import Builder
from lake.storage import Stat, store_for

_HEAD = 1024  # bytes from which a format is recognised
_TABLES = "parquet"
_OWN = frozenset({"_manifest.parquet"})  # this project's own file in an output, which may be below an input


class Catalog:
    """Shards by format, recognised by name or content."""

    def __init__(self, root: str, format: str) -> None:
        self._root, self._format = root, format
        self._readers = _Readers(FORMATS if format in ("auto", MIXED) else (format,))
        self.shards: defaultdict[str, Builder] = defaultdict(Builder)
        self.companions = Companions(root, self._readers)

    def knows(self, name: str) -> bool:
        """Whether the name of a file tells a format."""
        return name not in _OWN and _by_name(name, self._readers) is not None

    def add(self, place: Place, visit: Visit) -> None:
        """Add the files of a place: by their names, or if no name tells a format, by content."""
        # Looking at content costs a request for each file, so it is left for inputs whose names tell nothing.
        told, unknown = place.named, list[Stat]()
        for stat in visit.files(place):
            name = _by_name(stat.uri, self._readers)
            if name is not None:
                told = True
                self._keep(name, stat, place, visit.tally)
            elif place.named or not told:
                unknown.append(stat)
            else:
                self._leave(stat, place, visit.tally)
        for stat in unknown:
            self._add_unknown(stat, place, visit.tally, by_content=place.named or not told)

    def _add_unknown(self, stat: Stat, place: Place, tally: PassedOverTally, *, by_content: bool) -> None:
        name = _by_content(stat, self._readers) if by_content and not is_missing(stat) else None
        if name is not None:
            self._keep(name, stat, place, tally)
        elif place.named:
            raise InputError(f"{stat.uri}: of no known format ({_wanted(self._format)}); its content does not tell one")
        else:
            self._leave(stat, place, tally)

    def _leave(self, stat: Stat, place: Place, tally: PassedOverTally) -> None:
        """Pass over a file of no known format, unless it belongs to shards."""
        path = _below_root(stat, self._root)
        kept = _is_mirrored(path) and not is_missing(stat)
        if not kept or not self.companions.take(path, stat.size, stat.identity):
            tally.add(Why.UNKNOWN_FORMAT, below(stat.uri, place.base))

    def _keep(self, format: str, stat: Stat, place: Place, tally: PassedOverTally) -> None:
        if is_missing(stat):
            tally.add(Why.LINK_MISSING, below(stat.uri, place.base))
        self.shards[format].add(_path(stat, self._root), stat.size, self._readers[format].identity(stat))

    def formats(self, tally: PassedOverTally) -> list[str]:
        """The formats of the shards, in the order of ``FORMATS``; of an input that is not to be mixed, the only one.

        Args:
          tally: what was passed over.

        Raises:
          InputError: there are several formats, and one is to be chosen; or there are no shards.
        """
        if set(self.shards) > {_TABLES}:
            self._take_companions()
            self._leave_descriptions(tally)
        counts = Counter({name: builder.count for name, builder in self.shards.items()})
        if not counts:
            raise InputError(f"{self._root}: {_nothing(tally)}")
        if len(counts) > 1 and self._format != MIXED:
            mixed = ", ".join(f"{count} {name}" for name, count in counts.most_common())
            most = counts.most_common()[0][0]
            raise InputError(
                f"the input mixes formats ({mixed}); choose one with --format={most}, or read all with --format={MIXED}"
            )
        return [name for name in FORMATS if name in counts]

    def _take_companions(self) -> None:
        """Tables that describe images of their directory, or of one below it, are companions of those."""
        known = {name for reader in self._readers.values() for name in reader.companions}
        companions = [table for table in self.shards[_TABLES].build(self._root) if _base(table.path) in known]
        described = {table.path.rpartition("/")[0] for table in companions}
        if not described:
            return
        grouped = [name for name in self.shards if self._readers[name].grouped]
        parents = {
            parent
            for name in grouped
            for files in self.shards[name].build(self._root).by_directory()
            for parent in _parents(files[0].path)
        }
        self._remove_tables(
            {table.path for table in companions if table.path.rpartition("/")[0] in parents},
            lambda table: self.companions.take(table.path, table.size, table.identity),
        )

    def _leave_descriptions(self, tally: PassedOverTally) -> None:
        """Pass over tables that describe other shards, as img2dataset writes one for each.

        Where formats are not to be mixed, such tables beside others are no reason to read only some of them.
        """
        if _TABLES not in self.shards:
            return
        tables = self.shards[_TABLES].build(self._root)
        described = [table for table in tables if self.companions.describes(table.path.rpartition(".")[0])]
        if not described or (len(described) < len(tables) and self._format != MIXED):
            return
        left = {table.path for table in described}
        self._remove_tables(left, lambda table: tally.add(Why.DESCRIPTION, table.path))

    def _remove_tables(self, paths: Collection[str], act: Callable[[Shard], object]) -> None:
        """Take some tables out of the shards, and do something with each."""
        tables = self.shards.pop(_TABLES).build(self._root)
        for table in tables:
            if table.path in paths:
                act(table)
            else:
                self.shards[_TABLES].add(table.path, table.size, table.identity)


class _Readers(Mapping[str, Reader]):
    """Readers by format. A file's name is mostly told by the first ones, and the others are not imported for it."""

    def __init__(self, formats: Collection[str]) -> None:
        self._formats = formats

    def __getitem__(self, name: str) -> Reader:
        return FORMATS[name].reader

    def __iter__(self) -> Iterator[str]:
        return iter(self._formats)

    def __len__(self) -> int:
        return len(self._formats)


_REMEDIES = {
    Why.LINK_OUTSIDE: "links that lead out of the input, which --follow-links reads",
    Why.HIDDEN: "hidden names, which a glob has to spell out",
    Why.LINK_LOOP: "links that lead back to a directory above them",
}


def _nothing(tally: PassedOverTally) -> str:
    """The message for an input without shards."""
    found = tally.found()
    unknown = found[Why.UNKNOWN_FORMAT].count if Why.UNKNOWN_FORMAT in found else 0
    rest = [
        f"{met.count:,} {_REMEDIES[why]} ({listed(met.examples, met.count)})"
        for why, met in found.items()
        if why in _REMEDIES
    ]
    return "; ".join([f"no shard of a known format ({', '.join(FORMATS)}) among {counted(unknown, 'file')}", *rest])


def _wanted(format: str) -> str:
    return f"one of {', '.join(FORMATS)}" if format in ("auto", MIXED) else f"asked for: {format}"


def _by_name(uri: str, readers: Mapping[str, Reader]) -> str | None:
    name = uri.rpartition("/")[2]
    return next((format for format, reader in readers.items() if reader.recognises(name, b"")), None)


def _by_content(stat: Stat, readers: Mapping[str, Reader]) -> str | None:
    with store_for(stat.uri).open(stat.uri, sparse=True) as file:
        head = file.read(_HEAD)
    name = stat.uri.rpartition("/")[2]
    return next((format for format, reader in readers.items() if reader.recognises(name, head)), None)


def _path(stat: Stat, root: str) -> str:
    path = _below_root(stat, root)
    if not _is_mirrored(path):
        raise InputError(f"{stat.uri!r}: this name cannot be mirrored in the output; rename it")
    return path


def _below_root(stat: Stat, root: str) -> str:
    return below(stat.uri, root) if root != "." or stat.uri.startswith("./") else stat.uri


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _parents(path: str) -> Iterator[str]:
    """The directory of a path, those above it, and the root."""
    while path:
        path = path.rpartition("/")[0]
        yield path


def _is_mirrored(path: str) -> bool:
    """Whether a file of this path can be written below an output."""
    return not any(part in ("", ".", "..") for part in path.split("/")) and "\0" not in path and _is_text(path)


def _is_text(path: str) -> bool:
    """Whether a name is UTF-8. Python represents other bytes by surrogates."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True

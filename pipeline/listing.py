"""From what the user names (files, globs, directories) to shards of one format."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.errors import InputError, UsageError
from pipeline.readers import FORMATS, Reader, reader_for
from pipeline.readers.idx import labels_of
from pipeline.records import Shard
from pipeline.shards import Builder
from pipeline.storage import Stat, Store, store_for

_HEAD = 1024  # bytes that tell a format
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Shards of one format below one root, in the order of their paths."""

    root: str
    format: str
    shards: Sequence[Shard]
    passed_over: int = 0  # files in directories and globs that are of no known format


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Files below one base; a ``named`` one must be a shard, others are passed over where they are none."""

    base: str
    files: Callable[[], Iterator[Stat]]
    named: bool


def find_shards(inputs: Sequence[str], format: str = "auto") -> Found:
    """List the shards of some inputs.

    Args:
      inputs: URIs of files, globs (``*`` within a name, ``**`` across directories) and directories.
      format: one of ``FORMATS``, or ``auto``: told by name, else by content.

    Raises:
      InputError: an input matches nothing, a file is of no known format, or formats are mixed.
    """
    places = [_place(uri) for uri in inputs]
    root = _common([place.base for place in places])
    catalog = _Catalog(root, format)
    for place in places:
        catalog.add(place)
    only = catalog.only_format()
    return Found(root=root, format=only, shards=catalog.shards[only].build(root), passed_over=catalog.passed_over)


def list_files(uri: str) -> list[str]:
    """URIs of all files that one input names.

    Raises:
      InputError: there is none.
    """
    return [stat.uri for stat in _place(uri).files()]


class _Catalog:
    """Shards by format, as their names or their content tell it."""

    def __init__(self, root: str, format: str) -> None:
        self._root, self._format = root, format
        self._readers = {name: reader_for(name) for name in (FORMATS if format == "auto" else (format,))}
        self.shards: defaultdict[str, Builder] = defaultdict(Builder)
        self.passed_over = 0

    def add(self, place: _Place) -> None:
        """Add a place's files: by their names, or where no name tells anything by content."""
        if place.named or not self._add(place, by_content=False):
            self._add(place, by_content=True)

    def _add(self, place: _Place, *, by_content: bool) -> bool:
        told, passed = False, 0
        for stat in place.files():
            name = _by_name(stat.uri, self._readers) or (_by_content(stat, self._readers) if by_content else None)
            told, passed = told or name is not None, passed + (name is None)
            if name is not None:
                self._keep(name, stat)
            elif place.named:
                wanted = _wanted(self._format)
                raise InputError(f"{stat.uri}: of no known format ({wanted}); its content does not tell one")
        if told or by_content:
            self.passed_over += passed
        return told

    def _keep(self, format: str, stat: Stat) -> None:
        identity = _with_labels(stat) if format == "array" else stat.identity
        self.shards[format].add(_path(stat, self._root), stat.size, identity)

    def only_format(self) -> str:
        """The one format of all shards.

        Raises:
          InputError: there are several, or none.
        """
        counts = Counter({name: builder.count for name, builder in self.shards.items()})
        if not counts:
            raise InputError(f"no shard of a known format ({', '.join(FORMATS)}) among {self.passed_over} files")
        if len(counts) > 1:
            mixed = ", ".join(f"{count} {name}" for name, count in counts.most_common())
            most = counts.most_common()[0][0]
            raise InputError(f"the input mixes formats ({mixed}); choose one with --format={most}")
        return next(iter(counts))


def _place(uri: str) -> _Place:
    store = store_for(uri)
    glob = _MAGIC.search(uri.rpartition("://")[2])
    if glob is None:
        if (stat := store.stat(uri)) is not None:
            return _Place(base=uri.rpartition("/")[0] or ".", files=lambda: iter((stat,)), named=True)
        if store.is_directory(uri):
            return _Place(base=uri.rstrip("/") or "/", files=lambda: _visible(uri, store.list(uri)), named=False)
        raise InputError(f"{uri}: no such file or directory")
    base, pattern = _split_glob(uri)
    if not store.is_directory(base) or next(_matching(store, base, pattern), None) is None:
        raise InputError(f"{uri}: the glob matches no file (quote it, and use ** to cross directories)")
    return _Place(base=base, files=lambda: _matching(store, base, pattern), named=False)


def _matching(store: Store, base: str, pattern: re.Pattern[str]) -> Iterator[Stat]:
    return (stat for stat in _visible(base, store.list(base)) if pattern.fullmatch(_below(stat.uri, base)))


def _visible(base: str, files: Iterable[Stat]) -> Iterator[Stat]:
    """Without names that begin with a dot or underscore anywhere below the base: markers, logs, temporaries."""
    for stat in files:
        if not any(part.startswith((".", "_")) for part in _below(stat.uri, base).split("/")):
            yield stat


def _below(uri: str, base: str) -> str:
    return uri[len(base.rstrip("/")) + 1 :]


def _split_glob(uri: str) -> tuple[str, re.Pattern[str]]:
    parts = uri.split("/")
    first = next(i for i, part in enumerate(parts) if _MAGIC.search(part))
    base = "/".join(parts[:first]) or ("/" if uri.startswith("/") else ".")
    if base == ".":  # LocalStore lists './x' below '.'
        return base, _compile("/".join(parts))
    return base, _compile("/".join(parts[first:]))


def _compile(glob: str) -> re.Pattern[str]:
    tokens = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]/]+\])", glob)
    special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(special.get(token) or _literal(token) for token in tokens))


def _literal(token: str) -> str:
    if token.startswith("[") and token.endswith("]") and len(token) > 2:
        inner = token[1:-1].replace("\\", "\\\\")
        return f"[^{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]"
    return re.escape(token)


def _common(bases: Sequence[str]) -> str:
    """The deepest directory that holds all bases.

    Raises:
      InputError: they have none, being of different stores.
    """
    if len(set(bases)) == 1:
        return bases[0]
    columns = zip(*(base.split("/") for base in bases), strict=False)
    shared = [names[0] for names in _while_equal(columns)]
    root = "/".join(shared) or ("/" if all(base.startswith("/") for base in bases) else ".")
    if root.endswith(":/") or (root == "." and any(base.startswith("/") or "://" in base for base in bases)):
        raise InputError(f"the inputs {', '.join(bases)} have no directory in common; run one job for each")
    return root


def _while_equal(columns: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    for names in columns:
        if len(set(names)) > 1:
            return
        yield names


def _wanted(format: str) -> str:
    return f"one of {', '.join(FORMATS)}" if format == "auto" else f"asked for: {format}"


def _by_name(uri: str, readers: dict[str, Reader]) -> str | None:
    name = uri.rpartition("/")[2]
    return next((format for format, reader in readers.items() if reader.recognises(name, b"")), None)


def _by_content(stat: Stat, readers: dict[str, Reader]) -> str | None:
    with store_for(stat.uri).open(stat.uri, sparse=True) as file:
        head = file.read(_HEAD)
    name = stat.uri.rpartition("/")[2]
    return next((format for format, reader in readers.items() if reader.recognises(name, head)), None)


def _with_labels(stat: Stat) -> str:
    """The identity of a shard of images with that of MNIST's file of labels beside it, which is read too."""
    folder, slash, name = stat.uri.rpartition("/")
    found = (store_for(stat.uri).stat(folder + slash + other) for other in labels_of(name))
    return "+".join([stat.identity, *(labels.identity for labels in found if labels is not None)])


def _path(stat: Stat, root: str) -> str:
    path = _below(stat.uri, root) if root != "." or stat.uri.startswith("./") else stat.uri
    if any(part in ("", ".", "..") for part in path.split("/")) or "\0" in path or not _is_text(path):
        raise InputError(f"{stat.uri!r}: this name cannot be mirrored in the output; rename it")
    return path


def _is_text(path: str) -> bool:
    """Whether a name is UTF-8; Python stands in surrogates for bytes that are not."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_apart(inputs: Sequence[str], output: str) -> None:
    """Refuse an output that lies in an input, or around one.

    Raises:
      UsageError: reading would see what is written.
    """
    for uri in inputs:
        one, other = uri.rstrip("/") + "/", output.rstrip("/") + "/"
        if other.startswith(one):
            raise UsageError(f"the output {output} lies inside the input {uri}; name one beside it")

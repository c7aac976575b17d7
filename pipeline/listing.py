"""From what the user names (files, globs, directories) to shards of one format."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.errors import InputError, UsageError
from pipeline.readers import FORMATS, Reader, reader_for
from pipeline.records import Shard
from pipeline.storage import Stat, store_for

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
class _Listing:
    """Files below one base; a ``named`` one must be a shard, others are passed over where they are none."""

    base: str
    files: list[Stat] = field(default_factory=list)
    named: bool


def find_shards(inputs: Sequence[str], format: str = "auto") -> Found:
    """List the shards of some inputs.

    Args:
      inputs: URIs of files, globs (``*`` within a name, ``**`` across directories) and directories.
      format: one of ``FORMATS``, or ``auto``: told by name, else by content.

    Raises:
      InputError: an input matches nothing, a file is of no known format, or formats are mixed.
    """
    listings = [_list(uri) for uri in inputs]
    root = _common([listing.base for listing in listings])
    told = _tell(listings, format)
    only = _only_format(told)
    files = {stat.uri: stat for name, stat in told if name == only}
    shards = [_shard(stat, root) for stat in files.values()]
    shards.sort(key=lambda shard: shard.path)
    passed = sum(name is None for name, _ in told)
    return Found(root=root, format=only, shards=shards, passed_over=passed)


def _list(uri: str) -> _Listing:
    store = store_for(uri)
    glob = _MAGIC.search(uri.rpartition("://")[2])
    if glob is None:
        if (stat := store.stat(uri)) is not None:
            return _Listing(base=uri.rpartition("/")[0] or ".", files=[stat], named=True)
        if store.is_directory(uri):
            return _Listing(base=uri.rstrip("/") or "/", files=list(_visible(uri, store.list(uri))), named=False)
        raise InputError(f"{uri}: no such file or directory")
    base, pattern = _split_glob(uri)
    found = store.list(base) if store.is_directory(base) else iter(())
    files = [stat for stat in _visible(base, found) if pattern.fullmatch(_below(stat.uri, base))]
    if not files:
        raise InputError(f"{uri}: the glob matches no file (quote it, and use ** to cross directories)")
    return _Listing(base=base, files=files, named=False)


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


def _tell(listings: Sequence[_Listing], format: str) -> list[tuple[str | None, Stat]]:
    """Every file with its format; None for one in a directory that is not a shard."""
    readers = {name: reader_for(name) for name in (FORMATS if format == "auto" else (format,))}
    told: list[tuple[str | None, Stat]] = []
    for listing in listings:
        names = [_by_name(stat.uri, readers) for stat in listing.files]
        by_content = listing.named or not any(names)
        for name, stat in zip(names, listing.files, strict=True):
            told.append((name or (_by_content(stat, readers) if by_content else None), stat))
            if told[-1][0] is None and listing.named:
                raise InputError(f"{stat.uri}: of no known format ({_wanted(format)}); its content does not tell one")
    return told


def _wanted(format: str) -> str:
    return f"one of {', '.join(FORMATS)}" if format == "auto" else f"asked for: {format}"


def _by_name(uri: str, readers: dict[str, Reader]) -> str | None:
    name = uri.rpartition("/")[2]
    return next((format for format, reader in readers.items() if reader.recognises(name, b"")), None)


def _by_content(stat: Stat, readers: dict[str, Reader]) -> str | None:
    with store_for(stat.uri).open(stat.uri) as file:
        head = file.read(_HEAD)
    name = stat.uri.rpartition("/")[2]
    return next((format for format, reader in readers.items() if reader.recognises(name, head)), None)


def _only_format(told: Sequence[tuple[str | None, Stat]]) -> str:
    counts = Counter(name for name, _ in told if name is not None)
    if not counts:
        raise InputError(f"no shard of a known format ({', '.join(FORMATS)}) among {len(told)} files of the input")
    if len(counts) > 1:
        mixed = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        raise InputError(f"the input mixes formats ({mixed}); choose one with --format={counts.most_common()[0][0]}")
    return next(iter(counts))


def _shard(stat: Stat, root: str) -> Shard:
    path = _below(stat.uri, root) if root != "." or stat.uri.startswith("./") else stat.uri
    if any(part in ("", ".", "..") for part in path.split("/")) or "\0" in path or not _is_text(path):
        raise InputError(f"{stat.uri!r}: this name cannot be mirrored in the output; rename it")
    return Shard(uri=stat.uri, path=path, size=stat.size, identity=stat.identity)


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

"""Find the shards of an input: from the files, globs and directories that the user names to shards of one format."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lake.core.errors import InputError
from lake.core.records import Shard
from lake.formats import FORMATS, MIXED
from lake.inputs.catalog import Catalog
from lake.inputs.passed_over import PassedOver, Why
from lake.inputs.places import Visit, find_places
from lake.inputs.shard_list import merged


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Shards under one root, in the order of their paths.

    Attributes:
      root: directory that the shards' paths are relative to.
      format: name of the format, or ``MIXED``.
      shards: the shards.
      mixed: with ``MIXED``, the shards of each format.
      passed_over: what directories and globs have and the job does not read, by reason.
      followed: targets of the links to directories that were followed.
      companions: files that describe the shards of a directory, such as ``metadata.jsonl`` of a folder of images.
    """

    root: str
    format: str
    shards: Sequence[Shard]
    passed_over: Mapping[Why, PassedOver] = field(default_factory=dict)
    followed: Collection[str] = ()
    companions: Sequence[Shard] = ()
    mixed: Mapping[str, Sequence[Shard]] = field(default_factory=dict)

    @property
    def by_format(self) -> Mapping[str, Sequence[Shard]]:
        """The shards of each format, which is the only one unless the input is mixed."""
        return self.mixed if self.format == MIXED else {self.format: self.shards}


def find_shards(inputs: Sequence[str], format: str = "auto", *, follow_links: bool = False) -> Found:
    """List the shards of some inputs.

    Args:
      inputs: URIs of files, globs (``*`` within a name, ``**`` across directories) and directories, with or without
        braces (``{000..099}``, ``{a,b}``). An existing file or directory of the very name comes first.
      format: one of ``FORMATS``, ``auto`` to recognise it by name, else by content, or ``MIXED`` for shards of several.
      follow_links: follow symbolic links that lead out of the inputs.

    Raises:
      InputError: an input matches nothing, a named file has no known format, or formats are mixed unasked.

    >>> import tempfile
    >>> from lake.storage import put
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("b.png", "a.png", "_c.png", "notes.txt"):
    ...     put(f"{folder}/{name}", b"...")
    >>> found = find_shards([folder])
    >>> found.format, [shard.path for shard in found.shards]
    ('folder', ['_c.png', 'a.png', 'b.png'])
    >>> found.passed_over[Why.UNKNOWN_FORMAT]
    PassedOver(count=1, examples=('notes.txt',))
    """
    places = find_places(inputs)
    root = _common([place.base for place in places])
    catalog = Catalog(root, format)
    visit = Visit(places, follow_links=follow_links, is_input=catalog.knows)
    for place in places:
        catalog.add(place, visit)
    formats = catalog.formats(visit.tally)
    shards = {name: catalog.shards[name].build(root) for name in formats}
    companions = catalog.companions.of({FORMATS[name].reader: shards[name] for name in formats}, visit.tally)
    mixed = format == MIXED
    return Found(
        root=root,
        format=MIXED if mixed else formats[0],
        shards=merged(shards.values()) if mixed else shards[formats[0]],
        passed_over=visit.tally.found(),
        followed=tuple(sorted(visit.followed)),
        companions=companions,
        mixed=shards if mixed else {},
    )


def root_of(inputs: Sequence[str]) -> str:
    """The directory that the paths of an input's shards are relative to. Nothing is listed.

    Args:
      inputs: as of ``find_shards``.

    Raises:
      InputError: a file or directory that is named is not there.

    >>> root_of(["lake/photos/*.tar", "lake/scans/**/*.tar"])
    'lake'
    """
    return _common([place.base for place in find_places(inputs)])


def list_files(uri: str) -> list[str]:
    """URIs of all files that one input (file, glob or directory) names.

    Raises:
      InputError: there are none.
    """
    places = find_places([uri])
    visit = Visit(places, follow_links=True, is_input=lambda _: False)
    return [stat.uri for place in places for stat in visit.files(place)]


def _common(bases: Sequence[str]) -> str:
    """The deepest directory that contains all bases.

    Raises:
      InputError: there is none, since they are in different stores.
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

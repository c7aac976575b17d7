"""Files that belong to shards and are none themselves: descriptions of a directory, captions, statistics."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from lake.core.records import Shard
from lake.formats.reader import Reader
from lake.inputs.passed_over import PassedOverTally, Why
from lake.inputs.shard_list import Builder, Shards

_STATISTICS = "_stats.json"  # img2dataset writes one beside each shard, and a table of the shard's records


class Companions:
    """Collects files of no known format that may belong to shards.

    Args:
      root: URI that paths are relative to.
      readers: by format.
    """

    def __init__(self, root: str, readers: Mapping[str, Reader]) -> None:
        self._root, self._readers = root, readers
        self._found = Builder()
        self._counted = set[str]()

    def take(self, path: str, size: int, identity: str) -> bool:
        """Keep a file, if it may belong to shards.

        Args:
          path: relative to the root.
          size: bytes.
          identity: text that changes when the content does.
        """
        name = path.rpartition("/")[2]
        if name.endswith(_STATISTICS):
            self._counted.add(path.removesuffix(_STATISTICS))
        names, suffixes = self._known
        if name not in names and not name.lower().endswith(suffixes):
            return False
        self._found.add(path, size, identity)
        return True

    @cached_property
    def _known(self) -> tuple[frozenset[str], tuple[str, ...]]:
        """Names of descriptions, and suffixes of sidecars. Asked of every reader, so not before a file needs it."""
        readers = self._readers.values()
        names = frozenset(name for reader in readers for name in reader.companions)
        return names, tuple({suffix for reader in readers for suffix in reader.sidecars})

    def describes(self, shard: str) -> bool:
        """Whether a shard is img2dataset's table of the records of another one, by its path without the suffix."""
        return shard in self._counted

    def of(self, shards: Mapping[Reader, Shards], tally: PassedOverTally) -> Sequence[Shard]:
        """Those that belong to shards. The others are passed over.

        Args:
          shards: by the reader of their format.
          tally: counts what is passed over.
        """
        if not self._found.count:
            return ()
        found = self._found.build(self._root)
        kept = {path for reader, some in shards.items() for path in _belonging(found, reader, some)}
        for companion in found:
            if companion.path not in kept:
                tally.add(Why.UNKNOWN_FORMAT, companion.path)
        return tuple(companion for companion in found if companion.path in kept)


def _belonging(found: Shards, reader: Reader, shards: Shards) -> Iterator[str]:
    """Paths of the companions of one format's shards."""
    stems = pa.array([_stem(shard.path) for shard in shards]) if reader.sidecars else pa.array([], pa.string())
    own = pc.is_in(pa.array([_stem(companion.path) for companion in found]), value_set=stems).to_pylist()
    for companion, beside in zip(found, own, strict=True):
        name = companion.path.rpartition("/")[2]
        if name in reader.companions or (beside and name.lower().endswith(reader.sidecars)):
            yield companion.path


def sidecars_of(groups: Iterable[Sequence[Shard]], sidecars: Iterable[Shard]) -> list[tuple[Shard, ...]]:
    """The sidecars of each group of shards. Of shards that differ in their suffixes alone, the first one has them.

    Args:
      groups: shards.
      sidecars: files of the same paths but for the suffix.
    """
    left: dict[str, list[Shard]] = {}
    for sidecar in sidecars:
        left.setdefault(_stem(sidecar.path), []).append(sidecar)
    return [tuple(one for shard in group for one in left.pop(_stem(shard.path), ())) for group in groups]


def _stem(path: str) -> str:
    """A path without its last extension."""
    directory, slash, name = path.rpartition("/")
    return directory + slash + (name.rpartition(".")[0] or name)

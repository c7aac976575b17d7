"""A list of many shards in little memory: columns of paths, sizes and identities. Shards are made on access."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.records import Array, Shard

_BLOCK = 1 << 14  # shards that are Python objects at once


class Shards(Sequence[Shard]):
    """Shards under one root. A million of them take about 100 MB.

    Args:
      root: URI that all paths are relative to.
      table: columns ``path`` (string), ``size`` (int64) and ``identity`` (string).
    """

    def __init__(self, root: str, table: pa.Table) -> None:
        self._root, self._table = root, table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[Shard]:
        prefix = "" if self._root == "." else self._root.rstrip("/") + "/"
        for start in range(0, len(self), _BLOCK):
            columns = (column.to_pylist() for column in self._table.slice(start, _BLOCK).columns)
            for path, size, identity in zip(*columns, strict=True):
                yield Shard(uri=prefix + path, path=path, size=size, identity=identity)

    @overload
    def __getitem__(self, at: int) -> Shard: ...
    @overload
    def __getitem__(self, at: slice) -> "Shards": ...
    def __getitem__(self, at: int | slice) -> "Shard | Shards":
        if isinstance(at, slice):  # a step would be ignored; no caller uses one
            start, stop, _ = at.indices(len(self))
            return Shards(self._root, self._table.slice(start, max(0, stop - start)))
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        return next(iter(self[at % len(self) :]))

    @property
    def root(self) -> str:
        """URI that all paths are relative to."""
        return self._root

    @property
    def sizes(self) -> Array:
        """Size of each shard in bytes, int64 ``[n]``."""
        sizes: Array = self._table.column("size").to_numpy()
        return sizes

    def by_directory(self) -> Iterator["Shards"]:
        """The shards of each directory, in the order of their names."""
        paths = self._table.column("path")
        directories = pc.replace_substring_regex(paths, "/?[^/]*$", "")
        order = pc.sort_indices(
            pa.table({"directory": directories, "path": paths}),
            sort_keys=[("directory", "ascending"), ("path", "ascending")],
        )
        table, directories = self._table.take(order), directories.take(order).combine_chunks()
        edges = _edges(directories)
        for start, stop in pairwise(edges):
            yield Shards(self._root, table.slice(start, stop - start))


class Builder:
    """Collects shards in any order.

    Attributes:
      count: number of shards added.

    >>> builder = Builder()
    >>> builder.add("b.tar", 20, "1")
    >>> builder.add("a.tar", 10, "1")
    >>> [shard.uri for shard in builder.build("gs://bucket")]
    ['gs://bucket/a.tar', 'gs://bucket/b.tar']
    """

    def __init__(self) -> None:
        self._pending: list[tuple[str, int, str]] = []
        self._blocks: list[pa.Table] = []
        self.count = 0

    def add(self, path: str, size: int, identity: str) -> None:
        """Add one shard.

        Args:
          path: relative to the root.
          size: bytes.
          identity: text that changes when the content does.
        """
        self._pending.append((path, size, identity))
        self.count += 1
        if len(self._pending) >= _BLOCK:
            self._flush()

    def build(self, root: str) -> Shards:
        """All shards in the order of their paths, without duplicates."""
        self._flush()
        table = pa.concat_tables(self._blocks).combine_chunks()
        table = table.take(pc.sort_indices(table.column("path")))
        # Inputs may overlap, as a directory and a file in it do. Of each run of equal paths the first one counts.
        starts = _edges(table.column("path").combine_chunks())[:-1]
        return Shards(root, table if len(starts) == len(table) else table.take(pa.array(starts)))

    def _flush(self) -> None:
        paths, sizes, identities = zip(*self._pending, strict=True) if self._pending else ((), (), ())
        columns = {"path": (paths, pa.string()), "size": (sizes, pa.int64()), "identity": (identities, pa.string())}
        self._blocks.append(pa.table({name: pa.array(values, kind) for name, (values, kind) in columns.items()}))
        self._pending = []


def merged(parts: Iterable[Shards]) -> Shards:
    """All shards of several lists of one root, in the order of their paths.

    Args:
      parts: no shard is in two of them.
    """
    parts = list(parts)
    builder = Builder()
    for part in parts:
        for shard in part:
            builder.add(shard.path, shard.size, shard.identity)
    return builder.build(parts[0].root)


def _edges(values: pa.Array) -> list[int]:
    """The positions where runs of equal values begin, followed by the number of values."""
    if not len(values):
        return [0]
    changes = pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
    return [0, *(np.flatnonzero(changes) + 1).tolist(), len(values)]

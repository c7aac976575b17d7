"""A list of many shards in little memory: columns, which are compressed. Shards are made on access."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from operator import lt
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.records import Array, Shard

_BLOCK = 1 << 14  # shards that are Python objects at once
_PACKED = pa.ipc.IpcWriteOptions(compression="zstd")


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows ``[start, stop)`` of a table, which may be compressed."""

    held: pa.Table | bytes
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def slice(self, start: int, stop: int) -> "_Rows":
        return _Rows(self.held, self.start + max(0, start), self.start + min(len(self), stop))

    def table(self) -> pa.Table:
        whole = self.held if isinstance(self.held, pa.Table) else _unpacked(self.held)
        return whole.slice(self.start, len(self))


class Shards(Sequence[Shard]):
    """Shards under one root. A million of them take 7 to 42 MB: less if their names are numbered.

    Args:
      root: URI that all paths are relative to.
      blocks: rows of columns ``path`` (string), ``size`` (int64) and ``identity`` (string).
    """

    def __init__(self, root: str, blocks: Sequence[_Rows]) -> None:
        self._root, self._blocks = root, blocks
        self._edges = [0, *accumulate(map(len, blocks))]

    def __len__(self) -> int:
        return self._edges[-1]

    def __iter__(self) -> Iterator[Shard]:
        prefix = "" if self._root == "." else self._root.rstrip("/") + "/"
        for block in self._blocks:
            table = block.table()
            for start in range(0, len(block), _BLOCK):
                columns = (column.to_pylist() for column in table.slice(start, _BLOCK).columns)
                for path, size, identity in zip(*columns, strict=True):
                    yield Shard(uri=prefix + path, path=path, size=size, identity=identity)

    @overload
    def __getitem__(self, at: int) -> Shard: ...
    @overload
    def __getitem__(self, at: slice) -> "Shards": ...
    def __getitem__(self, at: int | slice) -> "Shard | Shards":
        if isinstance(at, slice):  # a step would be ignored; no caller uses one
            start, stop, _ = at.indices(len(self))
            return Shards(self._root, [*self._between(start, stop)])
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        at %= len(self)
        return next(iter(self[at : at + 1]))

    def _between(self, start: int, stop: int) -> Iterator[_Rows]:
        first = bisect_right(self._edges, start) - 1
        for edge, block in zip(self._edges[first:], self._blocks[first:], strict=False):
            if edge >= stop:
                return
            yield block.slice(start - edge, stop - edge)

    @property
    def root(self) -> str:
        """URI that all paths are relative to."""
        return self._root

    @property
    def sizes(self) -> Array:
        """Size of each shard in bytes, int64 ``[n]``."""
        sizes = [block.table().column("size").to_numpy() for block in self._blocks]
        return np.concatenate(sizes) if sizes else np.empty(0, np.int64)

    def by_directory(self) -> Iterator["Shards"]:
        """The shards of each directory, in the order of their names."""
        if not len(self):
            return
        table = pa.concat_tables([block.table() for block in self._blocks])
        paths = table.column("path")
        directories = pc.replace_substring_regex(paths, "/?[^/]*$", "")
        order = pc.sort_indices(
            pa.table({"directory": directories, "path": paths}),
            sort_keys=[("directory", "ascending"), ("path", "ascending")],
        )
        table, directories = table.take(order), directories.take(order).combine_chunks()
        for start, stop in pairwise(_edges(directories)):
            yield Shards(self._root, [_Rows(table, start, stop)])


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
        self._blocks: list[_Rows] = []
        self._last, self._in_order = "", True
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
        if not self._in_order:
            self._blocks, self._in_order = _sorted(self._blocks), True
        return Shards(root, [*self._blocks])

    def _flush(self) -> None:
        if not self._pending:
            return
        paths, sizes, identities = zip(*self._pending, strict=True)
        # As stores and disks list them, and then there is nothing to sort, and no copy to be made of all.
        self._in_order &= all(map(lt, (self._last, *paths), paths))
        self._last, self._pending = paths[-1], []
        columns = {"path": (paths, pa.string()), "size": (sizes, pa.int64()), "identity": (identities, pa.string())}
        self._blocks.append(
            _packed(pa.table({name: pa.array(values, kind) for name, (values, kind) in columns.items()}))
        )


def _sorted(blocks: Sequence[_Rows]) -> list[_Rows]:
    table = pa.concat_tables([block.table() for block in blocks]).combine_chunks()
    table = table.take(pc.sort_indices(table.column("path")))
    # Inputs may overlap, as a directory and a file in it do. Of each run of equal paths the first one counts.
    starts = _edges(table.column("path").combine_chunks())[:-1]
    table = table if len(starts) == len(table) else table.take(pa.array(starts))
    return [_packed(table.slice(start, _BLOCK)) for start in range(0, len(table), _BLOCK)]


def _packed(table: pa.Table) -> _Rows:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_PACKED) as writer:
        writer.write_table(table)
    return _Rows(sink.getvalue().to_pybytes(), 0, len(table))


@lru_cache(maxsize=1)  # shards are asked for in their order
def _unpacked(data: bytes) -> pa.Table:
    return pa.ipc.open_stream(data).read_all()


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

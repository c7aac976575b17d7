"""Cut rows into batches whose edges depend on the rows alone, not on the batches in which they arrive."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from lake.core.records import Array


class Blocks:
    """Cuts a stream of rows into batches.

    Batches are slices of what was added. Rows are copied only if a batch spans several additions.

    Args:
      rows: the most rows in a batch.
      room: a batch ends with the row by which it reaches this many bytes.

    >>> blocks = Blocks(rows=2, room=1000)
    >>> rows = pa.RecordBatch.from_pydict({"n": [1, 2, 3]})
    >>> [block.column(0).to_pylist() for block in [*blocks.add(rows, np.array([8, 8, 8])), *blocks.rest()]]
    [[1, 2], [3]]
    """

    def __init__(self, rows: int, room: int) -> None:
        self._most, self._room = rows, room
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def add(self, batch: pa.RecordBatch, sizes: Array) -> Iterator[pa.RecordBatch]:
        """Add rows and yield the batches that they complete. The iterator must be exhausted before more is added.

        Args:
          batch: ``n`` rows.
          sizes: bytes that each row counts for, int64 ``[n]``.
        """
        at = 0
        while at < batch.num_rows:
            count = self._fitting(sizes[at : at + self._most - self._rows])
            self._waiting.append(batch.slice(at, count))
            self._rows += count
            self._bytes += int(sizes[at : at + count].sum())
            at += count
            if self._rows == self._most or self._bytes >= self._room:
                yield from self.rest()

    def rest(self) -> Iterator[pa.RecordBatch]:
        """The remaining rows as one batch, if there are any."""
        waiting, self._waiting, self._rows, self._bytes = self._waiting, [], 0, 0
        if waiting:
            yield waiting[0] if len(waiting) == 1 else pa.concat_batches(waiting)

    def _fitting(self, sizes: Array) -> int:
        """How many of the next rows belong to the current batch; at least one."""
        reached = np.flatnonzero(self._bytes + np.cumsum(sizes) >= self._room)
        return int(reached[0]) + 1 if len(reached) else len(sizes)

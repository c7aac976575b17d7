"""Rows cut into batches whose edges depend on the rows alone, however they arrive."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.records import Array


class Blocks:
    """Batches of ``rows`` rows: slices of what is added, and copies only where a batch spans two additions.

    A batch ends early with the row by which it reaches ``room`` bytes.
    """

    def __init__(self, rows: int, room: int) -> None:
        self._most, self._room = rows, room
        self._held: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def add(self, batch: pa.RecordBatch, sizes: Array) -> Iterator[pa.RecordBatch]:
        """The batches that are complete with these rows; ``sizes`` are the bytes that each counts for, int64 ``[n]``.

        To be exhausted before more is added.
        """
        at = 0
        while at < batch.num_rows:
            count = self._fitting(sizes[at : at + self._most - self._rows])
            self._held.append(batch.slice(at, count))
            self._rows += count
            self._bytes += int(sizes[at : at + count].sum())
            at += count
            if self._rows == self._most or self._bytes >= self._room:
                yield from self.rest()

    def rest(self) -> Iterator[pa.RecordBatch]:
        """What waits for more rows, as one batch, if there is any."""
        held, self._held, self._rows, self._bytes = self._held, [], 0, 0
        if held:
            yield held[0] if len(held) == 1 else pa.concat_batches(held)

    def _fitting(self, sizes: Array) -> int:
        """How many of the next rows belong to the current batch, at least one."""
        reached = np.flatnonzero(self._bytes + np.cumsum(sizes) >= self._room)
        return int(reached[0]) + 1 if len(reached) else len(sizes)

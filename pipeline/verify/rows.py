"""The rows of one table: finite, in order, each once, and of the unit's own shards."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.layout import LATENTS, METRICS, REJECTS
from pipeline.readers import FORMATS
from pipeline.receipts import Receipt
from pipeline.records import Array
from pipeline.stems import stem_of, unsliced

Key: TypeAlias = tuple[str, int]  # shard and index of a record

_BUFFER = 1 << 20  # bytes of a column that are read at once
_ROWS = 4096
_FINITE = {LATENTS: ("latent", "latent_variance", "mse"), METRICS: ("mse",), REJECTS: ()}


def batches(file: BinaryIO, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file, a few thousand of one row group at a time, each page checked by its checksum.

    Raises:
      OSError, pa.ArrowException: the file is damaged.
    """
    parquet = pq.ParquetFile(file, page_checksum_verification=True, buffer_size=_BUFFER)
    for group in range(parquet.num_row_groups):
        yield from parquet.iter_batches(_ROWS, row_groups=[group], columns=columns, use_threads=False)


def table_problem(read: Iterable[pa.RecordBatch], directory: str, receipt: Receipt) -> str | None:
    """What is wrong with a table, None for nothing.

    Args:
      read: its rows, none of the batches empty.
      directory: that its file is in: LATENTS, METRICS or REJECTS.
      receipt: of its unit.
    """
    last: Key | None = None
    reasons = Counter[str]()
    for rows in read:
        who = _Identities.of(rows)
        problem = _not_finite(rows, directory) or who.foreign(receipt.unit) or who.disorder(last)
        if problem:
            return problem
        last = who.last
        if directory == REJECTS:
            reasons.update(rows.column("reason").to_pylist())
    if directory == REJECTS and reasons != Counter(receipt.rejects):
        return f"rejected for {dict(reasons)}, but the manifest says {dict(receipt.rejects)}"
    return None


def overlap(results: Iterable[pa.RecordBatch], rejects: Iterable[pa.RecordBatch]) -> str | None:
    """A record that has a row in both of a unit's tables, None if there is none; both are in order, each read once."""
    keys = (key for rows in rejects for key in _Identities.of(rows).each())
    key = next(keys, None)
    for rows in results:
        who = _Identities.of(rows)
        while key is not None and key <= who.last:
            if who.has(key):
                return f"record {key[1]} of {key[0]!r} is a result and a reject"
            key = next(keys, None)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identities:
    """Who some rows are.

    shards: of each run of rows of one shard.
    starts: where each run begins, int64, and at the end the number of rows.
    index: of each row, int64 ``[n]``.
    """

    shards: Sequence[str]
    starts: Array
    index: Array

    @classmethod
    def of(cls, rows: pa.RecordBatch) -> "_Identities":
        """The columns ``shard`` and ``index`` of at least one row."""
        shard = rows.column("shard")
        shard = shard if pa.types.is_dictionary(shard.type) else shard.dictionary_encode()
        starts = np.flatnonzero(np.diff(shard.indices.to_numpy(), prepend=-1))
        return cls(
            shards=shard.take(pa.array(starts)).to_pylist(),
            starts=np.append(starts, len(shard)),
            index=rows.column("index").to_numpy(),
        )

    @property
    def last(self) -> Key:
        """The last row."""
        return self.shards[-1], int(self.index[-1])

    def each(self) -> Iterator[Key]:
        """All rows in order."""
        for shard, (start, stop) in zip(self.shards, pairwise(self.starts.tolist()), strict=True):
            for index in self.index[start:stop].tolist():
                yield shard, index

    def has(self, key: Key) -> bool:
        """Whether a record is among rows that are in order."""
        run = bisect_left(self.shards, key[0])
        if run == len(self.shards) or self.shards[run] != key[0]:
            return False
        index = self.index[self.starts[run] : self.starts[run + 1]]
        at = np.searchsorted(index, key[1])
        return bool(at < len(index) and index[at] == key[1])

    def disorder(self, before: Key | None) -> str | None:
        """Rows ascend by shard and index after the last row before them; else what is wrong."""
        rising = np.diff(self.index) > 0
        rising[self.starts[1:-1] - 1] = True  # where a shard begins
        shards = all(one < other for one, other in pairwise(self.shards))
        first = (self.shards[0], int(self.index[0]))
        if rising.all() and shards and (before is None or before < first):
            return None
        return f"its rows from record {first[1]} of {first[0]!r} on are not in order, each once"

    def foreign(self, unit: str) -> str | None:
        """A shard that the unit cannot have read, as far as names tell."""
        other = next((shard for shard in self.shards if not _belongs(shard, unit)), None)
        return None if other is None else f"has rows of the shard {other!r}, which is another unit's"


def _belongs(shard: str, unit: str) -> bool:
    """Whether a unit is called after a shard or a slice of it, or is a part of the shard's directory."""
    directory, _, name = unit.rpartition("/")
    if name.startswith("part-") and shard.rpartition("/")[0] == directory:
        return True
    stems = {stem_of(shard, format) for format in FORMATS}
    return unit in stems or unsliced(unit) in stems


def _not_finite(rows: pa.RecordBatch, directory: str) -> str | None:
    for name in _FINITE[directory]:
        if name in rows.schema.names and not _is_finite(rows.column(name)):
            return f"its column {name} has NaN or infinite values"
    return None


def _is_finite(column: pa.Array) -> bool:
    values = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
    return bool(np.isfinite(values.to_numpy(zero_copy_only=False)).all())

"""Check the rows of one table: finite numbers, in order, no duplicates, only records of the unit's own shards."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO, TypeAlias

import numpy as np
import pyarrow as pa

from lake.core.records import Array
from lake.formats import FORMATS
from lake.formats.common.parquet_file import open_parquet
from lake.inputs.units import stem, strip_slice
from pipeline.output.layout import LATENTS, METRICS, REJECTS
from pipeline.output.units.receipts import Receipt

Key: TypeAlias = tuple[str, int]  # shard and index of a record

_ROWS = 4096  # in a batch
_FINITE = {LATENTS: ("latent", "latent_flip", "latent_variance", "mse"), METRICS: ("mse",), REJECTS: ()}


def batches(file: BinaryIO, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a Parquet file in batches of one row group each, with every page's checksum compared.

    Args:
      file: the file.
      columns: names of the columns to read; None for all.

    Raises:
      OSError, pa.ArrowException: the file is damaged.
    """
    parquet = open_parquet(file)
    for group in range(parquet.num_row_groups):
        yield from parquet.iter_batches(_ROWS, row_groups=[group], columns=columns, use_threads=False)


def table_problem(read: Iterable[pa.RecordBatch], directory: str, receipt: Receipt) -> str | None:
    """Return what is wrong with a table; None if nothing is.

    Args:
      read: its rows, in batches that are not empty.
      directory: the directory of its file: LATENTS, METRICS or REJECTS.
      receipt: receipt of its unit.
    """
    last: Key | None = None
    reasons = Counter[str]()
    for rows in read:
        identities = _Identities.of(rows)
        problem = _not_finite(rows, directory) or identities.foreign(receipt.unit) or identities.disorder(last)
        if problem:
            return problem
        last = identities.last
        if directory == REJECTS:
            reasons.update(rows.column("reason").to_pylist())
    if directory == REJECTS and reasons != Counter(receipt.rejects):
        return f"rejected for {dict(reasons)}, but the manifest says {dict(receipt.rejects)}"
    return None


def overlap(results: Iterable[pa.RecordBatch], rejects: Iterable[pa.RecordBatch]) -> str | None:
    """Return a problem if a record has a row in both of a unit's tables, else None.

    Args:
      results: rows of the table of results, in order.
      rejects: rows of the table of rejects, in order.
    """
    # A merge of two ordered tables: neither has to fit in memory.
    keys = (key for rows in rejects for key in _Identities.of(rows).records())
    key = next(keys, None)
    for rows in results:
        identities = _Identities.of(rows)
        while key is not None and key <= identities.last:
            if identities.contains(key):
                return f"record {key[1]} of {key[0]!r} is a result and a reject"
            key = next(keys, None)
    return None


def repeated(found: Iterable[pa.RecordBatch]) -> str | None:
    """Return a problem if a record has several rows in the tables of a unit, else None.

    Args:
      found: rows of tables, in any order.
    """
    indices = defaultdict[str, list[Array]](list)
    for rows in found:
        identities = _Identities.of(rows)
        for shard, (start, stop) in zip(identities.shards, pairwise(identities.starts.tolist()), strict=True):
            indices[shard].append(identities.index[start:stop])
    for shard, parts in indices.items():
        records, counts = np.unique(np.concatenate(parts), return_counts=True)
        if (counts > 1).any():
            return f"record {records[counts > 1][0]} of {shard!r} has several rows"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identities:
    """The records that some rows stand for.

    Attributes:
      shards: the shard of each run of rows with the same shard.
      starts: first row of each run, int64, followed by the number of rows.
      index: index of each row's record in its shard, int64 ``[n]``.
    """

    shards: Sequence[str]
    starts: Array
    index: Array

    @classmethod
    def of(cls, rows: pa.RecordBatch) -> "_Identities":
        """Read the columns ``shard`` and ``index`` of one row or more."""
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
        """The record of the last row."""
        return self.shards[-1], int(self.index[-1])

    def records(self) -> Iterator[Key]:
        """Yield the records of all rows, in order."""
        for shard, (start, stop) in zip(self.shards, pairwise(self.starts.tolist()), strict=True):
            for index in self.index[start:stop].tolist():
                yield shard, index

    def contains(self, key: Key) -> bool:
        """Whether a record is among the rows, which must be in order."""
        run = bisect_left(self.shards, key[0])
        if run == len(self.shards) or self.shards[run] != key[0]:
            return False
        index = self.index[self.starts[run] : self.starts[run + 1]]
        at = np.searchsorted(index, key[1])
        return bool(at < len(index) and index[at] == key[1])

    def disorder(self, before: Key | None) -> str | None:
        """Return a problem if the rows do not ascend by shard and index, after the row before them; else None."""
        rising = np.diff(self.index) > 0
        rising[self.starts[1:-1] - 1] = True  # where a shard begins, the index starts over
        shards = all(one < other for one, other in pairwise(self.shards))
        first = (self.shards[0], int(self.index[0]))
        if rising.all() and shards and (before is None or before < first):
            return None
        return f"its rows from record {first[1]} of {first[0]!r} on are not in order, each once"

    def foreign(self, unit: str) -> str | None:
        """Return a problem if a row is of a shard that, by its name, cannot be the unit's; else None."""
        other = next((shard for shard in self.shards if not _belongs(shard, unit)), None)
        return None if other is None else f"has rows of the shard {other!r}, which is another unit's"


def _belongs(shard: str, unit: str) -> bool:
    """Whether a unit is named after a shard or a slice of it, or is a group of files in the shard's directory."""
    directory, _, name = unit.rpartition("/")
    if name.startswith("part-") and shard.rpartition("/")[0] == directory:
        return True
    stems = {stem(shard, format) for format in FORMATS}
    return unit in stems or strip_slice(unit) in stems


def _not_finite(rows: pa.RecordBatch, directory: str) -> str | None:
    names = _FINITE[directory]
    for field in rows.schema:
        if (field.name in names or _is_further(field)) and not _is_finite(rows.column(field.name)):
            return f"its column {field.name} has NaN or infinite values"
    return None


def _is_further(field: pa.Field) -> bool:
    """Whether a column has further latents. Carried ones may be null, whatever they are called."""
    return field.name.startswith("latent_") and not field.nullable and pa.types.is_fixed_size_list(field.type)


def _is_finite(column: pa.Array) -> bool:
    lists = pa.types.is_fixed_size_list(column.type) or pa.types.is_list(column.type)
    values = column.flatten() if lists else column
    return bool(np.isfinite(values.to_numpy(zero_copy_only=False)).all())

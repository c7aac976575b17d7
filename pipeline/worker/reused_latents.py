"""Latents that were made before: looked up by the SHA-256 of a record's bytes, and put among the computed ones."""

import os
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lake.core.records import Array, Records
from lake.core.temporary import temporary_space
from lake.images.fallback_decoder import Decodes
from lake.images.types import Decoded
from pipeline.output.reuse.digest_index import DIGEST, DigestIndex, digests_in, keys_of
from pipeline.output.reuse.reusable import ReusableTable, read_reusable
from pipeline.worker.record_hashes import RecordHashes

_SPOOL = 8 << 30  # bytes of rows that a process keeps in its temporary file; then it begins anew


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLatents:
    """The records of a batch whose latents were made before.

    Attributes:
      positions: of the records in the batch, int64 ``[m]``, ascending.
      rows: what is known of each, with a field for each column of latents.
    """

    positions: Array
    rows: Array

    def __len__(self) -> int:
        return len(self.positions)

    def joined(
        self, positions: Array, arrays: Iterable[pa.Array], names: Sequence[str]
    ) -> tuple[Array, list[pa.Array]]:
        """Put them among the results that were computed, in the order of the batch.

        Args:
          positions: of these results, int64 ``[k]``.
          arrays: their columns of latents.
          names: of the columns.

        Returns:
          Positions and columns of both.
        """
        every = np.concatenate([self.positions, positions])
        order = np.argsort(every)
        columns = zip(names, arrays, strict=True)
        return every[order], [_joined(self.rows[name], array, order) for name, array in columns]


def _joined(known: Array, made: pa.Array, order: Array) -> pa.Array:
    computed = made.flatten().to_numpy(zero_copy_only=False).reshape(len(made), -1 if len(made) else known.shape[1])
    both = np.concatenate([known, computed])[order]
    return pa.FixedSizeListArray.from_arrays(pa.array(both.reshape(-1)), type=made.type)


NONE_KNOWN = KnownLatents(positions=np.empty(0, np.int64), rows=np.empty(0))


def decode_others(decoder: Decodes, records: Records, known: Array) -> Decoded:
    """Decode the records of a batch whose latents are not known.

    Args:
      decoder: of images.
      records: the batch.
      known: positions of the others, int64 ``[m]``, ascending.
    """
    if not len(known):
        return decoder.decode(records)
    others = np.delete(np.arange(len(records)), known)
    if not len(others):
        return Decoded(groups=())
    decoded = decoder.decode(records.take(others))
    return Decoded(
        groups=tuple(replace(group, positions=others[group.positions]) for group in decoded.groups),
        faults={int(others[position]): fault for position, fault in decoded.faults.items()},
        several=frozenset(others[sorted(decoded.several)].tolist()),
    )


class ReusedLatents:
    """The latents of some tables, by the bytes of their records. Thread-safe.

    Args:
      directory: URI of the index of these tables.
      schema: of the table that is written.
      names: of its columns with latents, each of which has one length.
    """

    def __init__(self, directory: str, schema: pa.Schema, names: Sequence[str]) -> None:
        self._index = DigestIndex(directory)
        self._rows = TableRows(self._index.tables, schema, names)

    def of(self, records: Records, hashes: RecordHashes) -> KnownLatents:
        """Look up the image files of a batch.

        A record with a fault is never known. Nor are numbers: with the same bytes they may have another shape.

        Args:
          records: the batch.
          hashes: of the batch; it is told the perceptual hashes of those that are known.
        """
        if isinstance(records.payload, np.ndarray):
            return NONE_KNOWN
        there = records.payload.is_valid().to_numpy(zero_copy_only=False)
        there[list(records.faults)] = False
        positions = np.flatnonzero(there)
        digests = hashes.digests(positions)
        tables, rows = self._index.find(keys_of(digests))
        found = np.flatnonzero(tables >= 0)
        if not len(found):
            return NONE_KNOWN
        read = self._rows.read(tables[found], rows[found])
        same = (read["sha256"] == digests[found]).all(axis=1)
        known = KnownLatents(positions=positions[found[same]], rows=read[same])
        hashes.know(known.positions, known.rows["phash"], known.rows["has_phash"])
        return known


class TableRows:
    """Rows of tables at any place. A row group is decoded once, into a temporary file. Thread-safe.

    Args:
      tables: the tables.
      schema: of the columns, which the tables have too.
      names: of the columns with latents.
    """

    def __init__(self, tables: Sequence[ReusableTable], schema: pa.Schema, names: Sequence[str]) -> None:
        self._tables, self._names = tables, names
        self._types = {name: schema.field(name).type for name in (*names, "sha256", "phash")}
        vectors = [(n, self._types[n].value_type.to_pandas_dtype(), (self._types[n].list_size,)) for n in names]
        self._kind = np.dtype([("sha256", np.uint8, (DIGEST,)), ("phash", np.int64), ("has_phash", bool), *vectors])
        self._edges: dict[int, Array] = {}
        self._starts: dict[tuple[int, int], int] = {}
        self._spool, self._end, self._lock = _nameless_file(), 0, Lock()
        weakref.finalize(self, os.close, self._spool)

    def read(self, tables: Array, rows: Array) -> Array:
        """Read some rows.

        Args:
          tables: number of the table of each, int64 ``[m]``.
          rows: number of the row, int64 ``[m]``.

        Returns:
          A record for each: ``sha256``, ``phash``, ``has_phash`` and the columns of latents; zeros where there is none.
        """
        found = np.zeros(len(rows), self._kind)
        with self._lock, temporary_space():
            for table in np.unique(tables).tolist():
                self._read_table(table, rows, np.flatnonzero(tables == table), found)
        return found

    def _read_table(self, table: int, rows: Array, chosen: Array, found: Array) -> None:
        edges = self._edges_of(table)
        groups = np.searchsorted(edges, rows[chosen], side="right") - 1
        for group in np.unique(groups).tolist():
            own = chosen[groups == group]
            if 0 <= group < len(edges) - 1 and (start := self._start_of(table, group)) >= 0:
                self._read_runs(start, rows[own] - edges[group], own, found)

    def _read_runs(self, start: int, rows: Array, chosen: Array, found: Array) -> None:
        """Read rows of a group that is in the file, neighbours at once."""
        order = np.argsort(rows, kind="stable")
        for run in np.split(order, np.flatnonzero(np.diff(rows[order]) != 1) + 1):
            size = self._kind.itemsize
            data = os.pread(self._spool, len(run) * size, start + int(rows[run[0]]) * size)
            found[chosen[run]] = np.frombuffer(data, self._kind)

    def _edges_of(self, table: int) -> Array:
        """Where the row groups of a table begin, and its end, int64 ``[g + 1]``; 0 alone where it cannot be read."""
        if table not in self._edges:
            sizes = read_reusable(self._tables[table], self._sizes)
            self._edges[table] = np.cumsum([0, *(sizes or ())])
        return self._edges[table]

    def _sizes(self, file: pq.ParquetFile) -> list[int]:
        schema = file.schema_arrow
        if any(name not in schema.names or schema.field(name).type != kind for name, kind in self._types.items()):
            raise ValueError("its columns are others")
        return [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]

    def _start_of(self, table: int, group: int) -> int:
        """Where the rows of a row group begin in the temporary file; -1 where it cannot be read."""
        if (table, group) not in self._starts:
            read = read_reusable(self._tables[table], lambda file: self._group(file, group))
            self._starts[table, group] = -1 if read is None else self._keep(read)
        return self._starts[table, group]

    def _group(self, file: pq.ParquetFile, group: int) -> Array:
        table = file.read_row_group(group, columns=[*self._types], use_threads=False).combine_chunks()
        (batch,) = table.to_batches()
        rows = np.zeros(batch.num_rows, self._kind)
        rows["sha256"] = digests_in(batch.column("sha256"))
        phash = batch.column("phash")
        rows["phash"] = phash.fill_null(0).to_numpy(zero_copy_only=False)
        rows["has_phash"] = phash.is_valid().to_numpy(zero_copy_only=False)
        for name in self._names:
            rows[name] = batch.column(name).flatten().to_numpy(zero_copy_only=False).reshape(len(rows), -1)
        return rows

    def _keep(self, rows: Array) -> int:
        if self._end + rows.nbytes > _SPOOL:
            self._starts.clear()
            os.truncate(self._spool, 0)
            self._end = 0
        start, data = self._end, memoryview(rows.tobytes())
        while data:
            written = os.pwrite(self._spool, data, self._end)
            data, self._end = data[written:], self._end + written
        return start


def _nameless_file() -> int:
    """Open a temporary file that is gone with its handle. A file object would warn when it is dropped."""
    handle, path = tempfile.mkstemp(prefix="latentlake-")
    Path(path).unlink()
    return handle

"""An index of the records of some tables by their SHA-256, which is made and read in bounded memory.

```
<directory>/part-00000     of n records: the first 8 bytes of each digest, ascending, then the place of each: uint64 [n]
<directory>/tables.json    the tables, in the order of their numbers
```

A part has the records whose digests begin with the bits of its number. A place is the number of a table in the upper
half, and of a row in the lower one. The index only says where to look: who reads a row compares its whole digest.
"""

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from threading import Lock
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lake.core import sealed_json
from lake.core.ordered_map import requested
from lake.core.records import Array
from lake.core.temporary import temporary_space
from lake.storage import Guard, join, put, store_for
from pipeline.output.reuse.reusable import ReusableTable, read_reusable
from pipeline.output.state.state_file import read_state_file
from pipeline.output.state.state_values import Rule, list_of, natural, utf8

DIGEST = 32  # bytes of a SHA-256
_PART = 1 << 22  # records of a part: 64 MiB, of which one at a time is sorted in memory
_MOST_BITS = 8
_BATCH = 1 << 16  # records that are read at once
_ENTRY = np.dtype("<u8")
_ROWS = 32  # bits of a place that say the row
_RULES: dict[str, Rule] = {"uris": list_of(utf8), "fingerprints": list_of(utf8), "bits": natural}


def write_index(directory: str, tables: Sequence[ReusableTable], guard: Guard | None = None) -> None:
    """Read the digests of some tables and write their index.

    Args:
      directory: URI of the directory of the index.
      tables: the tables; one that is not there any more is left out.
      guard: the right to write it.

    Raises:
      OSError: a store failed, or temporary files have no room.
    """
    bits = _bits(sum(table.rows for table in tables))
    with ExitStack() as stack, temporary_space():
        parts = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1 << bits)]
        for _ in requested(_Spreading(parts, bits).spread, enumerate(tables)):
            pass
        for number, part in enumerate(parts):
            _write_part(_part(directory, number), part, guard)
    value = {"uris": [t.uri for t in tables], "fingerprints": [t.fingerprint for t in tables], "bits": bits}
    put(join(directory, "tables.json"), sealed_json.dumps(value), guard, durable=False)


def _bits(rows: int) -> int:
    """How many leading bits of a digest say its part.

    >>> _bits(100_000), _bits(100_000_000)
    (0, 5)
    """
    return min(_MOST_BITS, max(0, (rows // _PART).bit_length()))


def _part(directory: str, number: int) -> str:
    return join(directory, f"part-{number:05d}")


class _Spreading:
    """Appends the entries of tables to the files of their parts. Thread-safe, and in memory there are a few batches."""

    def __init__(self, parts: Sequence[BinaryIO], bits: int) -> None:
        self._parts, self._bits, self._lock = parts, bits, Lock()

    def spread(self, numbered: tuple[int, ReusableTable]) -> None:
        """Read one table; of one that is not there any more nothing is appended."""
        read_reusable(numbered[1], partial(self._read, numbered[0] << _ROWS))

    def _read(self, place: int, file: pq.ParquetFile) -> None:
        for batch in file.iter_batches(_BATCH, columns=["sha256"], use_threads=False):
            keys = keys_of(digests_in(batch.column(0)))
            self._append(keys, np.arange(place, place + len(keys), dtype=np.uint64))
            place += len(keys)

    def _append(self, keys: Array, places: Array) -> None:
        numbers = _parts_of(keys, self._bits)
        order = np.argsort(numbers, kind="stable")
        entries = np.stack([keys, places], axis=1)[order].astype(_ENTRY)
        edges = np.searchsorted(numbers[order], np.arange(len(self._parts) + 1))
        with self._lock:
            for part, (start, stop) in zip(self._parts, pairwise(edges.tolist()), strict=True):
                part.write(entries[start:stop].tobytes())


def digests_in(column: pa.FixedSizeBinaryArray) -> Array:
    """The digests in an Arrow column without nulls, uint8 ``[n, 32]``."""
    data = np.frombuffer(column.buffers()[1], np.uint8)
    digests: Array = data.reshape(-1, DIGEST)[column.offset : column.offset + len(column)]
    return digests


def keys_of(digests: Array) -> Array:
    """The first 8 bytes of each digest as a number, the first byte the highest.

    Args:
      digests: uint8 ``[n, 32]``.

    Returns:
      uint64 ``[n]``.
    """
    keys: Array = np.ascontiguousarray(digests[:, :8]).view(">u8")[:, 0].astype(np.uint64)
    return keys


def _parts_of(keys: Array, bits: int) -> Array:
    # In two steps: a shift by all 64 bits has no meaning.
    parts: Array = ((keys >> np.uint64(32)) >> np.uint64(32 - bits)).astype(np.int64)
    return parts


def _write_part(uri: str, part: BinaryIO, guard: Guard | None) -> None:
    part.seek(0)
    entries = np.frombuffer(part.read(), _ENTRY).reshape(-1, 2)
    order = np.lexsort((entries[:, 1], entries[:, 0]))  # tables were read in any order
    # What a loss of power takes away is made again by the next run, as the plan is.
    with store_for(uri).create(uri, guard, durable=False) as sink:
        for column in entries.T:
            sink.write(column[order].tobytes())


class DigestIndex:
    """An index that was written. Its parts are fetched when they are first asked, and mapped. Thread-safe.

    Args:
      directory: URI of the directory of the index.

    Attributes:
      tables: the tables, by number.

    Raises:
      VerifyError: the list of tables is damaged.
      OSError: the store failed.
    """

    def __init__(self, directory: str) -> None:
        said = read_state_file(join(directory, "tables.json"), _RULES)
        pairs = zip(said["uris"], said["fingerprints"], strict=True)
        self.tables = [ReusableTable(uri=uri, fingerprint=fingerprint) for uri, fingerprint in pairs]
        self._directory, self._bits = directory, min(said["bits"], _MOST_BITS)
        self._parts: dict[int, Array] = {}
        self._lock = Lock()

    def find(self, keys: Array) -> tuple[Array, Array]:
        """Where to look for some records.

        Args:
          keys: uint64 ``[n]``, of ``keys_of``.

        Returns:
          Table and row of each, int64 ``[n]``; table -1 of those that no table has.
        """
        numbers, places = _parts_of(keys, self._bits), np.zeros(len(keys), np.uint64)
        known = np.zeros(len(keys), bool)
        for number in np.unique(numbers).tolist():
            own = np.flatnonzero(numbers == number)
            sorted_keys, of_keys = self._part(number)
            at = np.searchsorted(sorted_keys, keys[own])
            inside = at < len(sorted_keys)
            own, at = own[inside], at[inside]
            known[own] = sorted_keys[at] == keys[own]
            places[own] = of_keys[at]
        tables = (places >> np.uint64(_ROWS)).astype(np.int64)
        known &= tables < len(self.tables)
        return np.where(known, tables, -1), (places & np.uint64((1 << _ROWS) - 1)).astype(np.int64)

    def _part(self, number: int) -> Array:
        """Keys and places of a part, uint64 ``[2, n]``."""
        with self._lock:
            if number not in self._parts:
                self._parts[number] = _mapped(_part(self._directory, number))
            return self._parts[number]


def _mapped(uri: str) -> Array:
    """Fetch a part to a temporary file without a name, and map it."""
    with store_for(uri).open(uri) as source, temporary_space(), tempfile.TemporaryFile() as file:
        shutil.copyfileobj(source, file, 1 << 20)
        size = file.tell() // (2 * _ENTRY.itemsize)
        file.flush()
        if not size:  # nothing cannot be mapped
            return np.empty((2, 0), _ENTRY)
        return np.memmap(file, _ENTRY, "r", shape=(2, size))

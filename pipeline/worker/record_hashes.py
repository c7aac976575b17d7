"""The columns that ``--hash`` adds to a table: the SHA-256 of each record's bytes, and its perceptual hash."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from lake.core.records import Array, Records
from lake.images.decode_bulk import file_buffers
from lake.images.perceptual_hash import perceptual_hashes
from lake.images.types import Group


class RecordHashes:
    """The hashes of one batch.

    Args:
      records: the batch.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._phash = np.zeros(len(records), np.int64)
        self._known = np.zeros(len(records), bool)
        self._digests = np.zeros((len(records), hashlib.sha256().digest_size), np.uint8)
        self._hashed = np.zeros(len(records), bool)

    def add(self, group: Group) -> None:
        """Add the perceptual hashes of images. Vectors have none, and of a file with several pages the first counts.

        Args:
          group: decoded records of the batch.
        """
        if group.pixels.ndim == 4 and not group.page:
            positions, first = np.unique(group.positions, return_index=True)
            # To pick them would copy the pixels of all.
            pixels = group.pixels if len(positions) == len(group.positions) else group.pixels[first]
            self._phash[positions] = perceptual_hashes(pixels)
            self._known[positions] = True

    def add_all(self, groups: Iterable[Group]) -> "RecordHashes":
        """Add several groups."""
        for group in groups:
            self.add(group)
        return self

    def know(self, positions: Array, phash: Array, known: Array) -> None:
        """Take perceptual hashes that were computed before.

        Args:
          positions: of records in the batch, int64 ``[m]``.
          phash: int64 ``[m]``.
          known: whether there is one, bool ``[m]``.
        """
        self._phash[positions], self._known[positions] = phash, known

    def digests(self, positions: Array) -> Array:
        """The SHA-256 of some records that have a payload, uint8 ``[m, 32]``.

        Args:
          positions: of these in the batch, int64 ``[m]``.
        """
        new = positions[~self._hashed[positions]]
        sha256 = hashlib.sha256  # of a small image, its bytes take half of the time, and all else the other half
        data = b"".join([sha256(view).digest() for view in self._views(new)])
        self._digests[new] = np.frombuffer(data, np.uint8).reshape(-1, self._digests.shape[1])
        self._hashed[new] = True
        digests: Array = self._digests[positions]
        return digests

    def arrays(self, positions: Array) -> list[pa.Array]:
        """The columns ``sha256`` and ``phash`` of the results.

        Args:
          positions: of the results in the batch, int64 ``[m]``.
        """
        digests = pa.py_buffer(self.digests(positions))
        return [
            pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(positions), [None, digests]),
            pa.array(self._phash[positions], mask=~self._known[positions]),
        ]

    def _views(self, positions: Array) -> Sequence[memoryview | bytes]:
        """The bytes of some records; of large files the lock of the interpreter is free while they are hashed."""
        payload = self._records.payload
        if isinstance(payload, np.ndarray):
            return [row.tobytes() for row in payload[positions]]
        starts, sizes, data = file_buffers(payload)
        whole, ends = data.data, starts + sizes
        spans = zip(starts[positions].tolist(), ends[positions].tolist(), strict=True)
        return [whole[start:end] for start, end in spans]

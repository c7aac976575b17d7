"""Stored latents, each an array by itself, as records: as vectors, or as ``.npy`` files where shapes differ."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from lake.core.records import Array, Fault, Reason, Stage
from lake.formats.common.npy import npy_header
from lake.formats.common.vector_storage import (
    FLOAT32,
    METADATA_KEY,
    UNSAID,
    VectorStorage,
    irreversible,
)
from lake.images.types import ImageError

_FLOAT = np.dtype("<f4")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLatent:
    """A latent as a file holds it.

    Attributes:
      array: the stored numbers, in the latent's shape; of bits as many as there are bytes.
      storage: how they are stored; None if nothing says it.
      channels: numbers of the last side, where the array does not say it.
    """

    array: Array
    storage: VectorStorage | None
    channels: int | None = None

    def vector(self, length: int) -> Array:
        """The latent as float32 ``[length]``.

        Raises:
          ImageError: WRONG_TYPE or WRONG_LENGTH.
        """
        storage, flat = self._storage(), self.array.reshape(-1)
        if flat.size != storage.width(length) or not storage.fits(length):
            raise ImageError(Reason.WRONG_LENGTH, f"{self._words()}, which are no {length}", Stage.READ)
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, and its record a reject
            return storage.unpack(flat, length).astype(np.float32, copy=False)

    def file(self, limit: int) -> bytes:
        """The latent as a ``.npy`` file of float32 ``[h, w, c]``.

        Args:
          limit: most bytes of it.

        Raises:
          ImageError: WRONG_TYPE, WRONG_LENGTH, INVALID_RECORD or RECORD_TOO_LARGE.
        """
        storage = self._storage()
        if self.array.ndim != 3 or 0 in self.array.shape:
            raise ImageError(Reason.INVALID_RECORD, f"{self._words()}, not height, width and channels", Stage.READ)
        height, width, last = self.array.shape
        channels = self.channels if storage.type == "binary" and self.channels else last
        if last != storage.width(channels) or not storage.fits(channels):
            raise ImageError(Reason.WRONG_LENGTH, f"{self._words()}, which are no {channels} channels", Stage.READ)
        sides = (height, width, channels)
        if prod(sides) * _FLOAT.itemsize > limit:
            raise ImageError(Reason.RECORD_TOO_LARGE, f"{prod(sides)} numbers; the most is {limit} bytes", Stage.READ)
        with np.errstate(over="ignore"):
            return b"".join((npy_header(_FLOAT, sides), storage.unpack(self.array, channels).astype(_FLOAT).tobytes()))

    def _storage(self) -> VectorStorage:
        kind = self.array.dtype.newbyteorder("=")
        if self.storage is None and kind in UNSAID:
            raise ImageError(
                Reason.WRONG_TYPE, f"a latent of {kind}, and nothing says with what scale; keep the .json", Stage.READ
            )
        if self.storage is not None and kind != self.storage.element.to_pandas_dtype():
            raise ImageError(
                Reason.WRONG_TYPE, f"a latent of {kind} that is said to be {self.storage.type}", Stage.READ
            )
        return self.storage or FLOAT32

    def _words(self) -> str:
        sides = " x ".join(map(str, self.array.shape))
        return f"{sides} numbers of {self.array.dtype.newbyteorder('=')}"


def storage_said(metadata: Mapping[str, Any], length: int | None) -> VectorStorage | None:
    """How the latents of a shard are stored; None if its metadata do not say it.

    Args:
      metadata: of the shard.
      length: numbers in a latent; None where that is not known.

    Raises:
      ValueError: the metadata make no sense, or the latents cannot be had back; the text says which.
    """
    if (text := metadata.get(METADATA_KEY)) is None:
        return None
    try:
        said = json.loads(text)
    except (TypeError, RecursionError) as error:
        raise ValueError("its metadata are no JSON") from error
    storage = VectorStorage.from_json(said)
    if length is not None and not storage.fits(length):
        raise ValueError(f"its metadata has {len(storage.scale)} numbers of scale, and its latents have {length}")
    check_reversible(said)
    return storage


def check_reversible(said: Mapping[str, Any]) -> None:
    """Check that latents can be had back.

    Args:
      said: what their file says of them.

    Raises:
      ValueError: they cannot.
    """
    if change := irreversible(said):
        raise ValueError(f"its latents are {change}, which cannot be undone; encode without that to decode them")


def latent_rows(
    stored: Callable[[int], StoredLatent | None], count: int, length: int, faults: dict[int, Fault]
) -> Array:
    """Latents as rows.

    Args:
      stored: the latent at a position; None for a record without one. May raise ``ImageError``.
      count: number of records.
      length: numbers in a latent.
      faults: by position; extended here.

    Returns:
      float32 ``[count, length]``; a row without a latent is zeros.
    """
    rows = np.zeros((count, length), np.float32)
    for position in range(count):
        try:
            if (latent := stored(position)) is not None:
                rows[position] = latent.vector(length)
        except ImageError as error:
            faults.setdefault(position, error.fault())
    return rows


def latent_files(
    stored: Callable[[int], StoredLatent | None], count: int, limit: int, faults: dict[int, Fault]
) -> list[bytes | None]:
    """Latents as ``.npy`` files of float32, None for a record without one.

    Args:
      stored: as of ``latent_rows``.
      count: number of records.
      limit: most bytes of a file.
      faults: by position; extended here.
    """
    found = list[bytes | None]()
    for position in range(count):
        try:
            latent = stored(position)
            found.append(None if latent is None else latent.file(limit))
        except ImageError as error:
            found.append(None)
            faults.setdefault(position, error.fault())
    return found

"""Decode a batch of records to the pixels or vectors that a model takes."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from lake.core.records import Array, Fault, Reason, Records
from lake.images import decode_arrays, decode_one
from lake.images.decode_bulk import BulkDecoder
from lake.images.header import header_for
from lake.images.turns import in_turn
from lake.images.types import (
    Decoded,
    Group,
    Header,
    ImageCodec,
    ImageError,
    Pages,
    Target,
)

_MISSING = ImageError(Reason.MISSING_IMAGE, "no image").fault()


class Decoder:
    """Decodes the payload of batches. Thread-safe.

    Plain images of the target's size and colours are decoded in bulk (``decode_bulk``), all others one by one
    (``decode_one``).

    Args:
      target: shape and policies.

    Raises:
      ValueError: the target asks for all pages of a file.
    """

    def __init__(self, target: Target) -> None:
        if target.pages == Pages.ALL:
            raise ValueError("a record of one latent is one image: take the first page, or reject several")
        self._target = target
        self._bulk = BulkDecoder(target)

    def decode(self, records: Records) -> Decoded:
        """Decode a batch. A bad record becomes a fault of stage ``decode``; it never raises, nor affects other records.

        Args:
          records: encoded images, pixels or vectors.

        Returns:
          Every position of the batch is in exactly one group or in the faults.
        """
        faults = dict(records.faults)
        if isinstance(records.payload, np.ndarray):
            return decode_arrays.decode_arrays(records.payload, self._target, faults)
        if len(self._target.shape) != 3:
            return _no_vectors(records, faults)
        return self._images(records.payload, faults)

    def _images(self, column: pa.Array, faults: dict[int, Fault]) -> Decoded:
        files: Array = column.to_numpy(zero_copy_only=False)
        several = set[int]()
        plain, singles = self._sorted(column, files, faults, several)
        parts = []
        for kind, positions in plain.items():
            good, pixels = self._bulk.decode(kind, files[positions])
            parts.append((positions[good], pixels))
            singles.update(dict.fromkeys(np.delete(positions, good).tolist(), self._bulk.header(kind)))
        with in_turn(largest(singles.values())):
            parts += self._one_by_one(singles, files, faults)
        return Decoded(groups=joined(parts), faults=faults, several=frozenset(several - faults.keys()))

    def _sorted(
        self, column: pa.Array, files: Array, faults: dict[int, Fault], several: set[int]
    ) -> tuple[dict[str, Array], dict[int, Header]]:
        """Positions for bulk decoding by format, and those for one-by-one decoding with their headers.

        A record without an image gets a fault. ``several`` receives the positions of files with several images.
        """
        here = present(column, faults)
        pngs = self._bulk.plain_pngs(column) & here
        rest = np.flatnonzero(here & ~pngs)
        plain: defaultdict[str, list[int]] = defaultdict(list)
        singles: dict[int, Header] = {}
        known, most = None, self._bulk.most_bytes
        for position, data in zip(rest.tolist(), files[rest].tolist(), strict=True):
            # One encoder usually wrote all JPEGs of a shard, so most begin with the same header, which is parsed once.
            if known and data.startswith(known) and len(data) <= most:
                plain[ImageCodec.JPEG].append(position)
            elif (header := self._header(position, data, faults)) is None:
                continue
            elif header.pages > 1:  # rare, so not worth decoding in bulk
                several.add(position)
                singles[position] = header
            elif self._bulk.takes(header, len(data)):
                plain[header.format].append(position)
                known = data[: header.extent] or known
            else:
                singles[position] = header
        return _merged(plain, np.flatnonzero(pngs)), singles

    def _header(self, position: int, data: bytes, faults: dict[int, Fault]) -> Header | None:
        try:
            return header_for(data, self._target)
        except ImageError as error:
            faults[position] = error.fault()
            return None

    def _one_by_one(
        self, singles: dict[int, Header], files: Array, faults: dict[int, Fault]
    ) -> Iterable[tuple[Array, Array]]:
        for position, header in singles.items():
            try:
                yield np.array([position], np.int64), decode_one.decode_one(files[position], header, self._target)[None]
            except ImageError as error:
                faults[position] = error.fault()


def largest(headers: Iterable[Header]) -> int:
    """The most numbers that the pixels of one of these images have; 0 for no images."""
    return max((header.height * header.width * header.channels for header in headers), default=0)


def present(column: pa.Array, faults: dict[int, Fault]) -> Array:
    """Which records have a file. One that has none and no fault yet gets the fault MISSING_IMAGE.

    Args:
      column: ``pa.BinaryArray`` ``[n]``.
      faults: by position; extended here.

    Returns:
      bool ``[n]``; False for every record with a fault.
    """
    here: Array = column.is_valid().to_numpy(zero_copy_only=False)
    faults.update({position: _MISSING for position in np.flatnonzero(~here).tolist() if position not in faults})
    here[list(faults)] = False
    return here


def _no_vectors(records: Records, faults: dict[int, Fault]) -> Decoded:
    fault = ImageError(Reason.WRONG_LENGTH, "an encoded image, the model takes vectors").fault()
    faults.update(dict.fromkeys(np.flatnonzero(present(records.payload, faults)).tolist(), fault))
    return Decoded(groups=(), faults=faults)


def _merged(plain: dict[str, list[int]], pngs: Array) -> dict[str, Array]:
    merged = {kind: np.array(positions, np.int64) for kind, positions in plain.items()}
    if len(pngs):
        others = merged.get(ImageCodec.PNG)
        merged[ImageCodec.PNG] = pngs if others is None else np.sort(np.concatenate([pngs, others]))
    return merged


def joined(parts: list[tuple[Array, Array]]) -> tuple[Group, ...]:
    """Join parts into groups of one dtype and shape each.

    Args:
      parts: positions, int64 ``[m]``, and their pixels ``[m, ...]``.
    """
    same: defaultdict[tuple[str, tuple[int, ...]], list[tuple[Array, Array]]] = defaultdict(list)
    for positions, pixels in parts:
        if len(positions):
            same[pixels.dtype.str, pixels.shape[1:]].append((positions, pixels))
    return tuple(_group(some) for some in same.values())


def _group(parts: list[tuple[Array, Array]]) -> Group:
    if len(parts) == 1:  # the usual case: nothing is copied
        return Group(positions=parts[0][0], pixels=parts[0][1])
    positions = np.concatenate([positions for positions, _ in parts])
    order = np.argsort(positions)
    return Group(positions=positions[order], pixels=np.concatenate([pixels for _, pixels in parts])[order])

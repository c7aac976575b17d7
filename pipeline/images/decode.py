"""A batch of records to pixels."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from pipeline.images import exact, numbers
from pipeline.images.base import Decoded, Format, Group, Header, ImageError, Target
from pipeline.images.bulk import Bulk
from pipeline.images.headers import sniff
from pipeline.records import Array, Fault, Reason, Records

_MISSING = ImageError(Reason.MISSING_IMAGE, "no image").fault()


class Decoder:
    """Makes what the model takes of a batch's payload; any number of threads may use one.

    Plain images of the target's size and colours go through ``bulk``, all others one by one through ``exact``.

    Args:
      target: shape and policies.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._bulk = Bulk(target)

    def decode(self, records: Records) -> Decoded:
        """Every position ends in exactly one group or in the faults; a bad record leaves its neighbours as they are.

        What a record holds never raises: it becomes a fault of stage ``decode``.
        """
        faults = dict(records.faults)
        if isinstance(records.payload, np.ndarray):
            return numbers.decode(records.payload, self._target, faults)
        if len(self._target.shape) != 3:
            return _no_vectors(records, faults)
        return self._images(records.payload, faults)

    def _images(self, column: pa.Array, faults: dict[int, Fault]) -> Decoded:
        files: Array = column.to_numpy(zero_copy_only=False)
        plain, singles = self._sorted(column, files, faults)
        parts = []
        for kind, positions in plain.items():
            good, pixels = self._bulk.decode(kind, files[positions])
            parts.append((positions[good], pixels))
            singles.update(dict.fromkeys(np.delete(positions, good).tolist(), self._bulk.header(kind)))
        parts += self._one_by_one(singles, files, faults)
        return Decoded(groups=joined(parts), faults=faults)

    def _sorted(
        self, column: pa.Array, files: Array, faults: dict[int, Fault]
    ) -> tuple[dict[Format, Array], dict[int, Header]]:
        """Positions for ``bulk`` by format, and for ``exact`` with their headers; what has no image becomes a fault."""
        here = present(column, faults)
        pngs = self._bulk.plain_pngs(column) & here
        rest = np.flatnonzero(here & ~pngs)
        plain: defaultdict[Format, list[int]] = defaultdict(list)
        singles: dict[int, Header] = {}
        known, most = None, self._bulk.most_bytes
        for position, data in zip(rest.tolist(), files[rest].tolist(), strict=True):
            if known and data.startswith(known) and len(data) <= most:  # mostly, one encoder wrote them all
                plain[Format.JPEG].append(position)
            elif (header := self._header(position, data, faults)) is None:
                continue
            elif self._bulk.takes(header, len(data)):
                plain[header.format].append(position)
                known = data[: header.extent] or known
            else:
                singles[position] = header
        return _merged(plain, np.flatnonzero(pngs)), singles

    def _header(self, position: int, data: bytes, faults: dict[int, Fault]) -> Header | None:
        try:
            return sniff(data, self._target.max_pixels)
        except ImageError as error:
            faults[position] = error.fault()
            return None

    def _one_by_one(
        self, singles: dict[int, Header], files: Array, faults: dict[int, Fault]
    ) -> Iterable[tuple[Array, Array]]:
        for position, header in singles.items():
            try:
                yield np.array([position], np.int64), exact.decode(files[position], header, self._target)[None]
            except ImageError as error:
                faults[position] = error.fault()


def present(column: pa.Array, faults: dict[int, Fault]) -> Array:
    """Which records have a file, bool ``[n]``; those that have none and no fault yet get one."""
    here: Array = column.is_valid().to_numpy(zero_copy_only=False)
    faults.update({position: _MISSING for position in np.flatnonzero(~here).tolist() if position not in faults})
    here[list(faults)] = False
    return here


def _no_vectors(records: Records, faults: dict[int, Fault]) -> Decoded:
    fault = ImageError(Reason.WRONG_LENGTH, "an encoded image, the model takes vectors").fault()
    faults.update(dict.fromkeys(np.flatnonzero(present(records.payload, faults)).tolist(), fault))
    return Decoded(groups=(), faults=faults)


def _merged(plain: dict[Format, list[int]], pngs: Array) -> dict[Format, Array]:
    merged = {kind: np.array(positions, np.int64) for kind, positions in plain.items()}
    if len(pngs):
        others = merged.get(Format.PNG)
        merged[Format.PNG] = pngs if others is None else np.sort(np.concatenate([pngs, others]))
    return merged


def joined(parts: list[tuple[Array, Array]]) -> tuple[Group, ...]:
    """Positions and their pixels as groups of one dtype and shape each."""
    same: defaultdict[tuple[str, tuple[int, ...]], list[tuple[Array, Array]]] = defaultdict(list)
    for positions, pixels in parts:
        if len(positions):
            same[pixels.dtype.str, pixels.shape[1:]].append((positions, pixels))
    return tuple(_group(some) for some in same.values())


def _group(parts: list[tuple[Array, Array]]) -> Group:
    if len(parts) == 1:  # mostly: nothing is copied
        return Group(positions=parts[0][0], pixels=parts[0][1])
    positions = np.concatenate([positions for positions, _ in parts])
    order = np.argsort(positions)
    return Group(positions=positions[order], pixels=np.concatenate([pixels for _, pixels in parts])[order])

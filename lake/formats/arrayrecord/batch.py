"""Latents of serialized Examples, and the columns of records that they become."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

from lake.core.records import Array, Fault, Reason, Stage
from lake.formats.arrayrecord.example import stored_dtype
from lake.formats.arrayrecord.names import SHAPE, TYPE, feature
from lake.formats.common.latent_arrays import StoredLatent, check_reversible, latent_files, latent_rows
from lake.formats.common.vector_storage import FIRST, VectorStorage
from lake.formats.tfrecord.batch import ExampleBatch
from lake.formats.tfrecord.ragged import BYTES, FLOAT, INT64, Ragged
from lake.images.types import ImageError

_VARIANCE = f"{FIRST}_variance"
# What a record says of how its latents were made, and the kinds of these features.
SAID = {
    TYPE: BYTES,
    "scaling_factor": FLOAT,
    "shift_factor": FLOAT,
    "pool": BYTES,
    "normalize": BYTES,
    "own": INT64,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentExampleBatch(ExampleBatch):
    """Consecutive Examples with latents.

    Attributes:
      storage: how the description of their file says that latents are stored; None where each record does, or nothing.
    """

    storage: VectorStorage | None

    def _vectors(self, parsed: Mapping[str, Ragged], faults: dict[int, Fault]) -> pa.Array | Array:
        name, found = self.columns.image, dict[int, Fault]()
        self._blame(faults, parsed[name].counts == 0, Reason.MISSING_IMAGE, f"no value in feature {name!r}")

        def stored(position: int) -> StoredLatent | None:
            values = _values(parsed[name], position)
            return self._stored(values, parsed, position) if len(values) else None

        payload: pa.Array | Array
        if self.columns.shaped:
            payload = pa.array(latent_files(stored, len(self), self.columns.max_record_bytes, found), pa.binary())
        else:
            payload = latent_rows(stored, len(self), self.columns.length or 0, found)
        for position, fault in found.items():
            faults.setdefault(position, replace(fault, data=self.examples[position]))
        return payload

    def _stored(self, values: Array, parsed: Mapping[str, Ragged], position: int) -> StoredLatent:
        every = {what: _one(parsed[feature(FIRST, what)], position) for what in SAID}
        said = {what: value for what, value in every.items() if value is not None}
        storage = self.storage
        if self.columns.image == _VARIANCE:  # what is said of latents does not hold for their variance
            storage = None
        elif storage is None and TYPE in said:
            storage = _storage(said)
        sides = _values(parsed[feature(self.columns.image, SHAPE)], position).tolist()
        kind = said.get(TYPE, None if self.storage is None else self.storage.type)
        array = _numbers(values, kind)
        if self.columns.shaped:
            array = _shaped(array, sides, kind)
        return StoredLatent(array=array, storage=storage, channels=sides[-1] if sides else None)


def _values(feature: Ragged, position: int) -> Array:
    return feature.values[feature.splits[position] : feature.splits[position + 1]]


def _one(feature: Ragged, position: int) -> Any:
    """The value of a record, as JSON has it; None if there is none, or several."""
    found = _values(feature, position).tolist()
    if len(found) != 1:
        return None
    return found[0].decode(errors="replace") if isinstance(found[0], bytes) else found[0]


def _storage(said: Mapping[str, Any]) -> VectorStorage:
    try:
        check_reversible({**said, "own": bool(said.get("own", True))})
        return VectorStorage.from_json(said)
    except ValueError as error:
        raise _invalid(f"{error}, by its own features; keep the .json beside its file") from error


def _numbers(values: Array, kind: str | None) -> Array:
    if values.dtype != object:
        return values
    if kind is None:
        raise ImageError(Reason.WRONG_TYPE, f"bytes, and no feature {feature(FIRST, TYPE)!r}", Stage.READ)
    try:
        dtype = stored_dtype(kind)
    except ValueError as error:
        raise _invalid(str(error)) from error
    if len(values) != 1 or len(values[0]) % dtype.itemsize:
        raise _invalid(f"{sum(map(len, values))} bytes in {len(values)} values, not one of numbers of {kind}")
    return np.frombuffer(values[0], dtype)


def _shaped(array: Array, sides: list[int], kind: str | None) -> Array:
    """An array of height, width and channels, or of the bytes that have the bits of these."""
    width = VectorStorage(type=kind or "float32").width(sides[-1]) if sides else 0
    if len(sides) != 3 or min(sides) < 1 or array.size != prod(sides[:2]) * width:
        raise _invalid(f"{array.size} numbers of {array.dtype} and a shape of {sides}")
    return array.reshape(*sides[:2], width)


def _invalid(detail: str) -> ImageError:
    return ImageError(Reason.INVALID_RECORD, detail, Stage.READ)

"""Parse samples of MDS into records."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from lake.core.records import Array, Fault, Reason, Records, Stage
from lake.formats.common.latent_arrays import StoredLatent, latent_files, latent_rows
from lake.formats.common.text import text
from lake.formats.common.vector_storage import FLOAT32, VectorStorage
from lake.formats.mds.encodings import decode_array
from lake.formats.mds.shard import MdsHead
from lake.formats.reader import RecordSchema
from lake.images.types import ImageError

IMAGE_ENCODINGS = ("jpeg", "png", "bytes")  # encodings of image files
_NUMBERS = {"int": "<i8", **{name: name for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")}}
_VARIANCE = "latent_variance"
_FLOATS = ("float16", "float32", "float64")


class MdsSamples(NamedTuple):
    """Consecutive samples of a shard.

    Attributes:
      shard: its path.
      start: position of the first one.
      data: of each; None for one that is too large.
    """

    shard: str
    start: int
    data: Sequence[bytes | None]


@dataclass(frozen=True, slots=True)
class MdsBatch:
    """Samples that are read and not parsed.

    Attributes:
      samples: the samples.
      head: of their shard.
      columns: what is read of each sample.
      storage: how the shard says that its latents are stored; None if it does not, or samples are no latents.
    """

    samples: MdsSamples
    head: MdsHead
    columns: RecordSchema
    storage: VectorStorage | None

    def __len__(self) -> int:
        return len(self.samples.data)

    def records(self) -> Records:
        faults = dict[int, Fault]()
        values = [self._values(position, faults) for position in range(len(self))]
        index = np.arange(self.samples.start, self.samples.start + len(self))
        key = self.columns.key
        keys = [
            str(number) if key is None else found.get(key, b"") for number, found in zip(index, values, strict=True)
        ]
        carried = {field.name: self._column(field, values, faults) for field in self.columns.carry}
        payload = self._payload([found.get(self.columns.image) for found in values], faults)
        return Records(
            shard=self.samples.shard,
            index=index,
            key=text(pa.array(keys, pa.string() if key is None else pa.binary())),
            payload=payload,
            carried=carried,
            faults=faults,
        )

    def _values(self, position: int, faults: dict[int, Fault]) -> dict[str, bytes]:
        data = self.samples.data[position]
        if data is None:
            faults[position] = _fault(Reason.RECORD_TOO_LARGE, f"more than {self.columns.max_record_bytes} bytes")
            return {}
        try:
            return self.head.values(data)
        except ValueError as error:
            faults[position] = replace(_fault(Reason.INVALID_RECORD, f"no sample: {error}"), data=data)
            return {}

    def _column(self, field: pa.Field, samples: Sequence[dict[str, bytes]], faults: dict[int, Fault]) -> pa.Array:
        found = list[Any]()
        decode = _decoder(self.head.encodings[field.name], field.type)
        for position, values in enumerate(samples):
            try:
                found.append(decode(values[field.name]) if values else None)
            except (ValueError, RecursionError) as error:
                found.append(None)
                faults.setdefault(position, _fault(Reason.WRONG_TYPE, f"column {field.name!r}: {error}"))
        return text(pa.array(found, pa.binary())) if pa.types.is_string(field.type) else pa.array(found, field.type)

    def _payload(self, found: Sequence[bytes | None], faults: dict[int, Fault]) -> pa.Array | Array:
        if not self.columns.numeric:
            return pa.array([None if at in faults else data for at, data in enumerate(found)], pa.binary())
        encoding, bad = self.head.encodings[self.columns.image], dict[int, Fault]()

        def stored(position: int) -> StoredLatent | None:
            data = found[position]
            if data is None:
                return None
            try:
                array = decode_array(data, encoding)
            except ValueError as error:
                raise ImageError(Reason.INVALID_RECORD, str(error), Stage.READ) from error
            if not self.columns.latents:  # vectors may be numbers of any type
                return StoredLatent(array=array.astype(np.float32), storage=FLOAT32)
            # What is said of latents does not hold for their variance.
            return StoredLatent(array=array, storage=None if self.columns.image == _VARIANCE else self.storage)

        payload: pa.Array | Array
        if self.columns.shaped:
            payload = pa.array(latent_files(stored, len(self), self.columns.max_record_bytes, bad), pa.binary())
        else:
            payload = latent_rows(stored, len(self), self._length(found, encoding), bad)
        for position, fault in bad.items():
            faults.setdefault(position, replace(fault, data=found[position]))
        return payload

    def _length(self, found: Sequence[bytes | None], encoding: str) -> int:
        return self.columns.length or next(filter(None, (_size(data, encoding) for data in found if data)), 1)


def _size(data: bytes, encoding: str) -> int:
    """Numbers of an array; 0 of one that is damaged, which will be its own reject."""
    try:
        return decode_array(data, encoding).size
    except ValueError:
        return 0


def column_type(encoding: str, values: Sequence[bytes]) -> pa.DataType:
    """The type of a carried column.

    Args:
      encoding: of the column.
      values: some of its values.

    >>> column_type("json", [b"1", b"null"]), column_type("json", [b'"a"'])
    (DataType(int64), DataType(string))
    """
    if encoding in _NUMBERS or encoding in ("uint64", "str_int"):
        return pa.int64()
    if encoding in _FLOATS or encoding == "str_float":
        return pa.float64()
    if encoding in ("str", "str_decimal"):
        return pa.string()
    if encoding != "json":
        return pa.binary()
    integers = [value for value in map(_looked_at, values) if value is not None]
    return pa.int64() if integers and all(type(value) is int for value in integers) else pa.string()


def _looked_at(data: bytes) -> Any:
    """The value of some JSON; None for what is damaged, which will be a reject."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _decoder(encoding: str, kind: pa.DataType) -> Callable[[bytes], Any]:
    if encoding == "json":
        return _json_integer if pa.types.is_integer(kind) else _json_text
    if pa.types.is_integer(kind):
        plain = int if encoding == "str_int" else lambda data: int(_number(data, _NUMBERS.get(encoding, encoding)))
        return lambda data: _of_64_bits(plain(data))
    if pa.types.is_floating(kind):
        return float if encoding == "str_float" else lambda data: float(_number(data, encoding))
    return bytes


def _number(data: bytes, kind: str) -> Any:
    return np.frombuffer(data, np.dtype(kind).newbyteorder("<"), 1)[0]


def _json_integer(data: bytes) -> int | None:
    value = json.loads(data)
    return None if value is None else _of_64_bits(value)


def _of_64_bits(value: object) -> int:
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise ValueError("no integer of 64 bits")
    return value


def _json_text(data: bytes) -> bytes | None:
    value = json.loads(data)
    if value is None:
        return None
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else data


def _fault(reason: Reason, detail: str) -> Fault:
    return Fault(stage=Stage.READ, reason=reason, detail=detail)

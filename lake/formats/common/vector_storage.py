"""How vectors of float32 are stored in columns of smaller numbers, and how they are read back.

A file of such vectors says it in its metadata, under ``METADATA_KEY``: numbers of 8 bits mean nothing without it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from lake.core.records import Array

METADATA_KEY = "latentlake.latent"
FIRST = "latent"  # the column that the metadata speak of; names of the other columns of latents begin with it
FURTHER = "further"  # field of the metadata: what holds of other columns, by column
UNSAID = (np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.uint16))  # numbers that mean nothing by themselves
VECTOR_TYPES = ("float32", "float16", "bfloat16", "int8", "uint8", "binary")
QUANTIZED = VECTOR_TYPES[3:]  # those that need a scale and an offset

_ELEMENTS = {
    "float32": pa.float32(),
    "float16": pa.float16(),
    "bfloat16": pa.uint16(),  # its bits: Arrow and Parquet have no such type
    "int8": pa.int8(),
    "uint8": pa.uint8(),
    "binary": pa.uint8(),  # eight bits
}
_RANGES = {"int8": (-127, 127), "uint8": (0, 255)}  # int8 without -128, so that the middle of the range is 0
_FLOAT32 = float(np.finfo(np.float32).max)
_LARGEST = {"float32": _FLOAT32, "float16": 65504.0, "bfloat16": float.fromhex("0x1.fep127")}
_MOST_NUMBERS = 1 << 20  # of a scale or an offset


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorStorage:
    """How vectors are stored.

    A vector ``z`` is written as ``x = (z - shift_factor) * scaling_factor``, with the two factors that latent diffusion
    models come with, and ``x`` as a number of ``type``:

    - ``float32``; ``float16``; ``bfloat16``, whose bits are kept as uint16: rounded to the nearest, ties to even.
    - ``int8``, ``uint8``: ``round((x - offset) / scale)``, which is read as ``stored * scale + offset``.
    - ``binary``: one bit, which is 1 where ``x > offset``, eight to a byte with the first in the highest place (as
      ``numpy.packbits`` has them). It is read as ``offset + scale`` or ``offset - scale``.

    A number beyond the type's range is clipped to the nearest that it has.

    Attributes:
      type: one of ``VECTOR_TYPES``.
      scale: of int8, uint8 and binary: a positive number for each place of the last axis, or one for all.
      offset: the same many numbers.
      scaling_factor: positive.
      shift_factor: any number.

    >>> storage = VectorStorage(type="uint8", scale=(0.5,), offset=(-1.0,))
    >>> stored, clipped = storage.pack(np.array([[-1.0, 0.2, 1000.0]], np.float32))
    >>> stored.tolist(), clipped, storage.unpack(stored, 3).tolist()
    ([[0, 2, 255]], 1, [[-1.0, 0.0, 126.5]])
    """

    type: str = "float32"
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    scaling_factor: float = 1.0
    shift_factor: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether the stored numbers are the vectors themselves."""
        return self == FLOAT32

    @property
    def quantized(self) -> bool:
        """Whether the type needs a scale and an offset."""
        return self.type in QUANTIZED

    @property
    def element(self) -> pa.DataType:
        """Arrow's type of one stored number."""
        return _ELEMENTS[self.type]

    def width(self, length: int) -> int:
        """How many numbers are stored for a vector.

        >>> VectorStorage(type="binary").width(12)
        2
        """
        return -(-length // 8) if self.type == "binary" else length

    def fits(self, length: int) -> bool:
        """Whether scale and offset are for vectors of this length."""
        return len(self.scale) in (0, 1, length)

    def pack(self, vectors: Array) -> tuple[Array, int]:
        """Convert vectors to what is stored.

        Args:
          vectors: finite float32 ``[..., length]``.

        Returns:
          The stored numbers ``[..., width(length)]``, and how many of them were clipped.
        """
        if self.plain:
            return vectors, 0
        with np.errstate(over="ignore"):  # an infinite number is clipped
            x = self._scaled(vectors)
            if self.type == "binary":
                return np.packbits(x > self._offset, axis=-1), 0
            x = np.rint((x - self._offset) / self._scale) if self.quantized else x
        low, high = _RANGES[self.type] if self.quantized else (-_LARGEST[self.type], _LARGEST[self.type])
        kept = np.clip(x, low, high)
        return self._rounded(kept), int(np.count_nonzero(kept != x))

    def unpack(self, stored: Array, length: int) -> Array:
        """Convert what is stored to vectors.

        Args:
          stored: ``[..., width(length)]``, of the type's own dtype.
          length: numbers in a vector.

        Returns:
          float32 ``[..., length]``.
        """
        x = self._numbers(stored, length)
        if not self.is_scaled:
            return x
        vectors: Array = x / np.float32(self.scaling_factor) + np.float32(self.shift_factor)
        return vectors

    def to_json(self) -> dict[str, Any]:
        """What a file says about it, as JSON values: fields that are in use."""
        quantization = {"scale": list(self.scale), "offset": list(self.offset)} if self.scale else {}
        scaling = {"scaling_factor": self.scaling_factor, "shift_factor": self.shift_factor}
        return {"type": self.type, **quantization, **(scaling if self.is_scaled else {})}

    @property
    def is_scaled(self) -> bool:
        """Whether the factors change anything."""
        return (self.scaling_factor, self.shift_factor) != (1.0, 0.0)

    @classmethod
    def from_json(cls, value: object) -> "VectorStorage":
        """Parse what ``to_json`` gave.

        Raises:
          ValueError: it is something else; the text says what is wrong.
        """
        if not isinstance(value, Mapping) or value.get("type") not in VECTOR_TYPES:
            raise ValueError(f"its type is none of {', '.join(VECTOR_TYPES)}")
        scale, offset = _listed(value, "scale"), _listed(value, "offset")
        if (value["type"] in QUANTIZED) != bool(scale) or len(scale) != len(offset):
            raise ValueError(f"{value['type']} with {len(scale)} numbers of scale and {len(offset)} of offset")
        if any(number <= 0 for number in scale):
            raise ValueError("a scale that is not above 0")
        scaling, shift = _number(value.get("scaling_factor", 1.0)), _number(value.get("shift_factor", 0.0))
        if scaling <= 0:
            raise ValueError("a scaling factor that is not above 0")
        return cls(type=value["type"], scale=scale, offset=offset, scaling_factor=scaling, shift_factor=shift)

    def _scaled(self, vectors: Array) -> Array:
        x: Array = (vectors - np.float32(self.shift_factor)) * np.float32(self.scaling_factor)
        return x if self.is_scaled else vectors

    @property
    def _scale(self) -> Array:
        return np.array(self.scale, np.float32)

    @property
    def _offset(self) -> Array:
        return np.array(self.offset, np.float32)

    def _rounded(self, x: Array) -> Array:
        if self.type != "bfloat16":
            return x.astype(self.type)
        bits = x.astype(np.float32, copy=False).view(np.uint32)
        nearest: Array = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return nearest.astype(np.uint16)

    def _numbers(self, stored: Array, length: int) -> Array:
        if self.type == "bfloat16":
            bits: Array = stored.astype(np.uint32) << 16
            return bits.view(np.float32)
        if self.type == "binary":
            stored = np.unpackbits(stored, axis=-1, count=length).astype(np.float32) * 2 - 1
        x: Array = stored.astype(np.float32, copy=False)
        return x * self._scale + self._offset if self.quantized else x


FLOAT32 = VectorStorage()


def further_column(name: str) -> str:
    """The column of a latent that is written beside the first one.

    Args:
      name: of the latent.

    >>> further_column("z_mean")
    'latent_z_mean'
    """
    return f"{FIRST}_{name}"


def said_of(metadata: Mapping[bytes, bytes] | None, column: str = FIRST) -> Any:
    """What the metadata of a file say of a column of vectors, as JSON values; None if they do not speak of it.

    Args:
      metadata: of the file's schema.
      column: of latents.

    Raises:
      ValueError: they are no JSON.

    >>> said_of({b"latentlake.latent": b'{"type": "int8", "further": {"latent_b": {"type": "uint8"}}}'}, "latent_b")
    {'type': 'uint8'}
    """
    text = (metadata or {}).get(METADATA_KEY.encode())
    if text is None:
        return None
    said = json.loads(text)
    further = said.get(FURTHER, {}) if isinstance(said, dict) else {}
    if isinstance(further, dict) and column in further:
        said = further[column]
    elif column not in (FIRST, f"{FIRST}_flip"):
        return None
    return said


def storage_of(metadata: Mapping[bytes, bytes] | None, column: str = FIRST) -> VectorStorage | None:
    """How the vectors of a file are stored; None if its metadata do not say it.

    Args:
      metadata: of the file's schema.
      column: of the vectors.

    Raises:
      ValueError: it says something that makes no sense.
    """
    said = said_of(metadata, column)
    return None if said is None else VectorStorage.from_json(said)


def irreversible(said: Mapping[str, Any]) -> str | None:
    """What was done to latents that cannot be undone, in words; None for nothing.

    Args:
      said: what their file says of them.

    >>> irreversible({"type": "float32", "pool": "mean"})
    'pooled (--pool)'
    """
    if said.get("own") is False:
        return "those of a layer that the model does not decode (--latent)"
    if said.get("normalize"):
        return "divided by their lengths (--normalize)"
    return "pooled (--pool)" if said.get("pool") else None


def _listed(value: Mapping[str, Any], name: str) -> tuple[float, ...]:
    found = value.get(name, [])
    if not isinstance(found, list) or len(found) > _MOST_NUMBERS:
        raise ValueError(f"its {name} is no list of numbers")
    return tuple(_number(number) for number in found)


def _number(value: object) -> float:
    """A number as float32, in which all of them are computed."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _FLOAT32:
        raise ValueError("a value that is no finite number of 32 bits")
    return float(np.float32(value))

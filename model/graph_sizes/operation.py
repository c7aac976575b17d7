"""One operation of a graph, with what is known of its inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.input_spec import Shape

# TensorProto.DataType of what shapes are computed with
_TYPES = {1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16"}
_TYPES |= {11: "float64", 12: "uint32", 13: "uint64"}
_FIELDS = {"float32": "float_data", "int64": "int64_data", "float64": "double_data", "uint64": "uint64_data"}
MOST_VALUES = 4096  # of a tensor whose values are followed: shapes and what they are computed of are short


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation.

    Attributes:
      kind: its name in the standard.
      opset: the version of the standard.
      attributes: by name.
      shapes: of its inputs; None where one is unknown or left out.
      values: of its inputs; None where they are not known.
      outputs: how many it has.
    """

    kind: str
    opset: int
    attributes: dict[str, Any]
    shapes: Sequence[Shape | None]
    values: Sequence[npt.NDArray[Any] | None]
    outputs: int

    def shape(self, position: int = 0) -> Shape:
        """The shape of an input.

        Raises:
          LookupError: it is not known.
        """
        found = self.shapes[position]
        if found is None:
            raise LookupError(position)
        return found

    def value(self, position: int) -> npt.NDArray[Any]:
        """The values of an input.

        Raises:
          LookupError: they are not known.
        """
        found = self.values[position]
        if found is None:
            raise LookupError(position)
        return found

    def has(self, position: int) -> bool:
        """Whether an input is there."""
        return position < len(self.shapes) and (self.shapes[position], self.values[position]) != (None, None)

    def number(self, name: str, default: int) -> int:
        """An attribute that is a number."""
        return int(self.attributes[name].i) if name in self.attributes else default

    def numbers(self, name: str, default: Sequence[int] = ()) -> list[int]:
        """An attribute that is a list of numbers."""
        return [int(one) for one in self.attributes[name].ints] if name in self.attributes else list(default)

    def text(self, name: str, default: str) -> str:
        """An attribute that is a text."""
        return self.attributes[name].s.decode("ascii") if name in self.attributes else default

    def axes(self) -> list[int] | None:
        """The axes, which are an attribute in earlier versions and an input in later ones; None for all."""
        if "axes" in self.attributes:
            return self.numbers("axes")
        return self.value(1).reshape(-1).tolist() if self.has(1) else None


def tensor_values(tensor: Any) -> npt.NDArray[Any] | None:
    """The values of a weight; None for one that is too large to be a shape, or of another type.

    Args:
      tensor: a ``TensorProto``.
    """
    name, count = _TYPES.get(tensor.data_type), int(np.prod([int(side) for side in tensor.dims], dtype=object))
    if name is None or not 0 <= count <= MOST_VALUES:
        return None
    if tensor.raw_data:
        found = np.frombuffer(tensor.raw_data, name)
    else:
        found = np.array(getattr(tensor, _FIELDS.get(name, "int32_data"))).astype(name)
    return found.reshape(tuple(tensor.dims)) if found.size == count else None


def stored_numbers(tensor: Any) -> int:
    """How many numbers the file may hold for a weight: two in a byte, at most.

    Args:
      tensor: a ``TensorProto``.
    """
    fields = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
    return 2 * len(tensor.raw_data) + 8 * sum(len(getattr(tensor, name)) for name in fields)


def numpy_type(number: int) -> str:
    """The name of a ``TensorProto.DataType``.

    Raises:
      KeyError: it is none of those that shapes are computed with.
    """
    return _TYPES[number]

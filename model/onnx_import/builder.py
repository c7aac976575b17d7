"""Building of one function's graph: nodes before and after those of a network."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from model.keras.canonical import canonical
from model.onnx_import.network import Network
from model.onnx_import.package import onnx

_AXES_AS_INPUT = 18  # opset from which ReduceMean takes its axes as a tensor


class FunctionGraph:
    """The graph of one function of a network, in the making. Values are known by their names.

    Args:
      network: the network, all of whose nodes it has; those that are not needed are left out at the end.
    """

    def __init__(self, network: Network) -> None:
        self._opset, self._numbers = network.opset, map("w{}".format, count())
        self._model = type(network.model)()
        self._model.CopyFrom(network.model)
        del self._model.graph.input[:], self._model.graph.output[:]

    def take(self, name: str, sides: Sequence[int | None]) -> str:
        """An input, float32."""
        info = onnx().helper.make_tensor_value_info(name, onnx().TensorProto.FLOAT, sides)
        self._model.graph.input.append(info)
        return name

    def node(self, kind: str, *given: str, name: str | None = None, **attributes: Any) -> str:
        """What an operation of one output gives."""
        made = name or next(self._numbers)
        self._model.graph.node.append(onnx().helper.make_node(kind, given, [made], **attributes))
        return made

    def constant(self, values: npt.ArrayLike, dtype: str = "float32") -> str:
        """A weight."""
        name = next(self._numbers)
        array = np.asarray(values, dtype)
        self._model.graph.initializer.append(onnx().numpy_helper.from_array(array, name))
        return name

    def shaped(self, value: str, sides: Sequence[int]) -> str:
        """The value in another shape; of the sides, 0 is as it was and -1 what is left."""
        return self.node("Reshape", value, self.constant(sides, "int64"))

    def cast(self, value: str, dtype: str) -> str:
        """The value in another type."""
        return self.node("Cast", value, to=onnx().helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def mean(self, value: str, axis: int) -> str:
        """The mean over an axis, which goes."""
        if self._opset < _AXES_AS_INPUT:
            return self.node("ReduceMean", value, axes=[axis], keepdims=0)
        return self.node("ReduceMean", value, self.constant([axis], "int64"), keepdims=0)

    def replace(self, tensor: str, value: str) -> None:
        """Let a value stand in the place of a tensor of the network, or of its input."""
        for node in self._model.graph.node:
            node.output[:] = [f"{name} before" if name == tensor else name for name in node.output]
        self.node("Identity", value, name=tensor)

    def finish(self, values: Sequence[str], names: Sequence[str]) -> bytes:
        """The bytes of the file, whose outputs are these values, float32, by these names."""
        for value in values:
            info = onnx().helper.make_tensor_value_info(value, onnx().TensorProto.FLOAT, None)
            self._model.graph.output.append(info)
        return canonical(self._model, names)

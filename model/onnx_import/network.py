"""A network as an ONNX file has it: audited, and brought to a form that functions can be cut from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lake.core.errors import BundleError
from lake.core.printable import printable
from model.graph_audit import DEFAULT_DOMAINS, audit_operations, opset_of
from model.onnx_import.package import onnx
from model.onnx_import.sampling import REPLACED, without_random

Dimensions: TypeAlias = tuple[int | None, ...]
OURS = "net "  # before each name of the file, so that it is no name of what is put around it
_TYPES = {1: "float32", 2: "uint8", 6: "int32", 7: "int64", 10: "float16", 11: "float64"}  # TensorProto.DataType
IMAGE_TYPES = ("float32", "uint8", "float16", "float64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """An input of a network.

    Attributes:
      name: as the file has it.
      dimensions: also of the batch; None for any.
      dtype: float32, float16, float64 or uint8; of a condition also int32 or int64.
    """

    name: str
    dimensions: Dimensions
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """An ONNX file whose operations are on the list, and whose random numbers are replaced by their mean.

    Attributes:
      model: the ``onnx.ModelProto``, in which every name begins with ``OURS``.
      inputs: by name.
      outputs: names.
      names: what may be called the latent -> the tensor's name: tensors by theirs, nodes with one output too.
      sampled: whether there were random numbers.
      freed: rows that the file was for, where it has been made to take any; else None.
    """

    model: Any
    inputs: Mapping[str, Value]
    outputs: Sequence[str]
    names: Mapping[str, str]
    sampled: bool
    freed: int | None = None

    @property
    def opset(self) -> int:
        """Version of the standard's operations."""
        return opset_of(self.model)

    @property
    def batch(self) -> int | None:
        """Rows that the file is for; None for any number."""
        return next(iter(self.inputs.values())).dimensions[0]

    @property
    def half(self) -> bool:
        """Whether it computes in 16 or in 8 bits, which processors round differently."""
        graph = self.model.graph
        small = {onnx().TensorProto.FLOAT16, onnx().TensorProto.BFLOAT16}
        coarse = {"QuantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}
        return any(one.data_type in small for one in graph.initializer) or any(
            node.op_type in coarse for node in graph.node
        )


def read_network(data: bytes, where: str) -> Network:
    """Audit an ONNX file and parse it.

    Args:
      data: bytes of the file.
      where: its name, for messages.

    Raises:
      BundleError: it is damaged, or has what no bundle runs; the text says what to do.
    """
    audit_operations(data, where, also=REPLACED, advice=_ADVICE)
    model = onnx().load_from_string(data)
    for node in model.graph.node:
        node.domain = "" if node.domain in DEFAULT_DOMAINS else node.domain
    weights = {one.name for one in model.graph.initializer}
    inputs = {one.name: _value(one, where) for one in model.graph.input if one.name not in weights}
    if not inputs or not model.graph.output:
        raise BundleError(f"{where}: has no input or no output; export the network again")
    outputs = [one.name for one in model.graph.output]
    names = _names(model.graph)
    sampled = without_random(model.graph, where)
    _prefix(model.graph)
    return Network(model=model, inputs=inputs, outputs=outputs, names=names, sampled=sampled)


_ADVICE = {
    "Loop": "a loop: export the network for inputs whose sizes are fixed, by torch.onnx.export(..., dynamo=True)",
    "Scan": "a loop: export the network for inputs whose sizes are fixed, by torch.onnx.export(..., dynamo=True)",
    "If": "a branch: export the network again by torch.onnx.export(..., dynamo=True), which decides it",
    "RandomUniform": "random numbers: export the network in evaluation mode, after net.eval()",
    "RandomUniformLike": "random numbers: export the network in evaluation mode, after net.eval()",
    "Bernoulli": "random numbers: export the network in evaluation mode, after net.eval()",
    "Multinomial": "random numbers: export the network in evaluation mode, after net.eval()",
    "functions": "have them inlined: onnx.save(onnx.inliner.inline_local_functions(onnx.load(FILE)), NEW)",
    "external": "one file is needed: onnx.save(onnx.load(FILE), NEW), or torch.onnx.export(..., external_data=False)",
    "domain": "export the network itself, before it is optimised for one runtime",
}


def _value(value: Any, where: str) -> Value:
    kind = value.type.tensor_type
    if kind.elem_type not in _TYPES:
        shown = printable(f"{value.name}: of type {kind.elem_type}", 100)
        raise BundleError(f"{where}: input {shown} takes no images; they are {', '.join(IMAGE_TYPES)}")
    sides = tuple(side.dim_value if side.dim_value > 0 else None for side in kind.shape.dim)
    return Value(name=value.name, dimensions=sides, dtype=_TYPES[kind.elem_type])


def _names(graph: Any) -> dict[str, str]:
    tensors = {name: name for node in graph.node for name in node.output if name}
    nodes = {node.name: node.output[0] for node in graph.node if node.name and len(node.output) == 1}
    return {**nodes, **tensors}


def _prefix(graph: Any) -> None:
    for node in graph.node:
        node.input[:] = [name and OURS + name for name in node.input]
        node.output[:] = [name and OURS + name for name in node.output]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = OURS + value.name
    del graph.value_info[:]

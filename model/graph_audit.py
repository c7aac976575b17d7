"""Audit an ONNX graph that is not trusted, before ONNX Runtime opens it, by a list of what is allowed."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from lake.core.errors import BundleError
from lake.core.printable import printable

# Operations of the standard on numbers. None reads a file, runs code, or draws random numbers.
_ALLOWED = frozenset(
    re.findall(
        r"\w+",
        """
        Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip
        Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Einsum Elu
        Equal Erf Exp Expand Flatten Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool GlobalMaxPool
        Greater GreaterOrEqual HardSigmoid HardSwish Identity InstanceNormalization IsInf IsNaN LRN LSTM
        LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max MaxPool Mean Min Mish Mod Mul Neg Not
        OneHot Or PRelu Pad Pow QuantizeLinear RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
        ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence Round
        ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth
        Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
        """,
    )
)
_EXTERNAL = 1  # TensorProto.data_location
_NOT_TAKEN = {"functions": "functions of its own", "training_info": "a training"}


def audit_graph(data: bytes, where: str) -> None:
    """Refuse a graph with anything but operations of the standard, one after another, on weights of its own.

    Args:
      data: bytes of an ONNX file.
      where: name of the file, for messages.

    Raises:
      BundleError: the graph is damaged, or has what is not allowed.
    """
    from google.protobuf.message import DecodeError

    try:
        model = _model_class().FromString(data)
    except DecodeError as error:
        raise BundleError(f"{where}: not an ONNX file ({error}); export the model again") from error
    for problem in _problems(model):
        raise BundleError(f"{where}: not opened: it has {problem}, which no graph of an export has; export it again")


def _problems(model: Any) -> Iterator[str]:
    yield from (what for name, what in _NOT_TAKEN.items() if len(getattr(model, name)))
    graph = model.graph
    if len(graph.sparse_initializer):
        yield "sparse weights"
    tensors = list(graph.initializer)
    for node in graph.node:
        if node.domain or node.op_type not in _ALLOWED:
            yield f"the operation {printable(f'{node.domain}:{node.op_type}'.lstrip(':'), 100)}"
        for attribute in node.attribute:
            if len(attribute.graphs) or attribute.HasField("g"):
                yield "a graph within an operation"
            if len(attribute.sparse_tensors) or attribute.HasField("sparse_tensor"):
                yield "sparse weights"
            tensors += [*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])]
    if any(tensor.data_location == _EXTERNAL or len(tensor.external_data) for tensor in tensors):
        yield "weights in another file"


@cache
def _model_class() -> Any:
    """The part of onnx.ModelProto (onnx.proto) that is looked at, built without the package onnx."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="latentlake/onnx.proto", package="audit", syntax="proto2")
    for message, fields in _FIELDS.items():
        _add(file.message_type.add(name=message), fields)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("audit.Model"))


# message -> field -> its number, what it is, and whether there are many. Other fields are skipped.
_FIELDS: dict[str, dict[str, tuple[int, str, bool]]] = {
    "Model": {"graph": (7, "Graph", False), "training_info": (20, "bytes", True), "functions": (25, "bytes", True)},
    "Graph": {"node": (1, "Node", True), "initializer": (5, "Tensor", True), "sparse_initializer": (15, "bytes", True)},
    "Node": {"op_type": (4, "string", False), "attribute": (5, "Attribute", True), "domain": (7, "string", False)},
    "Attribute": {
        "t": (5, "Tensor", False),
        "g": (6, "bytes", False),
        "tensors": (10, "Tensor", True),
        "graphs": (11, "bytes", True),
        "sparse_tensor": (22, "bytes", False),
        "sparse_tensors": (23, "bytes", True),
    },
    "Tensor": {"external_data": (13, "bytes", True), "data_location": (14, "int32", False)},
}


def _add(message: Any, fields: dict[str, tuple[int, str, bool]]) -> None:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

    for name, (number, kind, many) in fields.items():
        field = message.field.add(
            name=name, number=number, label=Field.LABEL_REPEATED if many else Field.LABEL_OPTIONAL
        )
        if kind in _FIELDS:
            field.type, field.type_name = Field.TYPE_MESSAGE, f".audit.{kind}"
        else:
            field.type = getattr(Field, f"TYPE_{kind.upper()}")

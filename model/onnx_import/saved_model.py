"""TensorFlow SavedModels: programs, whose operations are audited by name, converted to one ONNX graph."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from lake.core.errors import BundleError, UsageError
from lake.core.native_stderr import without_native_logs
from lake.core.printable import printable
from lake.core.tensorflow import tensorflow
from model.keras.convert import OPSET, quiet_converter
from model.message_parts import MessageFields, message_class

_FILE = "saved_model.pb"
_MOST = 1 << 30  # bytes of the file, without the variables
_DEFAULT = "serving_default"


def convert_saved_model(path: Path, signature: str | None) -> bytes:
    """Audit a SavedModel, load it, and convert one of its signatures. Its inputs and outputs keep their names.

    An input that is called as an output is becomes NAME_input.

    Args:
      path: the directory, on this machine.
      signature: name of the signature; None for ``serving_default``, or the only one.

    Returns:
      Bytes of an ONNX file.

    Raises:
      BundleError: it has an operation that is refused, is damaged, or does not convert.
      UsageError: it has no such signature, or is not on this machine.
    """
    where = str(path)
    audit_saved_model(_read(path), where)
    tf = tensorflow()
    try:
        with without_native_logs():
            loaded = tf.saved_model.load(where)
        return _converted(loaded.signatures, signature, where)
    except UsageError:
        raise
    except Exception as error:  # TensorFlow and the converter raise errors of any class
        reason = printable(" ".join(str(error).split()) or type(error).__name__, 500)
        raise BundleError(f"{where}: does not convert to ONNX: {reason}") from error


def audit_saved_model(data: bytes, where: str) -> None:
    """Refuse a SavedModel with an operation that runs code, or reads or writes files, in any of its functions.

    Args:
      data: bytes of ``saved_model.pb``. It is parsed, not loaded.
      where: name of the directory, for messages.

    Raises:
      BundleError: it is damaged, or has such an operation.
    """
    from google.protobuf.message import DecodeError

    try:
        model = _saved_model_class().FromString(data)
    except DecodeError as error:
        raise BundleError(f"{where}/{_FILE}: damaged ({error}); copy the SavedModel again") from error
    for operation in sorted({node.op for meta in model.meta_graphs for node in _nodes(meta.graph_def)}):
        if operation not in _ALLOWED:
            raise BundleError(
                f"{where}: not loaded: it has the operation {printable(operation, 100)}, which is not on the list of "
                "those that only compute; save the model without it"
            )


def _read(path: Path) -> bytes:
    try:
        with (path / _FILE).open("rb") as file:
            data = file.read(_MOST + 1)
    except OSError as error:
        raise UsageError(f"{path}: no {_FILE} on this machine ({error.strerror}); copy the SavedModel here") from error
    if len(data) > _MOST:
        raise BundleError(f"{path}/{_FILE}: more than {_MOST} bytes; save the model with its weights as variables")
    return data


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _converted(signatures: Any, asked: str | None, where: str) -> bytes:
    import tf2onnx

    known = [name for name in signatures if not name.startswith("_")]
    name = asked or (known[0] if len(known) == 1 else _DEFAULT)
    if name not in known:
        shown = printable(", ".join(known) or "none", 500)
        raise UsageError(f"{where}: no signature {printable(name)!r}; --serving-signature names one of: {shown}")
    function = signatures[name]
    ((), inputs), outputs = function.structured_input_signature, function.structured_outputs
    tf = tensorflow()

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def call(*given: Any) -> Any:
        made = function(**dict(zip(inputs, given, strict=True)))
        return {output: tf.identity(made[output], name=output) for output in outputs}

    with quiet_converter():
        specs = [
            # In a graph, an input and an output have different names.
            tf.TensorSpec(spec.shape, spec.dtype, f"{name}_input" if name in outputs else name)
            for name, spec in inputs.items()
        ]
        model, _ = tf2onnx.convert.from_function(call, input_signature=specs, opset=OPSET)
    data: bytes = model.SerializeToString()
    return data


@cache
def _saved_model_class() -> Any:
    """The part of SavedModel (saved_model.proto, graph.proto, function.proto) that is looked at."""
    return message_class(_FIELDS)


_FIELDS: MessageFields = {
    "SavedModel": {"meta_graphs": (2, "MetaGraph", True)},
    "MetaGraph": {"graph_def": (2, "GraphDef", False)},
    "GraphDef": {"node": (1, "NodeDef", True), "library": (2, "Library", False)},
    "Library": {"function": (1, "Function", True)},
    "Function": {"node_def": (3, "NodeDef", True)},
    "NodeDef": {"op": (2, "string", False)},
}
# What Keras models and their functions consist of. MergeV2Checkpoints, RestoreV2, SaveV2 and ShardedFilename are in the
# functions that every SavedModel has to save and restore its own variables.
_ALLOWED = frozenset(
    re.findall(
        r"\w+",
        """
        Abs Add AddN AddV2 All Any ArgMax ArgMin AssignVariableOp AssignAddVariableOp AvgPool BatchMatMulV2
        BatchMatMulV3 BatchToSpaceND BiasAdd BroadcastArgs BroadcastTo Cast Ceil ClipByValue Concat ConcatV2
        Const Conv2D Conv2DBackpropInput Cos Cumsum DepthToSpace DepthwiseConv2dNative DisableCopyOnRead Div
        DivNoNan Einsum Elu Equal Erf Exp ExpandDims Expm1 Fill Floor FloorDiv FloorMod FusedBatchNorm
        FusedBatchNormV2 FusedBatchNormV3 GatherNd GatherV2 Greater GreaterEqual Identity IdentityN IsFinite
        IsInf IsNan L2Loss LeakyRelu Less LessEqual Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr
        MatMul Max MaxPool Maximum Mean MergeV2Checkpoints Min Minimum MirrorPad Mul Neg NoOp NotEqual
        OneHot OnesLike Pack Pad PadV2 PartitionedCall Placeholder PlaceholderWithDefault Pow Prod
        RandomStandardNormal Range Rank ReadVariableOp RealDiv Reciprocal Relu Relu6 Reshape ResizeBicubic
        ResizeBilinear ResizeNearestNeighbor RestoreV2 ReverseV2 Round Rsqrt SaveV2 Select SelectV2 Selu
        Shape ShardedFilename Sigmoid Sign Sin Slice Softmax Softplus Softsign SpaceToBatchND SpaceToDepth
        Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall
        StatelessRandomGetKeyCounter StatelessRandomNormalV2 StaticRegexFullMatch StopGradient StridedSlice
        StringJoin Sub Sum Tanh Tile TopKV2 Transpose Unpack VarHandleOp VarIsInitializedOp Where ZerosLike
        """,
    )
)

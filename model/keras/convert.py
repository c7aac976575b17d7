"""Convert a Keras model's functions to ONNX: the graphs that TensorFlow would run, as files for ONNX Runtime."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from lake.core.native_stderr import without_native_logs
from model.graphs import graph_functions, graph_outputs
from model.keras.canonical import canonical
from model.keras.functions import Compute
from model.keras.known_sides import with_known_sides
from model.spec import Spec

OPSET = 18  # of ONNX; every ONNX Runtime from 1.14 on runs it


def to_onnx(model: Any, spec: Spec) -> dict[str, bytes]:
    """Convert the functions of a model. Equal models give equal bytes.

    The graphs take what ``model.graphs.graph_inputs`` says, float32 of any number of rows, and a divisor of pixels,
    since dividing by a constant would be turned into a multiplication; and give its ``graph_outputs``. All have their
    names.

    Args:
      model: a Keras model.
      spec: what its bundle says of it.

    Returns:
      Bytes of an ONNX file by the function's name.

    Raises:
      Exception: of any class, where the model has what cannot be converted, or only for one number of rows.
    """
    compute, names = Compute(model, spec), graph_functions(spec)
    with quiet_converter():
        # What encodes is a part of what reconstructs, so that its bits are the same.
        whole = {name: "reconstruct" if name == "encode" and "reconstruct" in names else name for name in names}
        converted = {name: _converted(compute, name) for name in dict.fromkeys(whole.values())}
        return {name: canonical(converted[whole[name]], graph_outputs(name, spec)) for name in names}


def _converted(compute: Compute, name: str) -> Any:
    function, signature = compute.define(name, "float32", None)
    concrete = function.get_concrete_function(*signature)
    if any(value.dtype != "resource" for value, _ in concrete.graph.captures):
        function = _Frozen(concrete)
    try:
        with _in_place():
            model = _graph_of(function, signature)
    except Exception:  # of an optimizer, without which the converter goes on where it has a copy of before
        model = _graph_of(function, signature)
    return with_known_sides(model)


def _graph_of(function: Any, signature: Any) -> Any:
    import tf2onnx

    return tf2onnx.convert.from_function(
        function, input_signature=signature, opset=OPSET, custom_op_handlers={"Erfc": (_erfc, [])}
    )[0]


@contextmanager
def _in_place() -> Iterator[None]:
    """Let the converter's optimizers change a graph in place. Else it copies all weights before each of them."""
    from tf2onnx.constants import ENV_TF2ONNX_CATCH_ERRORS as NAME

    before = os.environ.get(NAME)
    os.environ[NAME] = "FALSE"
    try:
        yield
    finally:
        if before is None:
            del os.environ[NAME]
        else:
            os.environ[NAME] = before


class _Frozen:
    """A traced function whose captured tensors are constants, in place of one that the converter would trace.

    The converter takes what a function has captured, such as the mean of a ``Normalization``, for further inputs.
    """

    def __init__(self, concrete: Any) -> None:
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        self._frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False, aggressive_inlining=True)
        self.structured_input_signature = concrete.structured_input_signature

    def get_concrete_function(self, *_: Any) -> "_Frozen":
        """As of a ``tf.function``."""
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._frozen, name)


def _erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """The complement of the error function, of which GELU is made, as 1 - erf(x): ONNX has the latter alone."""
    from tf2onnx.utils import ONNX_TO_NUMPY_DTYPE

    (given,), (output,) = node.input, node.output
    dtype, shape = graph.get_dtype(output), graph.get_shape(output)
    graph.remove_node(name)
    one = graph.make_const(f"{name}_one", np.array(1, ONNX_TO_NUMPY_DTYPE[dtype]))
    erf = graph.make_node("Erf", [given], dtypes=[dtype], shapes=[shape])
    graph.make_node("Sub", [one.output[0], erf.output[0]], name=name, outputs=[output], dtypes=[dtype], shapes=[shape])


@contextmanager
def quiet_converter() -> Iterator[None]:
    """The converter logs each thing that it does, and TensorFlow's optimizer prints."""
    import tf2onnx

    logger = logging.getLogger(tf2onnx.__name__)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with without_native_logs():
            yield
    finally:
        logger.setLevel(level)

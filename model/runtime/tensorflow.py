"""The executor of TensorFlow: a Keras model's functions as graphs, on processors and on GPUs."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lake.core.printable import printable
from lake.core.tensorflow import has_avx512, is_installed, tensorflow
from model.bundle import Bundle
from model.keras.bundled import load_bundled
from model.keras.functions import Compute
from model.pixels import Floats, Pixels
from model.runtime.executor import Compiled, Executor, ModelError
from model.spec import Spec

_MAX_REASON = 500  # characters
_PROCESS = re.compile(r"^\s*\(\d+\) \w+: +|\{\{function_node [^}]*\}\} ?| \[Op:\w+\]$")
_BOLD = re.compile(r"\x1b\[\d+m")  # where a layer is called by itself, Keras adds this, and ...
_ARGUMENTS = "\n\nArguments received by "


class TensorFlowExecutor(Executor):
    """Runs every bundle of a Keras model but those in integers, and with code that nobody has allowed to run.

    Args:
      model: a Keras model.
      spec: what its bundle says of it.
    """

    name = "tensorflow"

    def __init__(self, model: Any, spec: Spec) -> None:
        self._compute = Compute(model, spec)
        self.any_rows = has_avx512() or bool(tensorflow().config.list_physical_devices("GPU"))

    @classmethod
    def runs(cls, bundle: Bundle) -> bool:
        # What the Keras model of one in integers gives are not its golden outputs.
        allowed = bundle.spec.code is None or bundle.allow_code
        floats = bundle.spec.has_keras_model and bundle.spec.quantization is None
        return is_installed() and floats and allowed

    @classmethod
    def load(cls, bundle: Bundle) -> "TensorFlowExecutor":
        tensorflow()
        return cls(load_bundled(bundle), bundle.spec)

    def compile(self, function: str, dtype: str, rows: int | None, sides: Sequence[int] = ()) -> Compiled:
        with model_errors():
            traced = self._compute.trace(function, dtype, rows, tuple(sides))

        def call(*arrays: Pixels) -> list[Floats]:
            with model_errors():
                return [output.numpy() for output in traced(*arrays)]

        return call


@contextmanager
def model_errors() -> Iterator[None]:
    """What TensorFlow raises in this block comes out as ``ModelError``."""
    try:
        yield
    except tensorflow().errors.OpError as error:
        raise ModelError(reason(error), out_of_memory=_is_out_of_memory(error)) from error


def reason(error: Any) -> str:
    """What an error of TensorFlow says, in one line that does not depend on what else the process has done."""
    text = _BOLD.sub("", str(error.message)).partition(_ARGUMENTS)[0]
    text, _, place = text.partition("\n\t [[")
    line = _PROCESS.sub("", (text.strip().splitlines() or [""])[-1])  # what comes before introduces it
    node = re.match(r"\{\{node ([^}]*)\}\}", place)
    what = "out of memory" if _is_out_of_memory(error) else type(error).__name__
    return printable(f"{what}{f' at {node[1]}' if node else ''}: {line}"[:_MAX_REASON], _MAX_REASON)


def _is_out_of_memory(error: Any) -> bool:
    return isinstance(error, tensorflow().errors.ResourceExhaustedError)

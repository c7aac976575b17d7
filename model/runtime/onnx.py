"""The executor of ONNX Runtime: a model's functions as graphs that its export made, on processors."""

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np

from lake.core.onnxruntime import onnxruntime
from lake.core.printable import printable
from model.bundle import Bundle
from model.graph_audit import audit_graph
from model.graphs import DIVISOR, graph_file, graph_inputs, graph_outputs, has_graphs
from model.pixels import FULL, Floats, Pixels
from model.runtime.executor import Compiled, Executor, ModelError
from model.spec import Spec

Provider: TypeAlias = str | tuple[str, dict[str, str]]  # its name, or that and its options

_MAX_REASON = 500  # characters
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : (\w+) : ")
_NODE = re.compile(r"while running (\w+) node\. Name:'[^']*' Status Message: ")
_PLACE = re.compile(r"^\S*/onnxruntime/\S+ .*?\) (?=\S)")  # of its source
_MEMORY = re.compile(r"[Ff]ailed to allocate|bad.alloc|[Oo]ut of memory|smaller than requested bytes")
_RESTORES = "reconstruct"  # a model with a latent, where it restores


class OnnxExecutor(Executor):
    """Runs bundles that have the graphs of their functions.

    Args:
      read: gives the bytes of a file by its name.
      spec: what the bundle says of the model.
    """

    name = "onnx"
    providers: ClassVar[Sequence[Provider]] = ("CPUExecutionProvider",)
    any_rows = True
    compiled = True

    def __init__(self, read: Callable[[str], bytes], spec: Spec) -> None:
        self._read, self._spec = read, spec
        self._sessions: dict[str, Any] = {}

    @classmethod
    def runs(cls, bundle: Bundle) -> bool:
        return has_graphs(bundle.spec)

    @classmethod
    def load(cls, bundle: Bundle) -> "OnnxExecutor":
        return cls(bundle.read, bundle.spec)

    def compile(self, function: str, dtype: str, rows: int | None, sides: Sequence[int] = ()) -> Compiled:  # noqa: ARG002
        self._spec.check_dtype(function, dtype)
        session = self._session(function)
        # By name, and not by position: two inputs of one shape are easily mistaken for each other.
        given, wanted = graph_inputs(function, self._spec), graph_outputs(function, self._spec)
        takes = {value.name for value in session.get_inputs()}
        divisor = np.array(FULL[dtype], np.float32)

        def call(*arrays: Pixels) -> list[Floats]:
            feed = {name: array.astype(np.float32, copy=False) for name, array in zip(given, arrays, strict=True)}
            feed[DIVISOR] = divisor
            try:
                found: list[Floats] = session.run(wanted, {name: feed[name] for name in feed.keys() & takes})
            except Exception as error:  # its errors have no class in common
                raise _model_error(error) from error
            return found

        return call

    def _session(self, function: str) -> Any:
        name = _RESTORES if function == "restore" and self._spec.latent else function
        if name not in self._sessions:
            data = self._read(graph_file(name))
            audit_graph(data, graph_file(name))
            self._sessions[name] = open_session(data, any_size=self._spec.input.any_size, providers=self.providers)
        return self._sessions[name]


def open_session(graph: bytes, *, any_size: bool, providers: Sequence[Provider] = OnnxExecutor.providers) -> Any:
    """A session of ONNX Runtime, of one thread and with equal bits in each run.

    Args:
      graph: bytes of an ONNX file, which has been audited unless it was made here.
      any_size: sides of its inputs are free.
      providers: what computes, the first one that can.
    """
    options = onnxruntime().SessionOptions()
    # A call runs on its caller's thread. Bits would not depend on more threads, but small calls lose speed to them.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
    options.use_deterministic_compute = True
    options.enable_mem_pattern = not any_size  # a plan would be kept for each size
    options.log_severity_level = 4  # what fails is raised, too
    return onnxruntime().InferenceSession(graph, options, providers=list(providers))


def _model_error(error: Exception) -> ModelError:
    """What ONNX Runtime raises, in one line that does not depend on what else the process has done."""
    text = str(error)
    short = bool(_MEMORY.search(text)) or isinstance(error, MemoryError)
    kind = _PREFIX.match(text)
    node = _NODE.search(text)
    message = _PLACE.sub("", text[node.end() :] if node else _PREFIX.sub("", text))
    what = "out of memory" if short else kind[1].lower() if kind else type(error).__name__
    line = " ".join(message.split()) or type(error).__name__
    return ModelError(
        printable(f"{what}{f' at {node[1]}' if node else ''}: {line}"[:_MAX_REASON], _MAX_REASON), out_of_memory=short
    )

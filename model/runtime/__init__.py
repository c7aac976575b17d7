"""Executors of bundles: a module each, and one line of ``EXECUTORS``."""

from importlib import import_module
from typing import TYPE_CHECKING

from lake.core.errors import BundleError
from lake.core.tensorflow import NOT_INSTALLED, is_installed
from model.code import refuse_code
from model.graphs import has_graphs

if TYPE_CHECKING:
    from model.bundle import Bundle
    from model.runtime.executor import Executor

# A bundle is run by the first one that can, unless one is named; each is imported when it is first asked.
EXECUTORS = {
    "onnx": ("model.runtime.onnx", "OnnxExecutor"),
    "tensorflow": ("model.runtime.tensorflow", "TensorFlowExecutor"),
    "onnx-cuda": ("model.runtime.onnx_cuda", "OnnxCudaExecutor"),
}


def choose_executor(bundle: "Bundle", asked: str | None = None) -> str:
    """The name of the executor for a bundle. Nothing of the model is loaded.

    Args:
      bundle: an opened bundle.
      asked: the name of one; None for the first one that runs it.

    Raises:
      BundleError: the one that is asked for does not run it.
    """
    kind = next((name for name in (EXECUTORS if asked is None else (asked,)) if _executor(name).runs(bundle)), None)
    if kind is None and asked == "onnx-cuda" and has_graphs(bundle.spec):
        raise BundleError(
            f"{bundle.uri}: the executor 'onnx-cuda' needs a GPU of NVIDIA, and onnxruntime-gpu in the place of "
            "onnxruntime (the extra [gpu-onnx]); leave out --executor to use the processor"
        )
    if kind is None and bundle.spec.quantization is not None:
        raise BundleError(
            f"{bundle.uri}: the executor {asked!r} cannot run it, for it is in {bundle.spec.quantization.precision}; "
            f"leave out --executor, or export the model without --precision"
        )
    if kind is None and asked in (None, "tensorflow") and bundle.spec.code is not None and not bundle.allow_code:
        raise refuse_code(bundle.uri)
    if kind is None and not bundle.spec.has_keras_model:
        raise BundleError(
            f"{bundle.uri}: the executor {asked!r} cannot run it, for it was made of an ONNX file "
            "and has no Keras model; leave out --executor"
        )
    if kind is None and asked in (None, "tensorflow") and not is_installed():
        what = "a bundle without graphs" if asked is None else f"--executor {asked}"
        raise BundleError(f"{bundle.uri}: {what} needs {NOT_INSTALLED}")
    if kind is None:
        raise BundleError(
            f"{bundle.uri}: the executor {asked!r} cannot run it; leave out --executor, or make a bundle that it can "
            f"run: 'latentlake export --again {bundle.uri} --output NEW'"
        )
    return kind


def executors_of(bundle: "Bundle") -> tuple[str, ...]:
    """The names of all executors that run a bundle."""
    return tuple(name for name in EXECUTORS if _executor(name).runs(bundle))


def load_executor(bundle: "Bundle", name: str | None = None) -> "Executor":
    """The model of a bundle, loaded by one executor.

    Args:
      bundle: an opened bundle.
      name: of the executor; None for the first one that runs it.

    Raises:
      BundleError: the model is damaged, unsafe, or not the one that the bundle describes, or this executor does not run
        it.
    """
    return _executor(choose_executor(bundle, name)).load(bundle)


def _executor(name: str) -> "type[Executor]":
    module, kind = EXECUTORS[name]
    found: type[Executor] = getattr(import_module(module), kind)
    return found

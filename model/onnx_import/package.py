"""The package onnx, which exporting a graph needs and running one does not."""

from importlib import import_module
from typing import Any

from lake.core.errors import UsageError


def onnx() -> Any:
    """The module ``onnx``.

    Raises:
      UsageError: it is not installed.
    """
    try:
        return import_module("onnx")
    except ImportError as error:
        raise UsageError(
            "to export an ONNX file needs the package onnx, which is not installed here: pip install 'latentlake[onnx]'"
        ) from error

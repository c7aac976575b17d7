"""The lazy import of ONNX Runtime, which keeps to itself."""

import os
from importlib import import_module
from typing import Any


def onnxruntime() -> Any:
    """The ``onnxruntime`` module. The first call in a process imports it.

    Its packages for Linux note an id of the machine below the home directory when they are imported, and send their
    maker what they do. Here they do neither, unless ``ORT_DISABLE_TELEMETRY`` is set to something else.

    >>> onnxruntime().get_available_providers()[-1]
    'CPUExecutionProvider'
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return import_module("onnxruntime")

"""Lazy imports of TensorFlow and Keras, quiet and with the same settings in every process."""

import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lake.core.container import cores
from lake.core.errors import LatentlakeError, UsageError
from lake.core.native_stderr import without_native_logs
from lake.core.without_matplotlib import without_matplotlib

_LOG = logging.getLogger(__name__)
_LOCK = threading.Lock()
NOT_INSTALLED = "TensorFlow, which is not installed here: pip install 'latentlake[tensorflow]'"
_KERAS_FLOOR = (3, 14)  # earlier versions lack fixes against hostile model files


@cache
def has_avx512() -> bool:
    """Whether TensorFlow's kernels use AVX-512: this processor has it, and oneDNN is not told to do without.

    With it, the bits of a row do not depend on how many rows come with it; without it kernels choose by that number.
    """
    told = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:  # no Linux
        return False
    return "avx512f" in flags and (told == "DEFAULT" or told.startswith(("AVX512", "AVX10")))


def tensorflow(*, training: bool = False) -> Any:
    """The ``tensorflow`` module. The first call in a process imports it and fixes its thread pools.

    One operation uses one thread (intra-op), so that the bits of an output do not depend on the number of cores. Speed
    comes from concurrent callers and from running as many operations at once (inter-op) as the process has cores.

    Args:
      training: let one operation use every core, since training has one caller.

    Raises:
      UsageError: TensorFlow is not installed.
      LatentlakeError: TensorFlow cannot be imported; the message includes what it printed.
    """
    with _LOCK:
        return _started(training)


def is_started() -> bool:
    """Whether this process has called ``tensorflow()``, which takes seconds the first time."""
    return _module is not None


def is_installed() -> bool:
    """Whether there is a TensorFlow that this process could start."""
    return is_started() or find_spec("tensorflow") is not None


def require_tensorflow(what: str) -> None:
    """Check that there is one, before anything that takes long.

    Args:
      what: needs it, for the message.

    Raises:
      UsageError: there is none.
    """
    if not is_installed():
        raise UsageError(f"{what} needs {NOT_INSTALLED}")


def keras() -> Any:
    """The ``keras`` module, with TensorFlow as its backend.

    Raises:
      LatentlakeError: Keras is too old to load untrusted models safely, or it runs on another backend.
    """
    tensorflow()
    return _keras()


_module: Any = None


def _started(training: bool) -> Any:
    global _module
    if _module is None:
        if not is_installed():
            raise UsageError(f"this needs {NOT_INSTALLED}")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ["KERAS_BACKEND"] = "tensorflow"
        with without_native_logs() as printed:
            try:
                _module = _import(training)
            except Exception as error:
                printed.seek(0)
                text = printed.read().decode(errors="replace").strip()
                raise LatentlakeError(f"TensorFlow cannot be started: {error}; it printed:\n{text}") from error
    return _module


def _import(training: bool) -> Any:
    with _temporary_keras_home(), without_matplotlib():
        module = import_module("tensorflow")
    _set_threads(module.config, cores() if training else 1, cores())
    module.config.list_logical_devices()  # starts the runtime, whose native code prints that there is no GPU
    return module


def _set_threads(config: Any, intra_threads: int, inter_threads: int) -> None:
    try:
        config.threading.set_intra_op_parallelism_threads(intra_threads)
        config.threading.set_inter_op_parallelism_threads(inter_threads)
    except RuntimeError:  # other code in this process has started TensorFlow already
        if config.threading.get_intra_op_parallelism_threads() != intra_threads:
            _LOG.warning(
                "TensorFlow was started in this process with several intra-op threads: the last bits of latents may "
                "depend on the number of cores; call lake.core.tensorflow.tensorflow() before other TensorFlow code"
            )


@contextmanager
def _temporary_keras_home() -> Iterator[None]:
    # On import Keras reads ~/.keras/keras.json, which could change its float type, and writes one if there is none.
    given = os.environ.get("KERAS_HOME")
    with tempfile.TemporaryDirectory() as home:
        os.environ["KERAS_HOME"] = home
        try:
            yield
        finally:
            del os.environ["KERAS_HOME"]
            if given is not None:
                os.environ["KERAS_HOME"] = given


@cache
def _keras() -> Any:
    with _temporary_keras_home(), without_matplotlib():
        module = import_module("keras")
    if module.config.backend() != "tensorflow":
        raise LatentlakeError(
            f"Keras was imported here on {module.config.backend()!r}; set KERAS_BACKEND=tensorflow before that"
        )
    version = tuple(int(part) for part in module.__version__.split(".")[:2])
    if version < _KERAS_FLOOR:
        raise LatentlakeError(f"keras {module.__version__} is too old to load models safely: pip install 'keras>=3.14'")
    return module

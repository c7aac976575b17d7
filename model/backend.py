"""TensorFlow and Keras, imported when first needed, quietly, and set up the same way in every process."""

import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

from pipeline.errors import LatentlakeError

_LOG = logging.getLogger(__name__)
_LOCK = threading.Lock()
_KERAS_FLOOR = (3, 14)  # earlier ones lack fixes against hostile model files


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS cannot pin a process


def tensorflow(*, training: bool = False) -> Any:
    """The ``tensorflow`` module; the first call in a process fixes its threads.

    One operation uses one thread (intra-op): the bits of an output then do not depend on the number of cores. Speed
    comes from concurrent callers, and from as many operations at once (inter-op) as this process has cores.

    Args:
      training: there is one caller, so one operation uses every core.

    Raises:
      LatentlakeError: TensorFlow cannot be imported; the text holds what it printed.
    """
    with _LOCK:
        return _started(training)


def keras() -> Any:
    """The ``keras`` module on TensorFlow.

    Raises:
      LatentlakeError: Keras is too old to load a stranger's model, or runs on another backend.
    """
    tensorflow()
    return _keras()


_module: Any = None


def _started(training: bool) -> Any:
    global _module
    if _module is None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ["KERAS_BACKEND"] = "tensorflow"
        with _captured_stderr() as capture:
            try:
                _module = _import(training)
            except Exception as error:
                capture.seek(0)
                printed = capture.read().decode(errors="replace").strip()
                raise LatentlakeError(f"TensorFlow cannot be started: {error}; it printed:\n{printed}") from error
    return _module


def _import(training: bool) -> Any:
    with _home_of_its_own():
        module = import_module("tensorflow")
    _set_threads(module.config, cores() if training else 1, cores())
    module.config.list_logical_devices()  # starts it: where there is no GPU, native code prints that too
    return module


@contextmanager
def _captured_stderr() -> Iterator[Any]:
    # At the level of the file descriptor: native code prints before TensorFlow's logging can be told not to.
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as capture:
        os.dup2(capture.fileno(), 2)
        try:
            yield capture
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _set_threads(config: Any, intra_threads: int, inter_threads: int) -> None:
    try:
        config.threading.set_intra_op_parallelism_threads(intra_threads)
        config.threading.set_inter_op_parallelism_threads(inter_threads)
    except RuntimeError:  # somebody else's code in this process has started it already
        if config.threading.get_intra_op_parallelism_threads() != intra_threads:
            _LOG.warning(
                "TensorFlow was started in this process with several intra-op threads: the last bits of latents may "
                "depend on the number of cores; call model.backend.tensorflow() before other TensorFlow code"
            )


@contextmanager
def _home_of_its_own() -> Iterator[None]:
    # While Keras is imported: ~/.keras/keras.json could change what numbers it computes with, and it writes one itself.
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
    with _home_of_its_own():
        module = import_module("keras")
    if module.config.backend() != "tensorflow":
        raise LatentlakeError(
            f"Keras was imported here on {module.config.backend()!r}; set KERAS_BACKEND=tensorflow before that"
        )
    version = tuple(int(part) for part in module.__version__.split(".")[:2])
    if version < _KERAS_FLOOR:
        raise LatentlakeError(f"keras {module.__version__} is too old to load models safely: pip install 'keras>=3.14'")
    return module

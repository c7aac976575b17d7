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
    return len(os.sched_getaffinity(0))


def tensorflow(threads: int | None = None, intra_threads: int = 1) -> Any:
    """The ``tensorflow`` module; the first call in a process fixes its threads.

    With one intra-op thread the bits of an output do not depend on the number of cores; speed comes from concurrent
    callers.

    Args:
      threads: how many callers there will be at once (inter-op threads); None for one for each core of this process.
      intra_threads: how many threads one operation uses; more than one pays where there is one caller, as in training.

    Raises:
      LatentlakeError: TensorFlow cannot be imported; the text holds what it printed.
    """
    with _LOCK:
        return _started(threads, intra_threads)


def keras() -> Any:
    """The ``keras`` module on TensorFlow.

    Raises:
      LatentlakeError: Keras is too old to load a stranger's model, or runs on another backend.
    """
    tensorflow()
    return _keras()


_module: Any = None


def _started(threads: int | None, intra_threads: int) -> Any:
    global _module
    if _module is None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ["KERAS_BACKEND"] = "tensorflow"
        with _captured_stderr() as capture:
            try:
                _module = _import(threads or cores(), intra_threads)
            except Exception as error:
                capture.seek(0)
                printed = capture.read().decode(errors="replace").strip()
                raise LatentlakeError(f"TensorFlow cannot be started: {error}; it printed:\n{printed}") from error
    return _module


def _import(threads: int, intra_threads: int) -> Any:
    module = import_module("tensorflow")
    _set_threads(module.config, threads, intra_threads)
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


def _set_threads(config: Any, threads: int, intra_threads: int) -> None:
    try:
        config.threading.set_intra_op_parallelism_threads(intra_threads)
        config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:  # somebody else's code in this process has started it already
        if config.threading.get_intra_op_parallelism_threads() != intra_threads:
            _LOG.warning(
                "TensorFlow was started in this process with several intra-op threads: the last bits of latents may "
                "depend on the number of cores; call model.backend.tensorflow() before other TensorFlow code"
            )


@cache
def _keras() -> Any:
    module = import_module("keras")
    if module.config.backend() != "tensorflow":
        raise LatentlakeError(
            f"Keras was imported here on {module.config.backend()!r}; set KERAS_BACKEND=tensorflow before that"
        )
    version = tuple(int(part) for part in module.__version__.split(".")[:2])
    if version < _KERAS_FLOOR:
        raise LatentlakeError(f"keras {module.__version__} is too old to load models safely: pip install 'keras>=3.14'")
    return module

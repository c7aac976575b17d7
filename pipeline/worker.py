"""What a worker process holds for all of its units: the model, the decoder and one pool of threads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING

from pipeline.images.base import Target

if TYPE_CHECKING:
    from model.runtime import Runtime
    from pipeline.config import Retry
    from pipeline.images.second import Decodes

UNITS_AT_ONCE = 2  # while one unit drains and publishes, the next keeps the pool busy

_SPARE = 2

_loading = Lock()
_slots = BoundedSemaphore(UNITS_AT_ONCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Shared by every thread of the process."""

    runtime: "Runtime"
    target: Target
    retry: "Retry | None"
    pool: ThreadPoolExecutor
    ahead: int  # batches of one unit in flight

    @property
    def decoder(self) -> "Decodes":
        """Brings images to the target, whose size must be given."""
        return _decoder(self.target, self.retry.target if self.retry else None)


def worker_for(
    model: str, digest: str, target: Target, threads: int | None = None, retry: "Retry | None" = None
) -> Worker:
    """The process's worker for a model; the first call loads and proves it.

    Args:
      model: URI of the bundle.
      digest: of the bundle, as it was planned.
      target: what images are decoded to.
      threads: of the pool; None for one for each core of this process.
      retry: the second chance of images that do not become ``target``.

    Raises:
      BundleError: the bundle is not the one with this digest, or does not give its golden outputs.
    """
    with _loading:  # several harness threads start at once, and a load takes seconds
        return _worker(model, digest, target, threads, retry)


@contextmanager
def unit_slot() -> Iterator[None]:
    """Hold one of the process's places for a running unit: bounds memory whatever the engine's thread count."""
    with _slots:
        yield


@cache
def _worker(model: str, digest: str, target: Target, threads: int | None, retry: "Retry | None") -> Worker:
    from model.backend import cores
    from model.runtime import runtime_for

    count = threads or cores()
    runtime = runtime_for(model, digest)
    # More than there are cores: now and then a task waits for the interpreter lock, and its core would idle.
    pool = ThreadPoolExecutor(count + _SPARE, thread_name_prefix="batch")
    return Worker(runtime=runtime, target=target, retry=retry, pool=pool, ahead=count + _SPARE + 2)


@cache
def _decoder(target: Target, second: Target | None) -> "Decodes":
    from pipeline.images.decode import Decoder
    from pipeline.images.second import SecondDecoder

    first = Decoder(target)
    return first if second is None else SecondDecoder(first, Decoder(second))

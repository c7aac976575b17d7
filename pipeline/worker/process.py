"""What the units of one worker process share: the model, the decoder and one pool of threads."""

import logging
from collections.abc import Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING

from lake.core.idle_threads import IdleThreads
from lake.core.line_warnings import is_worker, warnings_in_lines
from lake.images.types import Target
from lake.storage import configure
from pipeline.worker.share import SPARE, own_share

if TYPE_CHECKING:
    from lake.images.fallback_decoder import Decodes
    from model.runtime.runtime import Runtime
    from pipeline.config import JobConfig, RejectRetry
UNITS_AT_ONCE = 2  # while one unit writes its last batches and publishes, the next one keeps the pool busy

_loading = Lock()
_workers: dict[Hashable, "Worker"] = {}
_slots = BoundedSemaphore(UNITS_AT_ONCE)
_taking_all = Lock()  # two that each had one slot would wait for each other


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """The shared parts of a worker process. Thread-safe.

    Attributes:
      runtime: the model's compiled functions.
      target: what images are decoded to.
      retry: how images that the target's policies reject are decoded once more; None to reject them.
      pool: threads that process batches.
      idle_threads: of the pool, for batches of several parts.
      ahead: batches of one unit that may be in flight at once.
    """

    runtime: "Runtime"
    target: Target
    retry: "RejectRetry | None"
    pool: ThreadPoolExecutor
    idle_threads: IdleThreads
    ahead: int  # batches of one unit in flight

    @property
    def decoder(self) -> "Decodes":
        """The decoder of images to the target, which must be of a fixed size."""
        return _decoder(self.target, *self.second_targets)

    @property
    def second_targets(self) -> tuple[Target, ...]:
        """What the records that are rejected are decoded to, one after another; none without a retry."""
        return self.retry.targets if self.retry else ()


def worker_for(
    model: str,
    digest: str,
    target: Target,
    threads: int | None = None,
    retry: "RejectRetry | None" = None,
    executor: str | None = None,
    allow_code: bool = False,
) -> Worker:
    """Return the process's worker for a model. The first call loads the model and checks its golden outputs.

    Args:
      model: URI of the bundle.
      digest: digest that the bundle had when the job was planned.
      target: what images are decoded to.
      threads: threads of the pool; None for one per core of this process, or fewer if its container has little
        memory.
      retry: how rejected images are decoded once more.
      executor: what computes the model's functions; None for the first one that runs the bundle.
      allow_code: whether the bundle's own code may be run.

    Raises:
      BundleError: the bundle has another digest, is damaged or unsafe, or does not reproduce its golden outputs.
    """
    # The engine starts several threads at once. Without the lock each would load the model, which takes seconds.
    key = (model, digest, target, threads, retry, executor, allow_code)
    with _loading:
        if key not in _workers:
            _workers[key] = _worker(*key)
        return _workers[key]


def warm(config: "JobConfig") -> None:
    """Load the model ahead of the first unit.

    An error is only logged: the first unit loads the model again and reports it.
    """
    configure(config.stores)
    try:
        worker_for(*config.of_worker)
    except Exception as error:
        logging.getLogger(__name__).debug("warming up failed and is tried again by the first unit: %s", error)


def close_worker(
    model: str,
    digest: str,
    target: Target,
    threads: int | None = None,
    retry: "RejectRetry | None" = None,
    executor: str | None = None,
    allow_code: bool = False,
) -> None:
    """End the threads of a worker whose job is done. The model stays loaded for later jobs.

    Args:
      model: as it was given to ``worker_for``, like all that follow.
      digest: digest of the bundle.
      target: what images are decoded to.
      threads: threads of the pool.
      retry: how rejected images are decoded once more.
      executor: what computes the model's functions.
      allow_code: whether the bundle's own code may be run.
    """
    with _loading:
        worker = _workers.pop((model, digest, target, threads, retry, executor, allow_code), None)
    if worker is not None:
        worker.pool.shutdown()


@contextmanager
def unit_slot() -> Iterator[None]:
    """Wait for one of the process's slots for running units, and hold it during the block.

    It bounds the memory of the process, however many threads the engine starts.
    """
    with _slots:
        yield


@contextmanager
def all_slots() -> Iterator[None]:
    """Wait for all of the process's slots, and hold them during the block: no other unit runs meanwhile."""
    with _taking_all, ExitStack() as stack:
        for _ in range(UNITS_AT_ONCE):
            stack.enter_context(_slots)
        yield


def _worker(
    model: str,
    digest: str,
    target: Target,
    threads: int | None,
    retry: "RejectRetry | None",
    executor: str | None,
    allow_code: bool,
) -> Worker:
    from model.runtime.runtime import runtime_for

    # Of a program of somebody else, warnings are shown as it wants them.
    with warnings_in_lines() if is_worker() else nullcontext():
        runtime = runtime_for(model, digest, executor, allow_code=allow_code)
    share = own_share(threads, UNITS_AT_ONCE)
    pool = ThreadPoolExecutor(share.threads + SPARE, thread_name_prefix="batch")
    idle = IdleThreads(pool, share.threads)
    return Worker(runtime=runtime, target=target, retry=retry, pool=pool, idle_threads=idle, ahead=share.ahead)


@cache
def _decoder(target: Target, *seconds: Target) -> "Decodes":
    from lake.images.decoder import Decoder
    from lake.images.fallback_decoder import FallbackDecoder

    decoder: Decodes = Decoder(target)
    for second in seconds:
        decoder = FallbackDecoder(decoder, Decoder(second))
    return decoder

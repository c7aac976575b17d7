"""What the units of one worker process share: the model, the decoder and one pool of threads."""

import logging
from collections.abc import Iterator
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
from pipeline.options.reject_retry import RejectRetry
from pipeline.worker.share import SPARE, own_share
from pipeline.worker.worker_key import WorkerKey

if TYPE_CHECKING:
    from lake.images.fallback_decoder import Decodes
    from model.runtime.runtime import Runtime
    from pipeline.config import JobConfig

UNITS_AT_ONCE = 2  # while one unit writes its last batches and publishes, the next one keeps the pool busy

_loading = Lock()
_workers: dict[WorkerKey, "Worker"] = {}
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
    retry: RejectRetry | None
    pool: ThreadPoolExecutor
    idle_threads: IdleThreads
    ahead: int

    @property
    def decoder(self) -> "Decodes":
        """The decoder of images to the target, which must be of a fixed size."""
        return _decoder(self.target, *self.second_targets)

    @property
    def second_targets(self) -> tuple[Target, ...]:
        """What the records that are rejected are decoded to, one after another; none without a retry."""
        return self.retry.targets if self.retry else ()


def worker_for(key: WorkerKey) -> Worker:
    """Return the process's worker for a model. The first call loads the model and checks its golden outputs.

    Args:
      key: which worker.

    Raises:
      BundleError: the bundle has another digest, is damaged or unsafe, or does not reproduce its golden outputs.
    """
    # The engine starts several threads at once. Without the lock each would load the model, which takes seconds.
    with _loading:
        if key not in _workers:
            _workers[key] = _worker(key)
        return _workers[key]


def warm(config: "JobConfig") -> None:
    """Load the model ahead of the first unit.

    An error is only logged: the first unit loads the model again and reports it.
    """
    configure(config.stores)
    try:
        worker_for(config.worker_key)
    except Exception as error:
        logging.getLogger(__name__).debug("warming up failed and is tried again by the first unit: %s", error)


def close_worker(key: WorkerKey) -> None:
    """End the threads of a worker whose job is done. The model stays loaded for later jobs.

    Args:
      key: as it was given to ``worker_for``.
    """
    with _loading:
        worker = _workers.pop(key, None)
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


def _worker(key: WorkerKey) -> Worker:
    from model.runtime.runtime import runtime_for

    # Of a program of somebody else, warnings are shown as it wants them.
    with warnings_in_lines() if is_worker() else nullcontext():
        runtime = runtime_for(key.model, key.digest, key.executor, allow_code=key.allow_code)
    share = own_share(key.threads, UNITS_AT_ONCE)
    pool = ThreadPoolExecutor(share.threads + SPARE, thread_name_prefix="batch")
    idle = IdleThreads(pool, share.threads)
    return Worker(runtime=runtime, target=key.target, retry=key.retry, pool=pool, idle_threads=idle, ahead=share.ahead)


@cache
def _decoder(target: Target, *seconds: Target) -> "Decodes":
    from lake.images.decoder import Decoder
    from lake.images.fallback_decoder import FallbackDecoder

    decoder: Decodes = Decoder(target)
    for second in seconds:
        decoder = FallbackDecoder(decoder, Decoder(second))
    return decoder

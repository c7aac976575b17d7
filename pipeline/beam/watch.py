"""A job whose units run elsewhere, as its launcher sees it: by the receipts in the output, and what the engine says."""

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING

from lake.core.counters import Counts
from lake.core.errors import LatentlakeError
from lake.inputs.units import input_bytes
from pipeline.output.layout import Layout
from pipeline.output.progress.finished_units import FinishedUnits
from pipeline.output.progress.remaining import Remaining
from pipeline.output.state.run_file import read_run_file

if TYPE_CHECKING:
    from pipeline.beam.flink import FlinkCluster, FlinkJob
    from pipeline.job.prepare import Job

_PAUSE, _LONGEST = 2.0, 30.0  # seconds between two looks
_SHARE = 0.2  # most of the time that is spent on looking: to list a hundred thousand receipts takes seconds


class RemoteJob:
    """Context manager that watches a job during its block; a source of counts for the progress bar.

    A job on a Flink cluster is cancelled there if the block is interrupted.

    Args:
      job: a staged job.
      cluster: the Flink cluster that it goes to; None for another engine, of which nothing is asked.
      name: the job's name there.
    """

    def __init__(self, job: "Job", cluster: "FlinkCluster | None" = None, name: str = "") -> None:
        layout, run = Layout(job.config.output), job.config.run
        sizes = {unit.id: input_bytes(unit) for unit in job.plan.todo}
        self._finished = FinishedUnits(layout, run, sizes, read_run_file(layout, run).earlier)
        self._cluster, self._name = cluster, name
        self._others = set[str]() if cluster is None else cluster.job_ids()
        self._job: FlinkJob | None = None
        self._said: list[str] = []
        self._broken, self._store_retries = 0, 0
        self._counts = Counts()
        self._reckoned: tuple[float, Remaining] | None = None  # at the last look, on the clock of time.monotonic
        self._lock, self._stop = threading.Lock(), threading.Event()
        # In the context of the job, which has its store options. A daemon: nobody waits for a store that hangs.
        self._thread = threading.Thread(target=copy_context().run, args=(self._watch,), daemon=True, name="watch")

    def __enter__(self) -> "RemoteJob":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        if kind is KeyboardInterrupt and self._cluster is not None:
            self._cancel(self._cluster)

    @property
    def counts(self) -> Counts:
        """Sums over the units that have ended."""
        return self._counts

    @property
    def first(self) -> float | None:
        """When the first batch was finished, on the clock of ``time.monotonic``; None before that."""
        first = self._finished.first
        return None if first is None else time.monotonic() - max(0.0, time.time() - first)

    def remaining(self) -> Remaining | None:
        """How far the job is, also within the units that have not ended; None before that can be told."""
        if (reckoned := self._reckoned) is None:
            return None
        looked, found = reckoned
        left = max(0.0, found.seconds - (time.monotonic() - looked))
        return Remaining(share=1 - (1 - found.share) * left / max(found.seconds, 1e-9), seconds=left)

    @property
    def waiting(self) -> str:
        """What goes on before the first unit has ended."""
        if self._job is None:
            return "submitting the job" if self._cluster else "waiting for the first unit"
        return f"Flink: {self._job.state}, {self._job.running} of {self._job.tasks} tasks run"

    def news(self) -> Iterable[str]:
        """What the engine has said since the last call: the job's page, and why it was started again."""
        with self._lock:
            said, self._said = self._said, []
        return said

    def look(self) -> None:
        """Look once at the receipts and at the engine."""
        if self._cluster is not None:
            self._ask(self._cluster)
        self._finished.update()
        self._counts = self._finished.counts
        found = self._finished.remaining(time.time())
        self._reckoned = None if found is None else (time.monotonic(), found)
        if (retries := self._finished.store_retries) > self._store_retries:
            self._say(f"workers have made {retries:,} requests to the stores again, since they failed")
            self._store_retries = retries

    def _watch(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            # The next look may be luckier, and the job does not depend on any.
            with suppress(OSError, LatentlakeError):
                self.look()
            self._stop.wait(min(_LONGEST, max(_PAUSE, (time.monotonic() - began) / _SHARE)))

    def _ask(self, cluster: "FlinkCluster") -> None:
        before, self._job = self._job, cluster.job(self._name, self._others) or self._job
        if self._job is None:
            return
        if before is None:
            self._say(f"Flink job {self._job.id} ({self._job.name}): {self._job.page}")
        elif before.state != self._job.state:
            self._say(f"Flink job {self._job.id}: {self._job.state}")
        for when, text in cluster.failures(self._job, self._broken):
            self._say(f"Flink job {self._job.id} was broken off: {text}")
            self._broken = when

    def _cancel(self, cluster: "FlinkCluster") -> None:
        """End the job on the cluster: without the lease of this process its workers could write nothing more."""
        with suppress(OSError):
            if job := self._job or cluster.job(self._name, self._others):
                cluster.cancel(job)

    def _say(self, text: str) -> None:
        with self._lock:
            self._said.append(text)

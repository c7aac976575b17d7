"""How far the run of an output is, told from its own files: from any machine, whatever became of the launcher."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from os import PathLike
from typing import Any

from lake.cli.check import check_names, check_place, check_values, optional_fields
from lake.cli.options import STORES
from lake.core.errors import HeldError, LatentlakeError, OutputError, UnfinishedError
from lake.storage import StoreOptions, configure, configured, store_for
from lake.storage.buckets import check_bucket
from pipeline.output.fencing.lease import holder, store_time
from pipeline.output.fencing.lease_record import Lease
from pipeline.output.fencing.stop import stop_of
from pipeline.output.layout import Layout
from pipeline.output.progress.finished_units import FinishedUnits
from pipeline.output.state.job_file import read_job_file
from pipeline.output.state.plan_files import read_sizes
from pipeline.output.state.run_file import read_run_file
from pipeline.output.state.state_file import check_state, read_summary
from pipeline.output.state.state_values import Rule, check_fields, list_of, natural, number, utf8

_NAMED = 20  # most failed units that are named
_LOOKS = 5  # most looks at an output whose run ends meanwhile

_FAILED: Mapping[str, Rule] = {"unit": utf8, "error": utf8}
_RUN: Mapping[str, Rule] = {
    "id": utf8,
    "units": natural,
    "kept_units": natural,
    "failed_units": natural,
    "started": number,
}
_ENDED: Mapping[str, Rule] = {
    "run": lambda value: check_fields(value, _RUN, whole=True),
    "failed": list_of(lambda value: check_fields(value, _FAILED, whole=True)),
}


class State(StrEnum):
    """What an output is in the middle of."""

    EMPTY = "empty"  # no run has written to it
    STARTING = "starting"  # a run holds it and has not written its plan yet
    RUNNING = "running"  # units are being processed
    COMMITTING = "committing"  # all units have ended; the commit is not through
    DEAD = "dead"  # a run holds it, and gives no more sign of life
    STOPPED = "stopped"  # the last run failed or was interrupted, and has let go
    UNFINISHED = "unfinished"  # the last run ended; failed units or the gate withhold _SUCCESS
    COMPLETE = "complete"  # _SUCCESS stands


_ALIVE = (State.STARTING, State.RUNNING, State.COMMITTING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed unit.

    Attributes:
      unit: id of the unit.
      error: why it failed.
    """

    unit: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far the latest run of an output is.

    Attributes:
      output: URI of the output.
      state: what it is in the middle of.
      run: id of the run; "" if there was none.
      host: machine of the launcher of the run that holds the output; "" if none holds it.
      process: id of that launcher's process there.
      heard: seconds since the run's last sign of life; below 0 while workers have yet to start; None without one.
      started: when the run began, in seconds since the epoch; None if it is not known.
      units: units of the whole plan, finished before or not.
      todo: units that the run set out to process.
      done: units of those that are finished.
      failed: units of those that have failed.
      failures: the first of the failed units.
      read: records of the finished units; for a complete or unfinished output, of all that it holds.
      rejects: rejected ones of these.
      exact: whether these two are counted; else they are reckoned from a thousand receipts.
      rate: records of finished units for each second since the first result; None if that is not known yet.
      seconds_left: reckoned from the bytes of units and the time that those took which have ended; None if that is not
        known yet.
      refused: why the output is not complete although its run has ended, or why that run comes to its end.
    """

    output: str
    state: State
    run: str = ""
    host: str = ""
    process: int = 0
    heard: float | None = None
    started: float | None = None
    units: int = 0
    todo: int = 0
    done: int = 0
    failed: int = 0
    failures: Sequence[Failure] = field(default=())
    read: int = 0
    rejects: int = 0
    exact: bool = True
    rate: float | None = None
    seconds_left: float | None = None
    refused: Sequence[str] = field(default=())

    @property
    def left(self) -> int:
        """Units that have neither finished nor failed."""
        return self.todo - self.done - self.failed

    @property
    def exit_status(self) -> int:
        """0 for a complete output, 4 while a run is at work on it, 3 if neither is so."""
        if self.state == State.COMPLETE:
            return 0
        return HeldError.exit_status if self.state in _ALIVE else UnfinishedError.exit_status

    def to_value(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "left": self.left}


def status(output: str | PathLike[str], **stores: Any) -> Status:
    """Tell how far the latest run of an output is, from the output's files alone. Writes nothing.

    Works from any machine that can read the output, while the run is at work, after it, and after its launcher is gone.
    For a plan of N units it makes about N / 500 requests that list or read the plan, and reads a thousand receipts at
    most.

    Example:
      ```python
      while (found := status("gs://lake/latents")).exit_status == 4:
          print(f"{found.done} of {found.todo} units, {found.failed} failed")
          time.sleep(60)
      ```

    Args:
      output: URI or path of the output.
      stores: how to reach it, by the fields of ``lake.storage.StoreOptions``: ``gcs_endpoint="http://..."``.

    Raises:
      UsageError: an option of the stores is unknown.
      OutputError: something else is there.
      VerifyError: a file of the output's state is damaged.
      LatentlakeError: the output changed during every look at it.
    """
    check_names(stores, [option.field for option in STORES])
    place, before = check_place("output", output), configured()
    configure(replace(before, **check_values(stores, STORES, optional=optional_fields(StoreOptions))))
    try:
        return read_status(place)
    finally:
        configure(before)


def read_status(output: str) -> Status:
    """Tell how far the latest run of an output is; as ``status``, over the stores as they are configured."""
    layout = Layout(output.rstrip("/"))
    for _ in range(_LOOKS):
        before = holder(layout.output)
        # A run that ends meanwhile removes its plan and its receipts.
        with suppress(FileNotFoundError):
            found = _look(layout, before)
            if _run_of(holder(layout.output)) == _run_of(before):
                return found
    raise LatentlakeError(f"{layout.output} changed during each of {_LOOKS} looks at it; ask again")


def _run_of(lease: Lease | None) -> str:
    return "" if lease is None else lease.run


def _look(layout: Layout, lease: Lease | None) -> Status:
    now = 0.0 if lease is None else store_time(layout.output)
    alive = lease is not None and lease.alive(now)
    success = _summary(layout.success)
    if success is not None and not alive:
        return _ended(layout, State.COMPLETE, success)
    plans = _plans(layout)
    run = lease.run if lease is not None else max(plans, default="")
    if not run:
        read_job_file(layout.output)  # refuses what is no output
        check_bucket(layout.output, OutputError)
        return Status(output=layout.output, state=State.EMPTY)
    held = _held(lease, now)
    if (summary := _summary(layout.summary(run)) if "summary.json" in plans.get(run, ()) else None) is not None:
        return _ended(layout, State.COMMITTING if alive else State.UNFINISHED, summary, held)
    if "stop.json" in plans.get(run, ()) and (stop := stop_of(layout, run)) is not None:
        held["refused"] = (stop.stop,)
    states = (State.STARTING, State.RUNNING, State.COMMITTING) if alive else ()
    gone = State.STOPPED if lease is None else State.DEAD
    if "run.json" not in plans.get(run, ()):
        return Status(output=layout.output, state=states[0] if states else gone, run=run, **held)
    return _under_way(layout, run, plans[run], states[1:] or (gone, gone), held)


def _plans(layout: Layout) -> dict[str, set[str]]:
    """Return the runs that have a plan or a summary, each with the names of its files."""
    store, found = store_for(layout.output), dict[str, set[str]]()
    if store.is_directory(layout.plans):
        for stat in store.list(layout.plans):
            run, _, name = stat.uri[len(layout.plans) + 1 :].partition("/")
            found.setdefault(run, set()).add(name)
    return found


def _held(lease: Lease | None, now: float) -> dict[str, Any]:
    return {} if lease is None else {"host": lease.host, "process": lease.pid, "heard": now - lease.beat}


def _summary(uri: str) -> dict[str, Any] | None:
    if store_for(uri).stat(uri) is None:
        return None
    summary = read_summary(uri)
    check_state(summary, _ENDED, uri)
    return summary


def _ended(layout: Layout, state: State, summary: Mapping[str, Any], held: Mapping[str, Any] | None = None) -> Status:
    """The status of a run that has written its summary."""
    run, total = summary["run"], summary["total"]
    gone = ["_SUCCESS was removed"] if summary["complete"] and state == State.UNFINISHED else []
    return Status(
        output=layout.output,
        state=state,
        run=run["id"],
        started=run["started"],
        units=run["units"] + run["kept_units"],
        todo=run["units"],
        done=run["units"] - run["failed_units"],
        failed=run["failed_units"],
        failures=tuple(Failure(unit=failed["unit"], error=failed["error"]) for failed in summary["failed"]),
        read=total["read"],
        rejects=total["rejects"],
        refused=(*summary["refused"], *gone),
        **(held or {}),
    )


def _under_way(layout: Layout, run: str, names: set[str], states: Sequence[State], held: Mapping[str, Any]) -> Status:
    """The status of a run between its launch and its commit.

    Args:
      layout: the output.
      run: id of the run.
      names: names of the files of its plan.
      states: the state while units are left, and the one after that.
      held: who holds the output, and why the run ends before its units are done.
    """
    plan, sizes = read_run_file(layout, run), dict[str, int]()
    for name in sorted(name for name in names if name.startswith("part-")):
        sizes |= read_sizes(f"{layout.plan(run)}/{name}")
    finished = FinishedUnits(layout, run, sizes, plan.earlier)
    finished.update()
    counts, now = finished.counts, time.time()
    share = counts.unit_bytes / total if (total := sum(sizes.values())) else counts.units / max(plan.todo, 1)
    speed = _speed(finished, share, now) if states[0] == State.RUNNING else {}
    return Status(
        output=layout.output,
        state=states[counts.units >= plan.todo],
        run=run,
        started=plan.started,
        units=plan.units,
        todo=plan.todo,
        done=len(finished.done),
        failed=len(finished.failed),
        failures=tuple(
            Failure(unit=unit, error=str(receipt.error)) for unit, receipt in finished.failures(_NAMED).items()
        ),
        read=counts.read,
        rejects=counts.rejected,
        exact=finished.exact,
        **speed,
        **held,
    )


def _speed(finished: FinishedUnits, share: float, now: float) -> dict[str, Any]:
    """Rate and time left, as arguments of ``Status``; nothing before the first second of results."""
    elapsed = 0.0 if finished.first is None else now - finished.first
    if elapsed < 1:
        return {}
    rate = {"rate": finished.counts.read / elapsed}
    if (remaining := finished.remaining(now)) is not None:
        return {**rate, "seconds_left": remaining.seconds}
    return {**rate, "seconds_left": elapsed * (1 - share) / share} if share > 0 else rate

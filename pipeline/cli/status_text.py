"""The status of an output as text for a person."""

import time
from collections.abc import Iterator

from lake.cli.lines import line_of
from lake.core.printable import printable
from pipeline.cli.clock import clock
from pipeline.output.progress.status import State, Status

_TEXT = 1000  # most characters of an error

_STATES = {
    State.EMPTY: "no run has written to it",
    State.STARTING: "a run is starting",
    State.RUNNING: "running",
    State.COMMITTING: "committing",
    State.DEAD: "its run looks dead; the same command, run again, goes on from there",
    State.STOPPED: "stopped; the same command, run again, goes on from there",
    State.UNFINISHED: "NOT complete",
    State.COMPLETE: "complete",
}


def describe_status(status: Status) -> str:
    """Describe how far a run is, and who holds the output."""
    lines = [f"{status.output}: {_STATES[status.state]}", *_run(status), *_units(status), *_records(status)]
    lines += [f"  not complete: {reason}" for reason in status.refused]
    lines += [f"  failed: {printable(failure.error, _TEXT)}" for failure in status.failures]
    if (more := status.failed - len(status.failures)) > 0:
        lines.append(f"  and {more:,} more failed units")
    return "\n".join(map(line_of, lines))


def _run(status: Status) -> Iterator[str]:
    if not status.run:
        return
    since = "" if status.started is None else f", since {_time(status.started)}"
    held = f", held by process {status.process} on {status.host}, {_heard(status)}" if status.host else ""
    yield f"  run {status.run}{since}{held}"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _heard(status: Status) -> str:
    heard = status.heard or 0.0
    return f"heard of {heard:,.0f} s ago" if heard >= 0 else f"whose workers have {-heard:,.0f} s to begin"


def _units(status: Status) -> Iterator[str]:
    if status.todo or status.units:
        kept = f", {status.units - status.todo:,} kept" if status.units > status.todo else ""
        failed = f", {status.failed:,} failed" if status.failed else ""
        yield f"  units: {status.done:,} of {status.todo:,} done{failed}, {status.left:,} to do{kept}"


def _records(status: Status) -> Iterator[str]:
    about = "" if status.exact else "about "
    if status.read:
        yield f"  records: {about}{status.read:,} read, {about}{status.rejects:,} rejected{_speed(status)}"


def _speed(status: Status) -> str:
    rate = "" if status.rate is None else f", {status.rate:,.1f} a second"
    return rate + ("" if status.seconds_left is None else f", about {clock(status.seconds_left)} left")

"""Explore every case and every fault: ``python -m tests.protocol`` writes ``benchmarks/results/protocol.md``.

The exit status is 1 if something wrong is found in the protocol, or a planted fault is not.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from harness.machine import machine, on_machine
from tests.protocol.explorer import Found
from tests.protocol.faults import FOUND_LATE, FOUND_SOON
from tests.protocol.protocol import Protocol
from tests.protocol.scenarios import LIMITS, LONG, QUICK, Case, explored

RESULTS = Path(__file__).parents[2] / "benchmarks/results/protocol.md"
_CASES, _PLANTED = (*QUICK, *LONG), (*FOUND_SOON, *FOUND_LATE)
_HEAD = """# The protocol of two runs on one output

All interleavings of the requests of some processes (`tests/protocol`), also of requests that are given up and executed
at any later time. A lease may be lost at any instant. `python -m tests.protocol` writes this page.

{summary} {machine}

| scenario | store | given up | killed | states | wrong |
|---|---|---|---|---|---|
"""
_LIMITS = """
What a store cannot prevent ([decision 13](../../docs/decisions/0013-fencing.md)):

| scenario | store | wrong | steps |
|---|---|---|---|
"""
_FAULTS = """
Faults that were planted, and in how many steps harm is done:

| fault | scenario | store | wrong | steps |
|---|---|---|---|---|
"""


def main() -> int:
    """Explore all, and write the page."""
    started = time.monotonic()
    with ProcessPoolExecutor() as pool:
        cases = [*pool.map(_explored, _CASES)]
        planted = [*pool.map(_with_fault, range(len(_PLANTED)))]
    wrong, found = sum(bool(case.wrong) for case in cases), sum(bool(fault.wrong) for fault in planted)
    summary = (
        f"{len(cases)} cases, {sum(case.states for case in cases):,} states: {wrong or 'none'} wrong. {found} of "
        f"{len(planted)} planted faults found. In {(time.monotonic() - started) / 60:.0f} minutes."
    )
    print(summary)
    head = _HEAD.format(summary=summary, machine=on_machine(machine()))
    RESULTS.write_text("".join((head, *_cases(cases), _LIMITS, *_limits(), _FAULTS, *_faults(planted))))
    return int(wrong > 0 or found < len(planted))


def _explored(case: Case) -> Found:
    started = time.monotonic()
    found = explored(case, Protocol(case.kind))
    print(f"{case}: {found.states:,} states, {time.monotonic() - started:.0f} s {found.wrong}", file=sys.stderr)
    return found


def _with_fault(number: int) -> Found:
    fault = _PLANTED[number]
    return explored(fault.case, fault.protocol(fault.case.kind))


def _cases(found: Sequence[Found]) -> Iterator[str]:
    for case, one in zip(_CASES, found, strict=True):
        yield f"| {_scenario(case)} | {case.losses} | {case.kills} | {one.states:,} | {one.wrong or 'nothing'} |\n"


def _limits() -> Iterator[str]:
    for limit in LIMITS:
        found = explored(limit.case, Protocol(limit.case.kind))
        yield f"| {_scenario(limit.case)} | {found.wrong} | {len(found.trace)} |\n"


def _faults(found: Sequence[Found]) -> Iterator[str]:
    for fault, one in zip(_PLANTED, found, strict=True):
        what = (fault.protocol.__doc__ or "").rstrip(".").replace("``", "`")
        yield f"| {what} | {_scenario(fault.case)} | {one.wrong or 'not found'} | {len(one.trace)} |\n"


def _scenario(case: Case) -> str:
    return f"{(case.scenario.__doc__ or '').rstrip('.')} | {case.kind}"


if __name__ == "__main__":
    sys.exit(main())

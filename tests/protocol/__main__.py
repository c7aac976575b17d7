"""Explore every case and every fault: ``python -m tests.protocol`` writes ``benchmarks/results/protocol.md``."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.protocol.faults import FOUND_LATE, FOUND_SOON
from tests.protocol.protocol import Protocol
from tests.protocol.scenarios import LIMITS, LONG, QUICK, Case, explored

RESULTS = Path(__file__).parents[2] / "benchmarks/results/protocol.md"
_HEAD = """# The protocol of two runs on one output

All interleavings of the requests of some processes (`tests/protocol`), also of requests that are given up and executed
at any later time. A lease may be lost at any instant. `python -m tests.protocol` writes this page.

| scenario | store | given up | killed | states | wrong |
|---|---|---|---|---|---|
"""
_LIMITS = """
What a store cannot prevent (decision 13):

| scenario | store | wrong | steps |
|---|---|---|---|
"""
_FAULTS = """
Faults that were planted, and in how many steps harm is done:

| fault | scenario | store | wrong | steps |
|---|---|---|---|---|
"""


def main() -> None:
    """Explore all, and write the page."""
    RESULTS.write_text("".join((_HEAD, *_cases(), _LIMITS, *_limits(), _FAULTS, *_faults())))


def _cases() -> Iterator[str]:
    with ProcessPoolExecutor() as pool:
        yield from pool.map(_case, (*QUICK, *LONG))


def _case(case: Case) -> str:
    started = time.monotonic()
    found = explored(case, Protocol(case.kind))
    print(f"{case}: {found.states:,} states, {time.monotonic() - started:.0f} s {found.wrong}", file=sys.stderr)
    return f"| {_scenario(case)} | {case.losses} | {case.kills} | {found.states:,} | {found.wrong or 'nothing'} |\n"


def _limits() -> Iterator[str]:
    for limit in LIMITS:
        found = explored(limit.case, Protocol(limit.case.kind))
        yield f"| {_scenario(limit.case)} | {found.wrong} | {len(found.trace)} |\n"


def _faults() -> Iterator[str]:
    for fault in (*FOUND_SOON, *FOUND_LATE):
        found = explored(fault.case, fault.protocol(fault.case.kind))
        what = (fault.protocol.__doc__ or "").rstrip(".")
        yield f"| {what} | {_scenario(fault.case)} | {found.wrong} | {len(found.trace)} |\n"


def _scenario(case: Case) -> str:
    return f"{(case.scenario.__doc__ or '').rstrip('.')} | {case.kind}"


if __name__ == "__main__":
    main()

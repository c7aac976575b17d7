"""Mutants of valid images through every decoder: none may crash, hang, take much memory or raise.

    python -m scripts.fuzz [--count 100000] [--seed 0] [--workers N]

Mutant S is the same everywhere (``tests.faults.mutants``): ``--seed S --count 1`` shows a failure again. Each goes
through the header's parser, a decoder of one size that takes nothing else, one that resizes and converts, one with
alpha, and the decoder of images as they are. What comes out must be pixels of the promised shape and dtype or a fault
with a reason of the closed list. Workers are processes: when one dies, its mutant is noted and the next one goes on
after it. Ends with status 1 if there was any failure.
"""

import argparse
import faulthandler
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
import pyarrow as pa

from pipeline.images.base import Color, Group, ImageError, Resize, Target
from pipeline.images.decode import Decoder
from pipeline.images.headers import sniff
from pipeline.images.native import NativeDecoder
from pipeline.records import Fault, Reason, Records, Stage
from tests.faults.mutants import mutant

ROOT = Path(__file__).parent.parent
MOST_PIXELS = 1 << 22  # that an image may have: bounds time and memory of what is valid
MOST_SECONDS = 1.0  # of the processor for a mutant: wall time depends on what else the machine does
MOST_GROWTH = 256  # MiB that a mutant may add to the most memory the process ever had
ADDRESSES = 2 << 30  # bytes of address space beyond those at the start
STUCK = 30.0  # seconds after which a worker ends itself with a traceback

Decoders: TypeAlias = dict[Target, Decoder]

STRICT = Target(shape=(28, 28, 1), max_pixels=MOST_PIXELS)
CONVERTING = Target(shape=(32, 32, 3), resize=Resize.FIT, color=Color.CONVERT, max_pixels=MOST_PIXELS)
ALPHA = Target(shape=(20, 24, 4), resize=Resize.CROP, max_pixels=MOST_PIXELS)
NATIVE = Target(shape=(None, None, 3), max_pixels=MOST_PIXELS)


@dataclass(kw_only=True)
class Tally:
    """What became of mutants: how many were decoded or rejected for which reason, and what must not be."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0  # seconds
    peak: int = 0  # MiB
    failures: dict[int, str] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Put two together."""
        self.outcomes += other.outcomes
        self.slowest, self.peak = max(self.slowest, other.slowest), max(self.peak, other.peak)
        self.failures |= other.failures

    def line(self, text: str) -> int:
        """Take what a worker says of a mutant, and return its number."""
        seed, seconds, peak, grown, outcome = text.rstrip().split(maxsplit=4)
        self.slowest, self.peak = max(self.slowest, float(seconds)), max(self.peak, int(peak))
        if outcome not in OUTCOMES:
            self.failures[int(seed)] = outcome
        elif float(seconds) > MOST_SECONDS:
            self.failures[int(seed)] = f"took {seconds} s"
        elif int(grown) > MOST_GROWTH:
            self.failures[int(seed)] = f"grew by {grown} MiB"
        self.outcomes[outcome if outcome in OUTCOMES else "raised"] += 1
        return int(seed)


OUTCOMES = frozenset({"decoded", *(reason.value for reason in Reason)})


def main() -> None:
    """Run the campaign and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="mutants")
    parser.add_argument("--seed", type=int, default=0, help="number of the first")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.seed, given.seed + given.count)
        return
    tally = campaign(given.seed, given.count, given.workers)
    for row in table(tally):
        print(row)
    sys.exit(bool(tally.failures))


def campaign(first: int, count: int, workers: int = 1) -> Tally:
    """Mutants ``first`` to ``first + count`` through the decoders, in as many processes."""
    bounds = [first + count * n // workers for n in range(workers + 1)]
    whole = Tally()
    with ThreadPoolExecutor(workers) as pool:
        for tally in pool.map(_range, bounds[:-1], bounds[1:]):
            whole.add(tally)
    return whole


def table(tally: Tally) -> Iterator[str]:
    """Lines for a person."""
    yield f"{'mutants':<20}{tally.outcomes.total():>9,}"
    for outcome, count in tally.outcomes.most_common():
        yield f"  {outcome:<18}{count:>9,}"
    yield f"{'slowest, CPU ms':<20}{tally.slowest * 1000:>9,.0f}"
    yield f"{'peak memory, MiB':<20}{tally.peak:>9,}"
    yield f"{'failures':<20}{len(tally.failures):>9,}"
    for seed, what in sorted(tally.failures.items()):
        yield f"--seed {seed} --count 1: {mutant(seed)[0]}: {what}"


def _range(start: int, stop: int) -> Tally:
    """One worker after the other until all are through: a mutant that ends its worker is a failure."""
    tally = Tally()
    while start < stop:
        with tempfile.TemporaryFile("w+") as errors:
            command = [sys.executable, "-m", "scripts.fuzz", "--work", f"--seed={start}", f"--count={stop - start}"]
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
                for text in process.stdout or ():
                    start = tally.line(text) + 1
            if process.returncode:
                tally.failures[start] = f"ended its worker with {process.returncode}:\n{_end(errors)}"
                tally.outcomes["crashed"] += 1
                start += 1
    return tally


def _end(errors: IO[str]) -> str:
    errors.seek(0)
    return "".join(errors.readlines()[-25:])


def work(start: int, stop: int) -> None:
    """Print a line for each mutant: its number, seconds, MiB of the process at most, MiB more than before, outcome."""
    faulthandler.enable()
    decoders = {target: Decoder(target) for target in (CONVERTING, STRICT, ALPHA)}
    _warm(decoders)
    _limit_memory()
    before = _peak()
    for seed in range(start, stop):
        data = mutant(seed)[1]
        faulthandler.dump_traceback_later(STUCK, exit=True)
        started = time.process_time()
        outcome = _outcome(data, decoders)
        peak, seconds = _peak(), time.process_time() - started
        print(seed, f"{seconds:.4f}", peak, peak - before, outcome, flush=True)
        before = peak
    faulthandler.cancel_dump_traceback_later()


def _warm(decoders: Decoders) -> None:
    """Build the graphs, which take longer than any image may."""
    from tests.faults.pictures import pictures

    for data in pictures().values():
        trial(data, decoders)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _outcome(data: bytes, decoders: Decoders) -> str:
    try:
        return trial(data, decoders)
    except BaseException as error:
        traceback.print_exc()
        return " ".join(f"{type(error).__name__}: {error} {traceback.extract_tb(error.__traceback__)[-1]}".split())


def trial(data: bytes, decoders: Decoders) -> str:
    """What the first decoder makes of a file: ``decoded`` or the reason of the reject; all the others are checked too.

    Raises:
      Exception: whatever a decoder must not raise, or AssertionError for what it must not give.
    """
    try:
        sniff(data, MOST_PIXELS)
    except ImageError as error:
        _check_fault(error.fault())
    batch = Records(shard="", index=np.arange(1), key=pa.array([""]), payload=pa.array([data], pa.binary()), carried={})
    outcomes = [_decoded(target, decoder, batch) for target, decoder in decoders.items()]
    faults: dict[int, Fault] = {}
    _check(list(NativeDecoder(NATIVE).groups(batch, faults)), faults)
    return outcomes[0]


def _decoded(target: Target, decoder: Decoder, batch: Records) -> str:
    decoded = decoder.decode(batch)
    _check(decoded.groups, dict(decoded.faults))
    for group in decoded.groups:
        assert group.pixels.shape == (1, *target.fixed), group.pixels.shape
    return decoded.faults[0].reason.value if decoded.faults else "decoded"


def _check(groups: Sequence[Group], faults: dict[int, Fault]) -> None:
    positions = [position for group in groups for position in group.positions.tolist()]
    assert [*positions, *faults] == [0], (positions, faults)
    for group in groups:
        _, height, width, channels = group.pixels.shape
        assert 0 < height * width <= MOST_PIXELS, group.pixels.shape
        assert 0 < channels <= 4, group.pixels.shape
        assert group.pixels.dtype in (np.uint8, np.uint16, np.float32), group.pixels.dtype
        assert np.isfinite(group.pixels).all()
    for fault in faults.values():
        _check_fault(fault)


def _check_fault(fault: Fault) -> None:
    assert isinstance(fault.reason, Reason)
    assert fault.stage is Stage.DECODE
    assert 0 < len(fault.detail.encode()) < 1000, fault.detail


if __name__ == "__main__":
    main()

"""Mutants of images, shards and state files through whatever reads them: none may crash, hang, fill memory or raise.

    scripts/fuzz [--kind images|shards] [--count 100000] [--seed 0] [--workers N]

Mutant S is the same everywhere (``tests.faults.mutants``, ``tests.faults.shard_mutants``): ``--seed S --count 1`` shows
a failure again. An image goes through the header's parser, a decoder of one size that takes nothing else, one that
resizes and converts, one that decodes JPEG smaller, one with alpha, and the decoder of images as they are. What comes
out must be pixels of the promised shape and dtype or a fault with a reason of the closed list. A shard goes through its
reader, and a state file through what reads the state (``tests.torture.shards``). Workers are processes with 2 GiB
beyond their start: when one dies, its mutant is noted and the next one goes on after it. Ends with status 1 if there
was any failure.
"""

import argparse
import faulthandler
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import pyarrow as pa

from harness.machine import machine, on_machine
from lake.core.records import Fault, Reason, Records, Stage
from lake.images.decoder import Decoder
from lake.images.header import read_header
from lake.images.native_decoder import NativeDecoder
from lake.images.types import Color, DecodeMode, Group, ImageError, Resize, Target
from tests.faults.mutants import mutant
from tests.faults.shard_mutants import ShardMutant, shard_mutant, whole

ROOT = Path(__file__).parents[2]
MOST_PIXELS = 1 << 22  # that an image may have: bounds time and memory of what is valid
SECONDS = {"images": 1.0, "shards": 10.0}  # of the processor: wall time depends on what else the machine does
GROWTH = {"images": 256, "shards": 2048}  # MiB that a mutant may add to the most memory the process ever had
ADDRESSES = 2 << 30  # bytes of address space beyond those at the start
STUCK = 30.0  # seconds of the processor after which a worker ends itself with a traceback
HUNG = 900.0  # seconds by the clock, for one that waits; on a busy machine a mutant takes minutes

Decoders: TypeAlias = dict[Target, Decoder]
Attempt: TypeAlias = Callable[[int], tuple[str, float]]

STRICT = Target(shape=(28, 28, 1), max_pixels=MOST_PIXELS)
CONVERTING = Target(shape=(32, 32, 3), resize=Resize.FIT, color=Color.CONVERT, max_pixels=MOST_PIXELS)
SMALLER = Target(
    shape=(3, 4, 3), resize=Resize.STRETCH, decode=DecodeMode.FAST, color=Color.CONVERT, max_pixels=MOST_PIXELS
)
ALPHA = Target(shape=(20, 24, 4), resize=Resize.CROP, max_pixels=MOST_PIXELS)
NATIVE = Target(shape=(None, None, 3), max_pixels=MOST_PIXELS)


@dataclass(kw_only=True)
class Tally:
    """What became of mutants: how many were decoded or rejected for which reason, and what must not be."""

    kind: str = "images"
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
        elif float(seconds) > SECONDS[self.kind]:
            self.failures[int(seed)] = f"took {seconds} s"
        elif int(grown) > GROWTH[self.kind]:
            self.failures[int(seed)] = f"grew by {grown} MiB"
        self.outcomes[outcome if outcome in OUTCOMES else "raised"] += 1
        return int(seed)


OUTCOMES = frozenset({"decoded", "read", "refused", "state", *(reason.value for reason in Reason)})


def main() -> None:
    """Run the campaign and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=[*SECONDS], default="images", help="of the mutants")
    parser.add_argument("--count", type=int, default=100_000, help="mutants")
    parser.add_argument("--seed", type=int, default=0, help="number of the first")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.kind, given.seed, given.seed + given.count)
        return
    tally = campaign(given.seed, given.count, given.workers, kind=given.kind)
    print(on_machine(machine()))
    for row in table(tally):
        print(row)
    sys.exit(bool(tally.failures))


def campaign(first: int, count: int, workers: int = 1, *, kind: str = "images") -> Tally:
    """Mutants ``first`` to ``first + count`` through the decoders or readers, in as many processes."""
    bounds = [first + count * n // workers for n in range(workers + 1)]
    whole = Tally(kind=kind)
    with ThreadPoolExecutor(workers) as pool:
        for tally in pool.map(partial(_range, kind), bounds[:-1], bounds[1:]):
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
        steps = mutant(seed)[0] if tally.kind == "images" else shard_mutant(seed).steps
        yield f"--kind {tally.kind} --seed {seed} --count 1: {steps}: {what}"


def _range(kind: str, start: int, stop: int) -> Tally:
    """One worker after the other until all are through: a mutant that ends its worker is a failure."""
    tally = Tally(kind=kind)
    while start < stop:
        with tempfile.TemporaryFile("w+") as errors:
            numbers = [f"--kind={kind}", f"--seed={start}", f"--count={stop - start}"]
            command = [sys.executable, "-m", "tests.torture.fuzz", "--work", *numbers]
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


def work(kind: str, start: int, stop: int) -> None:
    """Print a line for each mutant: its number, seconds, MiB of the process at most, MiB more than before, outcome."""
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, chain=True)  # which then ends the process
    attempt = _attempt_of(kind)
    before = _peak()
    for seed in range(start, stop):
        faulthandler.dump_traceback_later(HUNG, exit=True)
        signal.setitimer(signal.ITIMER_PROF, STUCK)
        outcome, seconds = attempt(seed)
        peak = _peak()
        print(seed, f"{seconds:.4f}", peak, peak - before, outcome, flush=True)
        before = peak
    signal.setitimer(signal.ITIMER_PROF, 0)
    faulthandler.cancel_dump_traceback_later()


def _attempt_of(kind: str) -> Attempt:
    """What makes a mutant and tries it: the outcome, and the seconds without the making."""
    if kind == "shards":
        from tests.torture import shards

        for _ in map(shards.trial, whole()):
            pass  # TensorFlow and Arrow start their threads, which take addresses
        outcomes = dict[bytes, str]()
        return lambda seed: once(shards.trial, shard_mutant(seed), outcomes)
    decoders = {target: Decoder(target) for target in (CONVERTING, STRICT, SMALLER, ALPHA)}
    _warm(decoders)
    return lambda seed: _timed(partial(trial, decoders=decoders), mutant(seed)[1])


def once(attempt: Callable[[ShardMutant], str], what: ShardMutant, outcomes: dict[bytes, str]) -> tuple[str, float]:
    """Try a mutant, unless this process has tried the very same file: forgers make a bomb of a few sizes only."""
    file = sha256(f"{what.format} {what.name} ".encode() + what.data).digest()
    if file in outcomes:
        return outcomes[file], 0.0
    outcome, seconds = _timed(attempt, what)
    if outcome in OUTCOMES:
        outcomes[file] = outcome
    return outcome, seconds


def _timed(attempt: Callable[[Any], str], what: object) -> tuple[str, float]:
    with _limited():
        started = time.process_time()
        outcome = _outcome(attempt, what)
        return outcome, time.process_time() - started


def _warm(decoders: Decoders) -> None:
    """Build the graphs, which take longer than any image may."""
    from tests.faults.pictures import pictures

    for data in pictures().values():
        trial(data, decoders)


@contextmanager
def _limited() -> Iterator[None]:
    """No more than ``ADDRESSES`` beyond what the process has now; its mutants may take more to be made."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ADDRESSES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _outcome(attempt: Callable[[Any], str], what: object) -> str:
    try:
        return attempt(what)
    except BaseException as error:
        traceback.print_exc()
        return " ".join(f"{type(error).__name__}: {error} {traceback.extract_tb(error.__traceback__)[-1]}".split())


def trial(data: bytes, decoders: Decoders) -> str:
    """What the first decoder makes of a file: ``decoded`` or the reason of the reject; all the others are checked too.

    Raises:
      Exception: whatever a decoder must not raise, or AssertionError for what it must not give.
    """
    try:
        read_header(data, MOST_PIXELS)
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

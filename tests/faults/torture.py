"""What jobs are put through, for the tests in short and for ``scripts/torture`` in long."""

import itertools
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import google_crc32c
import numpy as np

from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import read_manifest
from pipeline.output.units.receipts import Receipt, read_receipts
from pipeline.output.verify import verify
from tests.conftest import png, write_parquet
from tests.faults.flaky import READS, WRITES, Flaw
from tests.faults.forkserver import Child, Limits, Nursery
from tests.faults.outputs import files, litter

FLAKY = "tests.faults.flaky:main"
FOUR_WORKERS = ("--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2")
Marks: TypeAlias = dict[str, tuple[int, int]]  # file -> inode and time of its last change


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A job that can be run over any output, and what it leaves when nothing disturbs it.

    seconds: that an undisturbed run takes.
    calls: of the store by which it writes, in an undisturbed run.
    """

    verb: str
    source: Path
    bundle: Path
    options: Sequence[str] = ("--max-reject-fraction", "0.2")
    clean: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0
    calls: int = 0

    def command(self, output: Path, scheme: str = "") -> list[str]:
        """The command line over an output, its URIs beginning with a scheme."""
        named = {"--input": self.source, "--model": self.bundle, "--output": output}
        return [self.verb, *(word for name, uri in named.items() for word in (name, f"{scheme}{uri}")), *self.options]


def make_shards(source: Path, count: int = 6, records: int = 40) -> None:
    """Parquet shards of ``[8, 8]`` grey images in two directories; every 13th record of a shard is no image."""
    rng = np.random.default_rng(11)
    for number in range(count):
        images = [png(image) for image in rng.integers(0, 256, (records, 8, 8), np.uint8)]
        images[12::13] = [b"no image"] * len(images[12::13])
        path = source / f"{'ab'[number % 2]}/{number:05d}.parquet"
        write_parquet(path, images, range(records), write_page_checksum=True)


def undisturbed(nursery: Nursery, work: Work, place: Path) -> Work:
    """Run a job twice without any trouble: its output and its calls, and how long it takes."""
    counted = flaky(nursery, work, place / "counted", Flaw(what="", calls=WRITES, every=1))
    assert counted.status == 0, counted.said
    calls = int(counted.said.rpartition("calls ")[2])
    started = time.monotonic()
    assert nursery.run(work.command(place / "clean"), place / "log").status == 0
    clean = files(place / "clean")
    assert clean == files(place / "counted")
    return replace(work, clean=clean, seconds=time.monotonic() - started, calls=calls)


class Kill:
    """How a run is ended: each is called with the nursery, the work and the output, and gives the child."""

    @staticmethod
    def after(seconds: float) -> "Harm":
        """SIGKILL at an instant."""

        def harm(nursery: Nursery, work: Work, output: Path) -> Child:
            child = nursery.start(work.command(output), log_of(output))
            time.sleep(seconds)
            return _killed(child)

        return harm

    @staticmethod
    def at_call(number: int) -> "Harm":
        """SIGKILL just before the store is called for the so many-th time to write."""

        def harm(nursery: Nursery, work: Work, output: Path) -> Child:
            return flaky(nursery, work, output, Flaw.kill(number))

        return harm

    @staticmethod
    def on(pattern: str) -> "Harm":
        """SIGKILL as soon as a file of this glob is in the output."""

        def harm(nursery: Nursery, work: Work, output: Path) -> Child:
            child = nursery.start(work.command(output), log_of(output))
            while not child.ended and next(output.glob(pattern), None) is None:
                pass
            return _killed(child)

        return harm

    @staticmethod
    def of_several(seconds: float, whom: str) -> "Harm":
        """SIGKILL at an instant, in a job with workers of its own: of ``all``, the ``launcher`` or one ``worker``."""

        def harm(nursery: Nursery, work: Work, output: Path) -> Child:
            child = nursery.start(work.command(output), log_of(output))
            time.sleep(seconds)
            members = [] if child.ended else session(child.pid)
            hit = {"all": members, "launcher": [child.pid], "worker": members[-1:]}[whom]
            for pid in hit:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return child

        return harm


Harm: TypeAlias = Callable[[Nursery, Work, Path], Child]


def survive(nursery: Nursery, work: Work, output: Path, harms: Sequence[Harm]) -> list[int]:
    """A job that is killed, again and again, and then left alone; gives the exit statuses of its runs.

    Whatever is seen in between is part of the undisturbed output, what has a receipt is never done again, and in the
    end there is that output and nothing else.
    """
    statuses, done = list[int](), Marks()
    for harm in harms:
        child = harm(nursery, work, output)
        statuses.append(child.wait())
        assert child.status in (0, -signal.SIGKILL), child.said
        check_halfway(work, output)
        done = unchanged(output, done) | marks(output)
    finish(nursery, work, output)
    unchanged(output, done)
    return statuses


def finish(nursery: Nursery, work: Work, output: Path) -> None:
    """A run that is left alone comes to the undisturbed output."""
    child = nursery.run(work.command(output), log_of(output).with_suffix(".end"))
    assert child.status == 0, child.said
    check_whole(work, output)


def check_whole(work: Work, output: Path) -> None:
    """The output is the undisturbed one, and nothing else is there."""
    assert_same(files(output), work.clean)
    assert litter(output) == []
    report = verify(str(output), deep=True)
    assert report.problems == (), report.describe()


def check_halfway(work: Work, output: Path) -> None:
    """Nothing partial is visible, every receipt is true, and ``_SUCCESS`` stands over the whole output alone."""
    there = files(output) if output.exists() else {}
    part = {name: data for name, data in there.items() if "/.latentlake-" not in name}
    if (output / "_SUCCESS").exists():
        assert_same(part, work.clean)
    part.pop("_manifest.parquet", None)
    assert_same(part, {name: work.clean[name] for name in part})
    for receipt in receipts(output).values():
        for made in receipt.outputs:
            data = (output / made.name).read_bytes()
            assert (len(data), f"{google_crc32c.value(data):08x}") == (made.size, made.crc32c), made.name


def receipts(output: Path) -> dict[str, Receipt]:
    """Of all units that are done."""
    layout = Layout(str(output))
    found = {**read_manifest(layout), **read_receipts(layout)} if output.exists() else {}
    return {unit: receipt for unit, receipt in found.items() if receipt.error is None}


def marks(output: Path) -> Marks:
    """What tells of each file that has a receipt whether it was written again."""
    made = [output / part.name for receipt in receipts(output).values() for part in receipt.outputs]
    stats = {str(path): path.stat() for path in made}
    return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in stats.items()}


def unchanged(output: Path, before: Marks) -> Marks:
    """Make sure that what had a receipt is the very file that it was."""
    now = {path: (Path(path).stat().st_ino, Path(path).stat().st_mtime_ns) for path in before}
    assert now == before
    return now


def assert_same(found: dict[str, bytes], wanted: dict[str, bytes]) -> None:
    """Equal names and bytes; an error names the files rather than showing them."""
    differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    assert not differing, differing


def session(leader: int) -> list[int]:
    """Ids of the processes that a child and all that it started are, of those that still run."""
    found = list[int]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, _, _, group = path.read_text().rpartition(")")[2].split()[:4]
            found += [int(path.parent.name)] * (int(group) == leader and state not in "ZX")
    return sorted(found)


def instants(work: Work, count: int, seed: int) -> Iterator[tuple[str, Harm]]:
    """Kills all over the life of a run: a third at instants, most of the others at calls, and some as files appear."""
    rng = random.Random(seed)
    watched = ("_manifest.parquet", "_SUCCESS", "_receipts/*/*.json", "**/.latentlake-*", "_plan/*/summary.json")
    for number in range(count):
        if number % 3 == 0:
            seconds = rng.uniform(0, work.seconds)
            yield f"after {seconds:.2f} s", Kill.after(seconds)
        elif number % 3 == 1 or number % 6 == 2:
            call = rng.randrange(1, work.calls + 1)
            yield f"before call {call} of {work.calls}", Kill.at_call(call)
        else:
            pattern = rng.choice(watched)
            yield f"on {pattern}", Kill.on(pattern)


def flaws(most: int = 7) -> Iterator[Flaw]:
    """Every kind of flaw at every k-th call, k = 1 to 7, of the input, of the model and of the output."""
    for where, every in itertools.product(("/in/", "/bundle/", "/out/"), range(1, most + 1)):
        calls = READS if where != "/out/" else (*READS, *WRITES)
        for what, call in itertools.product(("fail", "late", "stall"), calls):
            yield Flaw(what=what, calls=(call,), where=where, every=every)
        for what, call in itertools.product(("cut", "flip"), ("read", "write")):
            if call in calls:
                yield Flaw(what=what, calls=(call,), where=where, every=every)


def race(nursery: Nursery, work: Work, output: Path) -> list[int]:
    """Two runs that start at once; their exit statuses in ascending order."""
    logs = [output.with_name(f"{output.name}.{number}.log") for number in range(2)]
    racers = [nursery.start(work.command(output), log) for log in logs]
    statuses = sorted(racer.wait() for racer in racers)
    check_whole(work, output)
    loser = next((racer for racer in racers if racer.status == 4), None)
    assert loser is None or loser.said.startswith(f"error: {output} is in use by run "), loser.said
    return statuses


def starve(nursery: Nursery, work: Work, output: Path, limits: Limits) -> Child:
    """A run that lacks something; where it ends with an error, that is one line, and nothing partial is visible."""
    child = nursery.run(work.command(output), log_of(output), limits=limits)
    check_halfway(work, output)
    check_said(child)
    return child


def suffer(nursery: Nursery, work: Work, output: Path, flaw: Flaw) -> Child:
    """A run on a store with a flaw, then one on a healthy store: the first must give the clean output or an error."""
    child = flaky(nursery, work, output, flaw, scheme="flaky://")
    if child.status == 0:
        check_whole(work, output)
    check_said(child)
    check_halfway(work, output)
    finish(nursery, work, output)
    return child


def flaky(nursery: Nursery, work: Work, output: Path, flaw: Flaw, scheme: str = "") -> Child:
    """A run on a store with a flaw."""
    arguments = [json.dumps(asdict(flaw)), *work.command(output, scheme)]
    return nursery.run(arguments, log_of(output), call=FLAKY)


def check_said(child: Child) -> None:
    """A run that ends with an error says so in one line."""
    if child.status:
        lines = [line for line in child.said.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, child.said
        assert "Traceback" not in child.said, child.said


def log_of(output: Path) -> Path:
    """Where a run says what it has to say."""
    output.parent.mkdir(parents=True, exist_ok=True)
    return output.with_name(f"{output.name}.log")


def _killed(child: Child) -> Child:
    if not child.ended:
        os.kill(child.pid, signal.SIGKILL)
    return child


def figures(seconds: Sequence[float]) -> dict[str, Any]:
    """Least, middle and greatest."""
    ordered = sorted(seconds)
    return {"least": ordered[0], "median": ordered[len(ordered) // 2], "most": ordered[-1]}

"""Runs that lose their output to another one and come back, as processes of machines that cannot see each other."""

import json
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import TypeAlias

from lake.storage import local_lock, request_retry
from lake.storage.local_walk import TEMPORARY
from pipeline.cli.command import main as run
from pipeline.output.fencing import lease, lease_record
from pipeline.output.verify.report import VerifyReport
from tests.faults import flaky
from tests.faults.flaky import Flaw
from tests.faults.forkserver import Child, Nursery
from tests.faults.overtaken_stories import DEAD, EXPIRY, PATIENCE, STORIES, Job, Moment, Story
from tests.faults.torture import assert_same, make_shards

CALL = "tests.faults.overtaken:main"

Files: TypeAlias = Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where a run is at work.

    name: no two runs of one name are at work at once.
    patience: seconds after which it gives a request up, and repeats it.
    flaw: of its disk.
    """

    name: str
    patience: float = PATIENCE
    flaw: Flaw | None = None

    def words(self, command: Sequence[str]) -> list[str]:
        """The arguments of ``main``."""
        return [json.dumps(asdict(self)), *command]


def main(arguments: Sequence[str]) -> int:
    """``python -m pipeline`` on a machine, which comes first, as JSON, and with a lease of a short life."""
    machine, *command = arguments
    given = json.loads(machine)
    lease_record.EXPIRY, lease.RENEWAL, local_lock.WAIT = EXPIRY, EXPIRY / 8, EXPIRY
    lease.this_place = lambda: given["name"]
    request_retry.REQUESTS = request_retry.RequestBackoff(first=0.05, most=0.2, deadline=120, stall=given["patience"])
    return run(command) if given["flaw"] is None else flaky.main([json.dumps(given["flaw"]), *command])


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """A run that is held up, and what lets it go on."""

    child: Child
    go_on: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """How two runs ended: the one that was held up, and the one that went on without it.

    held: the first run's id, if it had the output when it was held up, and something to do; else "".
    holder: the run that had it when the first one went on; "" for none.
    cleaned: the first run had nothing left to do but to give its lease back.
    """

    late: Child
    next: Child
    held: str
    holder: str
    cleaned: bool

    @property
    def overtook(self) -> bool:
        """Whether the first lost the output while it was held up."""
        return bool(self.held) and self.holder != self.held


class Place(ABC):
    """Jobs over six shards, or eleven, with one of two models, in one store; and what each makes undisturbed.

    Args:
      nursery: begins the processes.
      folder: for the shards, and for what the processes say.
      models: two bundles.
    """

    def __init__(self, nursery: Nursery, folder: Path, models: Sequence[str]) -> None:
        self.nursery, self.folder, self.models = nursery, folder, models
        make_shards(folder / "in")
        shutil.copytree(folder / "in", folder / "more", copy_function=shutil.copy2)  # times are of their identity
        make_shards(folder / "more/new", 5)
        self.clean = {job: self._undisturbed(job) for job in {story.next for story in STORIES}}

    def _undisturbed(self, job: Job) -> Files:
        output = clean_name(job)
        self.made(output, job)
        return self.data(output)

    def made(self, output: str, job: Job, *more: str) -> Child:
        """Run a job that nothing disturbs."""
        words = Machine(name="alone").words(self.command(output, job, *more))
        child = self.nursery.run(words, self.folder / "log", call=CALL)
        assert child.status == 0, child.said
        return child

    def command(self, output: str, job: Job, *more: str) -> list[str]:
        """The command line of a job."""
        named = {"--input": self.folder / job[1], "--model": self.models[job[0]], "--output": self.uri(output)}
        words = [word for name, value in named.items() for word in (name, str(value))]
        return ["reconstruct", *words, "--max-reject-fraction", "0.2", "--overwrite", *more]

    @abstractmethod
    def uri(self, output: str) -> str:
        """URI of an output."""

    @abstractmethod
    def prepare(self, output: str, story: Story) -> None:
        """Make the output that a story begins with, and the lease of a run that died where it is about a clean-up."""

    @abstractmethod
    def data(self, output: str) -> Files:
        """Files of data and the manifest."""

    def begun(self, output: str) -> Sequence[str]:
        """Temporary files, which only a disk has."""
        del output
        return ()

    @abstractmethod
    def get(self, output: str, name: str) -> bytes:
        """One file; empty if it is not there."""

    @abstractmethod
    def plans(self, output: str) -> Sequence[str]:
        """Names of the files of plans."""

    def cleaned(self, output: str) -> bool:
        """Whether a run that has committed has done its clean-up, which removes plans last."""
        return all(name.endswith("/summary.json") for name in self.plans(output))

    @abstractmethod
    def verified(self, output: str) -> VerifyReport:
        """What ``verify --deep`` says."""

    @abstractmethod
    def late(self, output: str, story: Story, moment: Moment, log: Path) -> AbstractContextManager[Late]:
        """A run that is held up when the block begins, or has ended."""

    @abstractmethod
    def requests(self, story: Story) -> int:
        """How many requests there are at which a run can be held up."""

    def holder(self, output: str) -> str:
        """The run that has an output now."""
        while data := self.get(output, "_hold"):
            try:
                return str(json.loads(data)["run"])
            except ValueError:  # on a disk it is written in place
                time.sleep(0.01)
        return ""


def clean_name(job: Job) -> str:
    """The output of a job that nothing disturbed."""
    return f"clean-{job[0]}-{job[1]}"


def tell(place: Place, story: Story, moment: Moment, output: str, folder: Path) -> Ends:
    """Let a story happen, and check how it ends.

    Raises:
      AssertionError: a committed byte is lost or changed, or a run does not say how it ended.
    """
    place.prepare(output, story)
    with place.late(output, story, moment, folder / "late.log") as late:
        holder = "" if late.child.ended else place.holder(output)
        # All that is left of a run whose clean-up is done is its lease. It may yet notice that it has lost it.
        cleaned = story.committed and place.cleaned(output)
        held, seen = "" if holder == DEAD or cleaned else holder, list[str]()
        with _going_on(late, lambda: seen.append(place.holder(output)), moment.pause):
            other = take_over(place, output, story, folder / "next.log")
            committed = _everything(place, output)
        late.child.wait()
    if other.status == 4:  # the late run stood still while one of its threads had the lock of a disk's lease
        other = take_over(place, output, story, folder / "next.log")
        committed = _everything(place, output)
    ends = Ends(late=late.child, next=other, held=held, holder=seen[0], cleaned=cleaned)
    check_ends(ends)
    assert_same(_everything(place, output), committed)
    if place.begun(output):
        remove_begun(place, output, story, ends)
    assert_same(place.data(output), place.clean[story.next])
    check_rest(place, output, story)
    return ends


def _everything(place: Place, output: str) -> dict[str, bytes]:
    """What readers see. The late run may be at work, and files that it only begins may be there at one look."""
    found = {**place.data(output), "_SUCCESS": place.get(output, "_SUCCESS")}
    return {name: data for name, data in found.items() if not PurePath(name).name.startswith(TEMPORARY)}


@contextmanager
def _going_on(late: Late, before: Callable[[], None], pause: float | None) -> Iterator[None]:
    """The late run goes on after a pause, or at the end of the block."""

    def go_on() -> None:
        before()
        late.go_on()

    timer = None if pause is None else threading.Timer(pause, go_on)
    if timer is not None:
        timer.start()
    yield
    if timer is None:
        go_on()
    else:
        timer.join()


def take_over(place: Place, output: str, story: Story, log: Path) -> Child:
    """A run that is started again until the lease of the one before has expired."""
    words = Machine(name="next").words(place.command(output, story.next, *story.options))
    end = time.monotonic() + 6 * EXPIRY
    while (child := place.nursery.run(words, log, call=CALL)).status == 4 and time.monotonic() < end:
        time.sleep(EXPIRY / 4)
    return child


def check_ends(ends: Ends) -> None:
    """The run that lost the output says so and ends with 4."""
    assert ends.next.status == 0, ends.next.said
    if ends.overtook:
        assert ends.late.status == 4, (ends.late.status, ends.late.said)
        lines = [line for line in ends.late.said.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, ends.late.said
        # The latter where it was held up before its plan was written.
        assert any(why in lines[0] for why in (f"no longer held by run {ends.held}", "was written to by run")), lines[0]
    else:
        assert ends.late.status in ((0, 4) if ends.held or ends.cleaned else (0,)), ends.late.said


def remove_begun(place: Place, output: str, story: Story, ends: Ends) -> None:
    """The late process has ended while another of its threads was writing a file. The next commit removes that."""
    assert ends.late.status == 4, (place.begun(output), ends.late.said)
    model, source = story.next
    for job in ((1 - model, source), story.next):
        place.made(output, job)
        assert not place.begun(output)


def check_rest(place: Place, output: str, story: Story) -> None:
    """Nobody holds the output, its files are what its manifest says, and there is nothing to do."""
    report = place.verified(output)
    assert (report.problems, report.extra) == ((), ()), report.describe()
    assert place.holder(output) == ""
    before = place.data(output)
    # It removes a receipt whose request was given up and arrived after the commit, and writes ``_SUCCESS`` again then.
    assert "nothing to do" in place.made(output, story.next).said
    assert_same(place.data(output), before)

"""On a disk: a process that stands still at one of its calls of the store, and goes on when another has its output."""

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePath

from lake.storage.local_walk import TEMPORARY
from pipeline.output.verify import verify
from pipeline.output.verify.report import VerifyReport
from tests.faults.flaky import Flaw
from tests.faults.outputs import files, litter
from tests.faults.overtaken import CALL, Files, Late, Machine, Place, clean_name
from tests.faults.overtaken_stories import Moment, Story, dead_lease

# Renewals of the lease are not counted: they go by the clock.
CALLS = ("create", "write", "publish", "delete")


class Disk(Place):
    """Outputs below a folder."""

    def uri(self, output: str) -> str:
        return str(self.folder / output)

    def prepare(self, output: str, story: Story) -> None:
        before = self.folder / clean_name(story.before)
        shutil.copytree(before, self.folder / output, copy_function=shutil.copy2)
        if story.committed:
            (self.folder / output / "_hold").write_bytes(dead_lease())

    def data(self, output: str) -> Files:
        return files(self.folder / output)

    def begun(self, output: str) -> list[str]:
        return [name for name in litter(self.folder / output) if PurePath(name).name.startswith(TEMPORARY)]

    def get(self, output: str, name: str) -> bytes:
        try:
            return (self.folder / output / name).read_bytes()
        except FileNotFoundError:
            return b""

    def plans(self, output: str) -> list[str]:
        return [str(path) for path in (self.folder / output / "_plan").rglob("*") if path.is_file()]

    def verified(self, output: str) -> VerifyReport:
        assert litter(self.folder / output) == []
        return verify(self.uri(output), deep=True)

    @contextmanager
    def late(self, output: str, story: Story, moment: Moment, log: Path) -> Iterator[Late]:
        before = self._number_of_success(story) if story.committed else 0
        flaw = Flaw(what="stop", calls=CALLS, first=before + 1 + moment.number, delay=moment.delay)
        words = Machine(name="late", flaw=flaw).words(self.command(output, story.late))
        child = self.nursery.start(words, log, call=CALL)
        try:
            while not (child.ended or child.stands_still):
                time.sleep(0.001)
            yield Late(child=child, go_on=lambda: os.kill(child.pid, signal.SIGCONT))
        finally:
            if child.status is None:
                os.kill(child.pid, signal.SIGKILL)
                child.wait()

    def requests(self, story: Story) -> int:
        first = self._number_of_success(story)
        return len(self.calls(story)) - first if story.committed else first

    def _number_of_success(self, story: Story) -> int:
        """How many calls there are until ``_SUCCESS`` is there."""
        said = f"publish {self.uri(f'counted-{story}')}/_SUCCESS"
        return self.calls(story).index(said) + 1

    @cache  # noqa: B019 (there is one for each kind of store)
    def calls(self, story: Story) -> Sequence[str]:
        """The calls of a late run that nothing holds up."""
        output = f"counted-{story}"
        self.prepare(output, story)
        flaw = Flaw(what="tell", calls=CALLS, every=1)
        words = Machine(name="late", flaw=flaw).words(self.command(output, story.late))
        child = self.nursery.run(words, self.folder / "log", call=CALL)
        assert child.status == 0, child.said
        return [line.removeprefix("call ") for line in child.said.splitlines() if line.startswith("call ")]

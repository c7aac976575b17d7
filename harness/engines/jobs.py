"""Jobs as a user starts them, in a process of their own."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.processes import Part, start

SECONDS = 300  # that a job may take, with what befalls it


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A job that was started."""

    part: Part
    place: Path

    @property
    def ended(self) -> bool:
        return self.part.process.poll() is not None

    def wait(self) -> int:
        """Its exit status."""
        return self.part.process.wait(SECONDS)

    @property
    def counters(self) -> dict[str, int]:
        """What Beam counted, of a run that has ended well."""
        counters: dict[str, int] = json.loads((self.place / "counters.json").read_text())
        return counters


@contextmanager
def begun(command: Sequence[str], place: Path) -> Iterator[Run]:
    """A job that runs during the block at most; its log and its counters are in a directory."""
    place.mkdir(parents=True, exist_ok=True)
    driver = [sys.executable, "-m", "harness.engines.drive", place / "counters.json", *command]
    job = Run(part=start(driver, place / "log"), place=place)
    try:
        yield job
    finally:
        job.part.kill()


def run(command: Sequence[str], place: Path) -> Run:
    """A job that has ended well."""
    with begun(command, place) as job:
        assert job.wait() == 0, job.part.said
    return job

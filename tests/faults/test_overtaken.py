"""On a disk: a run that stood still while another one took its output over changes nothing that this one committed."""

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.output.verify import verify
from tests.conftest import Model, make_model
from tests.faults.forkserver import Nursery
from tests.faults.outputs import files, litter
from tests.faults.overtaken import CALL, Files, check, dead_lease, stopped
from tests.faults.torture import make_shards

pytestmark = pytest.mark.timeout(300)


class Jobs:
    """Commands over six shards, or eleven, with one of two models; and what each makes when nothing disturbs it."""

    def __init__(self, nursery: Nursery, place: Path, models: Sequence[str]) -> None:
        self.nursery, self.place, self.models = nursery, place, models
        make_shards(place / "in")
        shutil.copytree(place / "in", place / "more", copy_function=shutil.copy2)
        make_shards(place / "new", 5)
        (place / "new").rename(place / "more/new")
        self.clean: dict[tuple[int, str], Files] = {}
        for model, source in ((0, "in"), (1, "in"), (0, "more")):
            output = place / f"clean-{model}-{source}"
            child = nursery.run(["clean", *self.command(output, model, source)], place / "log", call=CALL)
            assert child.status == 0, child.said
            self.clean[model, source] = files(output)

    def command(self, output: Path, model: int, source: str = "in", *more: str) -> list[str]:
        named = {"--input": self.place / source, "--model": self.models[model], "--output": output}
        words = [word for name, value in named.items() for word in (name, str(value))]
        return ["reconstruct", *words, "--max-reject-fraction", "0.2", "--overwrite", *more]

    def output(self, place: Path, model: int, source: str = "in") -> Path:
        """One that is complete, and beside which a run died."""
        shutil.copytree(self.place / f"clean-{model}-{source}", place / "out", copy_function=shutil.copy2)
        (place / "out/_hold").write_bytes(dead_lease())
        return place / "out"


@pytest.fixture(scope="module")
def jobs(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory, model: Model) -> Jobs:
    other = make_model(tmp_path_factory.mktemp("other"), 8)
    return Jobs(nursery, tmp_path_factory.mktemp("jobs"), (model.bundle, other.bundle))


def judge(output: Path) -> None:
    assert litter(output) == []
    report = verify(str(output), deep=True)
    assert (report.problems, report.extra) == ((), ()), report.describe()


def appears(output: Path, pattern: str, count: int = 1) -> Callable[[], bool]:
    before = {path: path.stat().st_mtime_ns for path in output.glob(pattern)}

    def here() -> bool:
        try:
            now = {path: path.stat().st_mtime_ns for path in output.glob(pattern)}
        except FileNotFoundError:
            return False
        return sum(before.get(path) != time for path, time in now.items()) >= count

    return here


def clean_up_late(jobs: Jobs, place: Path, pause: float, *, mirrored: bool) -> None:
    """The late run has committed, and stands still before it cleans up; the next one adds shards, or takes some out."""
    late, next = ("more", "in") if mirrored else ("in", "more")
    output = jobs.output(place, 0, "in")
    more = ["--prune"] if mirrored else []
    ends = stopped(
        jobs.nursery,
        appears(output, "_SUCCESS"),
        jobs.command(output, 0, late),
        jobs.command(output, 0, next, *more),
        place,
        pause,
    )
    check(ends, files(output), jobs.clean[0, next])
    judge(output)


def publish_late(jobs: Jobs, place: Path, count: int, pause: float, *, mirrored: bool) -> None:
    """The late run stands still while it replaces what a model made by what another one makes."""
    late, next = (0, 1) if mirrored else (1, 0)
    output = jobs.output(place, next)
    ends = stopped(
        jobs.nursery,
        appears(output, "latents/*/*.parquet", count),
        jobs.command(output, late),
        jobs.command(output, next),
        place,
        pause,
    )
    check(ends, files(output), jobs.clean[next, "in"])
    judge(output)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_late_clean_up(jobs: Jobs, tmp_path: Path, mirrored: bool) -> None:
    clean_up_late(jobs, tmp_path, 0.0, mirrored=mirrored)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_late_publish(jobs: Jobs, tmp_path: Path, mirrored: bool) -> None:
    publish_late(jobs, tmp_path, 2, 0.0, mirrored=mirrored)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mirrored", [False, True])
def test_at_any_instant(jobs: Jobs, tmp_path: Path, mirrored: bool) -> None:
    dice = random.Random(7 + mirrored)
    for number in range(20):
        for name, act in (
            ("clean-up", lambda place: clean_up_late(jobs, place, dice.uniform(0, 0.05), mirrored=mirrored)),
            (
                "publish",
                lambda place: publish_late(jobs, place, dice.randint(1, 6), dice.uniform(0, 0.1), mirrored=mirrored),
            ),
        ):
            (tmp_path / f"{name}{number}").mkdir()
            act(tmp_path / f"{name}{number}")

"""On a disk: a run that stood still while another one took its output over changes nothing that this one committed."""

import random
from pathlib import Path

import pytest

from tests.conftest import Model, make_model
from tests.faults.forkserver import Nursery
from tests.faults.overtaken import tell
from tests.faults.overtaken_on_disk import Disk
from tests.faults.overtaken_stories import STORIES, Moment, Story

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


@pytest.fixture(scope="module")
def disk(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory, model: Model) -> Disk:
    other = make_model(tmp_path_factory.mktemp("other"), 8)
    return Disk(nursery, tmp_path_factory.mktemp("disk"), (model.bundle, other.bundle))


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_run_that_stood_still(disk: Disk, tmp_path: Path, story: Story) -> None:
    requests = disk.requests(story)
    # Not at every one is the output lost: another thread may be within the lock, which nobody else gets then.
    numbers = (0, 1, 2) if story.committed else (requests // 2, requests // 3, requests - 1)
    assert any(tell(disk, story, Moment(number=n), f"{story}-at-{n}", tmp_path).overtook for n in numbers)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("story", STORIES, ids=str)
def test_at_any_instant(disk: Disk, tmp_path: Path, story: Story) -> None:
    dice, overtook = random.Random(str(story)), list[bool]()
    # At some instants the output is not lost; it is at one of twenty at least.
    while len(overtook) < 5 or (not any(overtook) and len(overtook) < 20):
        moment = Moment.random(dice, disk.requests(story))
        overtook.append(tell(disk, story, moment, f"{story}-{len(overtook)}", tmp_path).overtook)
    assert any(overtook)

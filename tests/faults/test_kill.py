"""A job that is killed at any instant and run again leaves what an undisturbed run does, and does nothing twice."""

import signal
from pathlib import Path

import pytest

from tests.conftest import long_forms
from tests.faults.forkserver import Nursery
from tests.faults.torture import Kill, Work, survive


@pytest.mark.parametrize("share", [0.8, *long_forms(0.3)])
@pytest.mark.slow
def test_at_an_instant(nursery: Nursery, work: Work, tmp_path: Path, share: float) -> None:
    survive(nursery, work, tmp_path / "out", [Kill.after(work.seconds * share)])


@pytest.mark.parametrize("left", [4, *long_forms(0, 20)])
@pytest.mark.slow
def test_before_a_call(nursery: Nursery, work: Work, tmp_path: Path, left: int) -> None:
    statuses = survive(nursery, work, tmp_path / "out", [Kill.at_call(work.calls - left)])
    assert statuses == [-signal.SIGKILL]


def test_again_and_again(nursery: Nursery, work: Work, tmp_path: Path) -> None:
    harms = [Kill.on("_receipts/*/*.json"), Kill.on("_manifest.parquet"), Kill.on("_SUCCESS")]
    survive(nursery, work, tmp_path / "out", harms)

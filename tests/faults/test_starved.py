"""Runs that lack something: each ends with one clear line, leaves nothing partial, and is completed by the next run."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import long_forms
from tests.faults.forkserver import Child, Limits, Nursery
from tests.faults.outputs import litter, success
from tests.faults.torture import (
    Work,
    check_halfway,
    check_said,
    finish,
    log_of,
    starve,
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 96 KiB, where this user may mount one; else a plain folder."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)]
    mounted = shutil.which("mount") and not subprocess.run(mount, capture_output=True, check=False).returncode
    yield disk
    if mounted:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("most", [2_000, *long_forms(600, 9_000)])
def test_files_that_may_not_grow(nursery: Nursery, work: Work, tmp_path: Path, most: int) -> None:
    child = starve(nursery, work, tmp_path / "out", Limits(file_size=most))
    assert child.status == 1
    assert "File too large" in child.said
    assert str(tmp_path / "out") in child.said
    finish(nursery, work, tmp_path / "out")


@pytest.mark.parametrize("filled", [60_000, *long_forms(30_000, 80_000)])
def test_a_full_disk(nursery: Nursery, work: Work, small_disk: Path, tmp_path: Path, filled: int) -> None:
    (small_disk / "filler").write_bytes(bytes(filled))
    limits = Limits() if small_disk.is_mount() else Limits(file_size=filled // 30)
    child = starve(nursery, work, small_disk / "out", limits)
    assert child.status == 1
    assert f"No space left on device: '{small_disk}" in child.said or not small_disk.is_mount()
    shutil.copytree(small_disk / "out", tmp_path / "out", symlinks=True)  # to where there is room
    finish(nursery, work, tmp_path / "out")


@pytest.mark.parametrize("most", [20, *long_forms(12, 40)])
def test_few_open_files(nursery: Nursery, work: Work, tmp_path: Path, most: int) -> None:
    child = starve(nursery, work, tmp_path / "out", Limits(open_files=most))
    if child.status:
        assert "Too many open files" in child.said
    finish(nursery, work, tmp_path / "out")


def test_an_output_that_is_read_only(nursery: Nursery, work: Work, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o555)
    child = starve(nursery, work, tmp_path / "out", Limits(plain=True))
    assert child.status == 1
    assert f"Permission denied: '{tmp_path / 'out'}" in child.said
    assert [*(tmp_path / "out").iterdir()] == []


def test_an_output_that_is_a_file(nursery: Nursery, work: Work, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a letter")
    child = nursery.run(work.command(tmp_path / "out"), tmp_path / "log")
    assert child.status in (1, 2)
    check_said(child)
    assert str(tmp_path / "out") in child.said
    assert (tmp_path / "out").read_text() == "a letter"


@pytest.mark.slow
def test_a_shard_that_may_not_be_read(nursery: Nursery, work: Work, tmp_path: Path) -> None:
    mine = own(work, tmp_path)
    shard = mine.source / "a/00004.parquet"
    shard.chmod(0)
    fails(nursery, mine, tmp_path, "a/00004", "Permission denied", Limits(plain=True))
    shard.chmod(0o644)
    finish(nursery, mine, tmp_path / "out")


@pytest.mark.slow
def test_a_shard_that_is_deleted_while_the_job_runs(nursery: Nursery, work: Work, tmp_path: Path) -> None:
    mine, output = own(work, tmp_path), tmp_path / "out"
    shard = mine.source / "b/00005.parquet"
    child = nursery.start(mine.command(output), log_of(output))
    while not child.ended and next(output.glob("_plan/*/part-00000.jsonl"), None) is None:
        pass
    shard.unlink()
    failed(child, mine, output, "b/00005", "No such file or directory")
    shutil.copy2(work.source / "b/00005.parquet", shard)
    finish(nursery, mine, output)


@pytest.mark.slow
def test_a_shard_whose_output_would_have_too_long_a_name(nursery: Nursery, work: Work, tmp_path: Path) -> None:
    """A name has 255 bytes: the shard's is just as long, its receipt's would be longer with the directory's."""
    mine = own(work, tmp_path)
    name = "n" * (255 - len(".pq"))
    shutil.copy2(mine.source / "a/00000.parquet", mine.source / f"a/{name}.pq")
    fails(nursery, mine, tmp_path, f"a/{name}", "File name too long", Limits())
    (mine.source / f"a/{name}.pq").unlink()
    finish(nursery, mine, tmp_path / "out")


def own(work: Work, place: Path) -> Work:
    """The work over shards of its own, of the same names and times."""
    shutil.copytree(work.source, place / "in")
    return replace(work, source=place / "in")


def fails(nursery: Nursery, work: Work, place: Path, unit: str, why: str, limits: Limits) -> None:
    """One unit fails by name, and all others are done."""
    child = nursery.start(work.command(place / "out"), log_of(place / "out"), limits=limits)
    failed(child, work, place / "out", unit, why)


def failed(child: Child, work: Work, output: Path, unit: str, why: str) -> None:
    assert child.wait() == 3, child.said
    check_said(child)
    assert f"failed: {unit}" in child.said
    assert why in child.said
    check_halfway(work, output)
    assert litter(output) == []
    assert not (output / "_SUCCESS").exists()


def test_what_an_undisturbed_run_says_of_itself(nursery: Nursery, work: Work, tmp_path: Path) -> None:
    """What the other tests compare with is whole."""
    finish(nursery, work, tmp_path / "out")
    assert success(tmp_path / "out")["complete"]

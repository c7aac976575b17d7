"""A job that is killed at any instant and run again leaves what an undisturbed run does, and does nothing twice."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from lake.cli.interrupt import _descendants
from tests.conftest import Model, Pixels, long_forms, png, write_parquet
from tests.faults.beside import CALL
from tests.faults.damaged import Container, npy
from tests.faults.forkserver import Nursery
from tests.faults.torture import Kill, Work, check_halfway, check_whole, finish, log_of, survive, undisturbed
from tests.model.nets import open_autoencoder


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


@pytest.mark.slow
def test_again_and_again_in_partitions(nursery: Nursery, work: Work, tmp_path: Path) -> None:
    """A unit has forty files of latents, of which some are there when its run is killed."""
    by_label = Work(
        verb="encode", source=work.source, bundle=work.bundle, options=(*work.options, "--partition-by=label")
    )
    harms = [Kill.on("latents/*/*/*.parquet"), Kill.on("_receipts/*/*.json"), Kill.on("_manifest.parquet")]
    survive(nursery, undisturbed(nursery, by_label, tmp_path), tmp_path / "out", harms)


@pytest.mark.parametrize("harm", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.slow
def test_with_a_process_beside(nursery: Nursery, work: Work, tmp_path: Path, harm: signal.Signals) -> None:
    output = tmp_path / "out"
    child = nursery.start(work.command(output), log_of(output), call=CALL)
    beside = process_beside(child.pid)
    while not any(output.glob("_receipts/*/*")) and alive(child.pid):
        time.sleep(0.01)
    os.kill(child.pid, harm)
    assert child.wait() in (130, -signal.SIGKILL), child.said
    while alive(beside):  # by the end of its input
        time.sleep(0.01)
    check_halfway(work, output)
    finish(nursery, work, output)


@pytest.mark.slow
def test_the_process_beside(nursery: Nursery, work: Work, tmp_path: Path) -> None:
    """What it was at is done again, and the job needs no other run."""
    output = tmp_path / "out"
    child = nursery.start(work.command(output), log_of(output), call=CALL)
    os.kill(process_beside(child.pid), signal.SIGKILL)
    assert child.wait() == 0, child.said
    check_whole(work, output)


def process_beside(pid: int) -> int:
    """The process that a job has started for its units."""
    while not (found := _descendants(pid)):
        time.sleep(0.01)
    return found[0]


def alive(pid: int) -> bool:
    """A process that has ended and that nobody has asked for yet has no command line."""
    return Path(f"/proc/{pid}/cmdline").exists() and bool(Path(f"/proc/{pid}/cmdline").read_bytes())


@pytest.mark.parametrize(
    ("kind", "verb", "options"),
    [
        ("npy chw", "reconstruct", ("--layout", "chw")),
        ("csv", "reconstruct", ("--output-format", "array")),
        ("arrow", "encode", ()),
        ("one image", "encode", ("--format", "npy")),
    ],
)
@pytest.mark.slow
def test_again_and_again_over_shards_of_numbers(
    nursery: Nursery,
    intact: dict[str, Container],
    model: Model,
    digits: Pixels,
    tmp_path: Path,
    kind: str,
    verb: str,
    options: tuple[str, ...],
) -> None:
    files = {f"{at}.npy": npy(digit) for at, digit in enumerate(digits[:40])}
    if kind != "one image":
        files = {intact[kind].name: intact[kind].data}
    for folder in "abcd":
        for name, data in files.items():
            (tmp_path / "in" / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / folder / name).write_bytes(data)
    work = Work(verb=verb, source=tmp_path / "in", bundle=Path(model.bundle), options=options)
    harms = [Kill.on("_receipts/*/*.json"), Kill.on("_manifest.parquet"), Kill.on("_SUCCESS")]
    survive(nursery, undisturbed(nursery, work, tmp_path), tmp_path / "out", harms)


@pytest.mark.parametrize(
    ("format", "files"),
    [
        ("parquet", "latents/*/*.parquet"),
        ("webdataset", "latents/*/*.tar"),
        ("mds", "latents/*/*/index.json"),
        ("arrayrecord", "latents/*/*.arrayrecord"),
    ],
)
@pytest.mark.slow
def test_a_cache_of_latents_of_many_sizes(nursery: Nursery, tmp_path: Path, format: str, files: str) -> None:
    """A model of any size, in aspect buckets, killed again and again."""
    from lake.core.tensorflow import keras
    from model.export import export

    keras().utils.set_random_seed(2)
    open_autoencoder().save(tmp_path / "open.keras")
    export(tmp_path / "open.keras", "latent", str(tmp_path / "bundle"))
    rng = np.random.default_rng(3)
    for shard in range(4):
        sides = rng.integers(9, 70, (12, 2)).tolist()
        images = [png(rng.integers(0, 256, (*size, 3), np.uint8)) for size in sides]
        write_parquet(tmp_path / f"in/{'ab'[shard % 2]}/{shard}.parquet", images, range(len(images)))
    options = ("--bucket", "16", "--max-area", "48x48", "--latent-format", format)
    work = Work(verb="encode", source=tmp_path / "in", bundle=tmp_path / "bundle", options=options)
    harms = [Kill.on(files), Kill.on("_receipts/*/*.json"), Kill.on("_SUCCESS")]
    survive(nursery, undisturbed(nursery, work, tmp_path), tmp_path / "out", harms)

"""Engines that run all the session, and a job for them with what it leaves when nothing disturbs it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness.engines.flink import Flink, running
from harness.engines.jobs import run
from harness.processes import ROOT
from tests.conftest import Pixels, png, write_parquet
from tests.faults.outputs import files
from tests.faults.torture import Work

SHARDS, RECORDS = 48, 600
TRUTH = {  # every 13th record of a shard is no image
    "records_read": SHARDS * RECORDS,
    "results": SHARDS * (RECORDS - RECORDS // 13),
    "rejects": SHARDS * (RECORDS // 13),
    "rejects_unknown_format": SHARDS * (RECORDS // 13),
    "units_done": SHARDS,
}


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory, digits: Pixels) -> Work:
    """Latents of many small shards of digits by a trained model, and the output of Beam's local runner."""
    folder = tmp_path_factory.mktemp("work")
    images = [png(image) for image in digits]
    for number in range(SHARDS):
        chosen = [images[(37 * number + i) % len(images)] for i in range(RECORDS)]
        chosen[12::13] = [b"no image"] * len(chosen[12::13])
        write_parquet(folder / "in" / f"{'ab'[number % 2]}/{number:05d}.parquet", chosen, range(RECORDS))
    work = Work(
        verb="encode",
        source=folder / "in",
        bundle=ROOT / "model/zoo/mnist-autoencoder",
        options=("--resize", "stretch", "--max-reject-fraction", "0.2"),
    )
    assert run(work.command(folder / "clean"), folder).counters == TRUTH
    return replace(work, clean=files(folder / "clean"))


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flink]:
    with running(tmp_path_factory.mktemp("flink")) as cluster:
        yield cluster


@pytest.fixture
def flink(started: Flink) -> Flink:
    """A Flink cluster of two machines, both well."""
    for node in started.nodes:
        if node.manager.process.poll() is not None:
            node.restart()
    started.await_managers(len(started.nodes))
    return started

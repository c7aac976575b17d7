"""Jobs that keep a Lance dataset of their latents, night after night."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake.core.errors import LatentlakeError
from pipeline.explore.output import Output
from pipeline.options.job_options import Scope
from pipeline.output.commit import commit, publish_state
from pipeline.output.verify import verify
from pipeline.tables.lance import LanceTable
from tests.conftest import long_forms, write_parquet
from tests.pipeline.conftest import run_job
from tests.pipeline.tables.test_lance import dataset_of


class Night:
    """A job that is run again and again."""

    def __init__(self, folder: Path, files: list[bytes]) -> None:
        self.input, self.output, self._files = folder / "in", folder / "out", files
        for name, start in (("a", 0), ("b", 10)):
            self.shard(name, start)

    def shard(self, name: str, start: int, count: int = 10) -> None:
        write_parquet(self.input / f"{name}.parquet", self._files[start : start + count], [*range(count)])

    def run(self, **options: Any) -> dict[str, Any]:
        given = {"table": "lance", "resize": "stretch", **options}
        return run_job("encode", self.input, "zoo:mnist-autoencoder", self.output, **given)

    def check(self, version: int) -> None:
        """The dataset has the rows of the manifest's files, as this version, and verify agrees."""
        verify(str(self.output), deep=True).raise_for_problems()
        dataset = dataset_of(self.output)
        columns = ["shard", "index", "label", "latent"]
        own = Output(str(self.output)).table.to_table(columns=columns)
        assert rows(dataset.to_table(columns=columns)) == rows(own)
        assert (dataset.version, Output(str(self.output)).snapshot) == (version, str(version))


def rows(table: pa.Table) -> list[tuple[Any, ...]]:
    return sorted(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))


@pytest.fixture
def night(tmp_path: Path, digit_files: list[bytes]) -> Night:
    return Night(tmp_path, digit_files)


def change(night: Night) -> None:
    """One shard has changed, one is gone, and one is new."""
    night.shard("a", 30, 12)
    (night.input / "b.parquet").unlink()
    night.shard("c", 20)


def test_nights(night: Night) -> None:
    assert night.run()["table"]["kind"] == "lance"
    night.check(version=1)
    night.run(table=None)  # nothing to do, and the output keeps that it has a table
    night.check(version=1)
    change(night)
    night.run(table=None, scope=Scope(prune=True))
    night.check(version=2)
    assert len([*(night.output / "latents").iterdir()]) == 2  # tables of before, of whose rows the dataset has copies


def test_shards_without_records_are_done_once(night: Night) -> None:
    for name in ("a", "b"):
        night.shard(name, 0, 0)
    first = night.run()["run"]["id"]
    night.run()
    assert json.loads((night.output / "_SUCCESS").read_text())["run"]["id"] == first
    night.shard("a", 0)
    night.run()
    night.check(version=1)


@pytest.mark.slow
def test_partitions(night: Night) -> None:
    night.run(partition_by="label")
    night.check(version=1)
    change(night)
    night.run(partition_by="label", scope=Scope(prune=True))
    night.check(version=2)


KILLS = {
    "before the version": (LanceTable, "publish"),
    "after the version": (publish_state, "_publish"),
    "before the clean-up": (commit, "clean_up"),
}


@pytest.mark.parametrize("when", [*long_forms(*KILLS)])
def test_a_run_that_dies_is_mended_by_the_next(night: Night, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    night.run()
    change(night)

    def dies(*_: Any, **__: Any) -> None:
        raise RuntimeError("the end")

    with monkeypatch.context() as patch:
        patch.setattr(*KILLS[when], dies)
        with pytest.raises((LatentlakeError, RuntimeError), match="the end"):
            night.run(scope=Scope(prune=True))
    night.run(scope=Scope(prune=True))
    night.check(version=2)

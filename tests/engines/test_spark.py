"""The whole job on a Spark cluster of two machines."""

from pathlib import Path

import pytest

from harness.engines.jobs import run
from harness.engines.spark import running
from tests.engines.conftest import TRUTH
from tests.faults.torture import Work, check_whole


@pytest.mark.timeout(600)
def test_bytes_and_counts_of_a_local_run(work: Work, tmp_path: Path) -> None:
    """Units run on both: each machine's pool has started workers."""
    with running(tmp_path / "spark") as spark:
        job = run([*work.command(tmp_path / "out"), *spark.options], tmp_path)
        assert all("Starting worker" in pool.said for pool in spark.pools)
    check_whole(work, tmp_path / "out")
    assert job.counters == TRUTH

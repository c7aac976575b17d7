"""Finished jobs that many tests look at."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.options.job_options import JobOptions
from tests.conftest import Model


def run_job(verb: str, source: object, bundle: str, output: object, **settings: Any) -> dict[str, Any]:
    """Run a job in this process and give its summary."""
    from pipeline.beam.launch import launch  # Beam takes a second, and most tests of this folder need none

    chosen = JobOptions(verb=verb, input=(str(source),), model=bundle, output=str(output), **settings)
    return launch(chosen, [])


@pytest.fixture(scope="session")
def encoded(tmp_path_factory: pytest.TempPathFactory, shards: Path, model: Model) -> Path:
    """``encode`` over the three shards of digits."""
    output = tmp_path_factory.mktemp("encoded") / "out"
    run_job("encode", shards, model.bundle, output)
    return output


@pytest.fixture(scope="session")
def reconstructed(tmp_path_factory: pytest.TempPathFactory, shards: Path, model: Model) -> Path:
    """``reconstruct`` over the three shards of digits."""
    output = tmp_path_factory.mktemp("reconstructed") / "out"
    run_job("reconstruct", shards, model.bundle, output)
    return output

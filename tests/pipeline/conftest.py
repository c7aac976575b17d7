"""Finished jobs that many tests look at."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Verb
from pipeline.launch import launch
from pipeline.settings import Settings
from tests.conftest import Model


def run_job(verb: Verb, source: object, bundle: str, output: object, **settings: Any) -> dict[str, Any]:
    """Run a job in this process and give its summary."""
    chosen = Settings(verb=verb, input=(str(source),), model=bundle, output=str(output), **settings)
    return launch(chosen, [])


@pytest.fixture(scope="session")
def encoded(tmp_path_factory: pytest.TempPathFactory, shards: Path, model: Model) -> Path:
    """``encode`` over the three shards of digits."""
    output = tmp_path_factory.mktemp("encoded") / "out"
    run_job(Verb.ENCODE, shards, model.bundle, output)
    return output


@pytest.fixture(scope="session")
def reconstructed(tmp_path_factory: pytest.TempPathFactory, shards: Path, model: Model) -> Path:
    """``reconstruct`` over the three shards of digits."""
    output = tmp_path_factory.mktemp("reconstructed") / "out"
    run_job(Verb.RECONSTRUCT, shards, model.bundle, output)
    return output

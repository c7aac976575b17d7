"""Intact containers and what they give; a nursery of processes, and a job for them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Model
from tests.faults.damaged import Container, Outcome, containers, read, settle
from tests.faults.forkserver import Nursery
from tests.faults.torture import Work, make_shards, undisturbed


@pytest.fixture(scope="session")
def intact(digits: Any) -> dict[str, Container]:
    """One container of each kind."""
    return containers(digits)


@pytest.fixture(scope="session")
def clean(intact: dict[str, Container], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What an intact container of each kind gives."""
    folder = tmp_path_factory.mktemp("clean")
    return {kind: read(container, folder, settle(container, folder)) for kind, container in intact.items()}


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """One for all tests that begin processes: it takes seconds to be ready."""
    with Nursery() as started:
        yield started


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery, model: Model) -> Work:
    """``reconstruct`` over six Parquet shards, of which some records are rejected."""
    place = tmp_path_factory.mktemp("work")
    make_shards(place / "in")
    return undisturbed(nursery, Work(verb="reconstruct", source=place / "in", bundle=Path(model.bundle)), place)

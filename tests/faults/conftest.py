"""Intact containers, and what they give."""

from typing import Any

import pytest

from tests.faults.damaged import Container, Outcome, containers, read, settle


@pytest.fixture(scope="session")
def intact(digits: Any) -> dict[str, Container]:
    """One container of each kind."""
    return containers(digits)


@pytest.fixture(scope="session")
def clean(intact: dict[str, Container], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What an intact container of each kind gives."""
    folder = tmp_path_factory.mktemp("clean")
    return {kind: read(container, folder, settle(container, folder)) for kind, container in intact.items()}

"""Fixtures of the CNI plugin's tests, for the conftest.py of each folder that has such."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cnitools import AgentProcess, Spaces, spaces


@pytest.fixture
def place() -> Iterator[Spaces]:
    """Gives namespaces, and removes them all."""
    with spaces() as found:
        yield found


@pytest.fixture
def agent(place: Spaces, tmp_path: Path) -> Iterator[AgentProcess]:
    """On a node of its own. Its apiserver cannot be reached: pods are attached all the same."""
    found = AgentProcess(place.name("node"), tmp_path / "agent")
    found.start()
    yield found
    found.stop()

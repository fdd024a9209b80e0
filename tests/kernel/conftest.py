"""What the CNI plugin's kernel tests stand on: namespaces of their own, and a node both ways."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cnitools import Node, Spaces, StandaloneNode, spaces
from tests.overlay_cluster import Cluster


@pytest.fixture
def place() -> Iterator[Spaces]:
    """Gives namespaces, and removes them all."""
    with spaces() as found:
        yield found


@pytest.fixture(params=[Node, StandaloneNode], ids=["agent", "standalone"])
def node(request: pytest.FixtureRequest, place: Spaces, tmp_path: Path) -> Iterator[Node]:
    """The same calls, both ways: with the agent's engine, and with a process of its own for each call."""
    found = request.param(place.name("node"), tmp_path)
    yield found
    found.close()


@pytest.fixture
def engine_node(place: Spaces, tmp_path: Path) -> Iterator[Node]:
    """For tests that reach into the engine."""
    found = Node(place.name("node"), tmp_path)
    yield found
    found.close()


@pytest.fixture
def cluster(place: Spaces, tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes with their agents, joined by an underlay."""
    found = Cluster(place, tmp_path)
    try:
        found.up()
        yield found
    finally:
        found.close()

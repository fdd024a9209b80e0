"""What the CNI plugin's kernel tests stand on: namespaces of their own, and a node both ways."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cni_fixtures import agent, place
from tests.cnitools import Node, Spaces, StandaloneNode
from tests.overlay_cluster import Cluster

__all__ = ["agent", "place"]  # and what follows; pytest finds fixtures by their names here


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

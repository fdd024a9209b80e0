"""The CNI plugin's callers need namespaces, and an agent."""

from tests.cni_fixtures import agent, place

__all__ = ["agent", "place"]

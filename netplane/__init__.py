"""Netplane: a Kubernetes network data plane in Python."""

__version__ = "0.1.0"

"""Prometheus metrics of a program: one registry per process, the route that shows it, and buckets that fit networks."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import prometheus_client as prometheus
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from netplane.obs.health import Answer, Route

__all__ = ["LATENCY_S", "CollectorRegistry", "Counter", "Gauge", "Histogram", "new_registry", "route", "timed"]

# From 0.1 ms (one element in the kernel) to 64 s (what a large ruleset costs elsewhere), doubling.
LATENCY_S: Sequence[float] = tuple(0.0001 * 2**n for n in range(20))


def new_registry() -> CollectorRegistry:
    """A registry with this process' CPU, memory and file descriptors in it.

    Programs make their own rather than use the library's global one: tests then share nothing.
    """
    registry = CollectorRegistry(auto_describe=True)
    prometheus.ProcessCollector(registry=registry)
    return registry


def route(registry: CollectorRegistry) -> Route:
    """For /metrics."""

    def answer() -> Answer:
        return 200, {"Content-Type": prometheus.CONTENT_TYPE_LATEST}, prometheus.generate_latest(registry)

    return answer


@contextmanager
def timed(histogram: Histogram) -> Iterator[None]:
    """Observe how long the block took, in seconds, whether or not it raised."""
    began = time.perf_counter()
    try:
        yield
    finally:
        histogram.observe(time.perf_counter() - began)

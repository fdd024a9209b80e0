"""What a proxy counts, as plain numbers, and how Prometheus reads them.

Names beginning with `kubeproxy_` are the reference's, so that its dashboards and alerts go on working; the others are
ours. The client library is imported when the first scrape comes, not at start.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

from netplane.obs.health import Answer, Route

# From 0.1 ms to 52 s, doubling.
BUCKETS_S: Sequence[float] = tuple(0.0001 * 2**n for n in range(20))


class Histogram:
    """Counts of durations, in seconds, by bucket."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds

    def cumulative(self) -> Iterator[tuple[str, float]]:
        """(upper bound, how many were at most that long)."""
        seen = 0
        for bound, count in zip((*map(repr, BUCKETS_S), "+Inf"), self.counts, strict=True):
            seen += count
            yield bound, float(seen)


class Stats:
    """Everything counted."""

    def __init__(self) -> None:
        self.sync_s = Histogram()
        self.full_sync_s = Histogram()
        self.partial_sync_s = Histogram()
        self.service_changes = 0
        self.slice_changes = 0
        self.sync_failures = 0
        self.elements_written = 0
        self.transactions = 0
        self.flows_deleted = 0
        self.last_sync_unix_s = 0.0
        self.last_queued_unix_s = 0.0
        self.services = 0
        self.frontends = 0


def route(stats: Stats) -> Route:
    """For /metrics."""
    registry: list[Any] = []

    def answer() -> Answer:
        import prometheus_client  # noqa: PLC0415 - only programs that are scraped need it

        if not registry:
            registry.append(prometheus_client.CollectorRegistry(auto_describe=False))
            prometheus_client.ProcessCollector(registry=registry[0])
            registry[0].register(_Collector(stats))
        body = prometheus_client.generate_latest(registry[0])
        return 200, {"Content-Type": prometheus_client.CONTENT_TYPE_LATEST}, body

    return answer


class _Collector:
    """Turns the numbers into metric families at each scrape."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Any]:
        """As the client library asks."""
        from prometheus_client import core  # noqa: PLC0415 - as above

        stats = self._stats
        for name, about, histogram in (
            ("kubeproxy_sync_proxy_rules_duration_seconds", "Time of a sync", stats.sync_s),
            ("kubeproxy_sync_full_proxy_rules_duration_seconds", "Time of a full sync", stats.full_sync_s),
            ("kubeproxy_sync_partial_proxy_rules_duration_seconds", "Time of a partial sync", stats.partial_sync_s),
        ):
            family = core.HistogramMetricFamily(name, about)
            family.add_metric([], list(histogram.cumulative()), histogram.total_s)
            yield family
        for name, about, value in (
            ("kubeproxy_sync_proxy_rules_service_changes", "Service changes seen", stats.service_changes),
            ("kubeproxy_sync_proxy_rules_endpoint_changes", "Endpoint slice changes seen", stats.slice_changes),
            ("kubeproxy_sync_proxy_rules_nftables_sync_failures", "Syncs that failed", stats.sync_failures),
            ("netplane_proxy_elements_written", "Set elements added or removed", stats.elements_written),
            ("netplane_proxy_transactions", "nftables transactions committed", stats.transactions),
            ("netplane_proxy_flows_deleted", "Stale conntrack entries deleted", stats.flows_deleted),
        ):
            yield core.CounterMetricFamily(name, about, value=value)
        for name, about, number in (
            ("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "Last good sync", stats.last_sync_unix_s),
            ("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "Last change seen", stats.last_queued_unix_s),
            ("netplane_proxy_services", "Services served", stats.services),
            ("netplane_proxy_frontends", "Frontends in the kernel", stats.frontends),
        ):
            yield core.GaugeMetricFamily(name, about, value=number)

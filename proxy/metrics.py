"""What a proxy counts, as plain numbers, and how Prometheus reads them.

Names beginning with `kubeproxy_` are the reference's, so that its dashboards and alerts go on working; the others are
ours. The client library is imported when the first scrape comes, not at start.
"""

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from netplane.obs.health import Answer, Route
from proxy.counters import Count, ServicePort
from proxy.exposition import exposition
from proxy.triggers import Triggers

# From 0.1 ms to 52 s, doubling.
BUCKETS_S: Sequence[float] = tuple(0.0001 * 2**n for n in range(20))
# The reference's, for its dashboards: quarters, then each second to 60, each 5 to 120, each 30 to 300.
NETWORK_BUCKETS_S: Sequence[float] = (
    *(0.25, 0.5),
    *map(float, range(1, 60)),
    *map(float, range(60, 120, 5)),
    *map(float, range(120, 301, 30)),
)

REQUEST_BUCKETS_S: Sequence[float] = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)


class Histogram:
    """Counts of durations, in seconds, by bucket."""

    def __init__(self, bounds_s: Sequence[float] = BUCKETS_S) -> None:
        self.bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.total_s += seconds

    def cumulative(self) -> Iterator[tuple[str, float]]:
        """(upper bound, how many were at most that long)."""
        seen = 0
        for bound, count in zip((*map(repr, self.bounds_s), "+Inf"), self.counts, strict=True):
            seen += count
            yield bound, float(seen)


class Stats:
    """Everything counted."""

    def __init__(self, families: Sequence[str] = ("IPv4",), now_unix_s: float = 0.0) -> None:
        self.families = families
        self.sync_s = Histogram()
        self.full_sync_s = Histogram()
        self.partial_sync_s = Histogram()
        self.network_s = Histogram(NETWORK_BUCKETS_S)
        self.conntrack_s = Histogram()
        self.triggers = Triggers(now_unix_s)
        self.service_changes = self.services_synced = 0
        self.slice_changes = self.slices_synced = 0
        self.sync_failures = 0
        self.elements_written = 0
        self.transactions = 0
        self.flows_deleted = 0
        self.drift_repairs = 0
        self.last_sync_unix_s = 0.0
        self.last_queued_unix_s = 0.0
        self.services = 0
        self.frontends = 0
        self.healthz_answers: Counter[int] = Counter()
        self.livez_answers: Counter[int] = Counter()
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.request_s: dict[tuple[str, str], Histogram] = {}
        self.by_service: Callable[[], Awaitable[Mapping[ServicePort, Count]]] = _nobody
        """What became of each service port's connections; asked at each scrape."""
        self.without_local: Callable[[], Mapping[tuple[str, str], int]] = dict
        """Services that have endpoints but none of this node, by family and policy; asked at each scrape."""

    def requested(self, method: str, host: str, code: int, took_s: float) -> None:
        """An apiserver answered."""
        self.requests[method, host, code] += 1
        if (method, host) not in self.request_s:
            self.request_s[method, host] = Histogram(REQUEST_BUCKETS_S)
        self.request_s[method, host].observe(took_s)


async def _nobody() -> Mapping[ServicePort, Count]:
    return {}


def route(stats: Stats) -> Route:
    """For /metrics. With many services it takes a while to gather and to write, with pauses for changes."""
    registry: list[Any] = []

    async def answer() -> Answer:
        import prometheus_client  # noqa: PLC0415 - only programs that are scraped need it

        if not registry:
            registry.append(prometheus_client.CollectorRegistry(auto_describe=False))
            prometheus_client.ProcessCollector(registry=registry[0])
            registry[0].register(_Collector(stats))
        counts = await stats.by_service()
        parts = [prometheus_client.generate_latest(registry[0])]
        for part in exposition(counts):
            parts.append(part.encode())
            await asyncio.sleep(0)
        return 200, {"Content-Type": prometheus_client.CONTENT_TYPE_LATEST}, b"".join(parts)

    return answer


class _Collector:
    """Turns the numbers into metric families at each scrape."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Any]:
        """As the client library asks."""
        yield from self._histograms()
        yield from self._counters()
        yield from self._gauges()

    def _histograms(self) -> Iterator[Any]:
        from prometheus_client import core  # noqa: PLC0415 - as above

        stats = self._stats
        for name, about, histogram in (
            ("kubeproxy_sync_proxy_rules_duration_seconds", "Time of a sync", stats.sync_s),
            ("kubeproxy_sync_full_proxy_rules_duration_seconds", "Time of a full sync", stats.full_sync_s),
            ("kubeproxy_sync_partial_proxy_rules_duration_seconds", "Time of a partial sync", stats.partial_sync_s),
            ("kubeproxy_network_programming_duration_seconds", "From an endpoint's change to rules", stats.network_s),
            ("kubeproxy_conntrack_reconciler_sync_duration_seconds", "Time to end stale flows", stats.conntrack_s),
        ):
            family = core.HistogramMetricFamily(name, about, labels=["ip_family"])
            for label in stats.families:
                family.add_metric([label], list(histogram.cumulative()), histogram.total_s)
            yield family
        name, about = "rest_client_request_duration_seconds", "Time to the head of the apiserver's answer"
        family = core.HistogramMetricFamily(name, about, labels=["verb", "host"])
        for asked, histogram in stats.request_s.items():
            family.add_metric(list(asked), list(histogram.cumulative()), histogram.total_s)
        yield family

    def _counters(self) -> Iterator[Any]:
        from prometheus_client import core  # noqa: PLC0415 - as above

        stats = self._stats
        for name, about, value in (
            ("kubeproxy_sync_proxy_rules_service_changes", "Service changes seen", stats.service_changes),
            ("kubeproxy_sync_proxy_rules_endpoint_changes", "Endpoint slice changes seen", stats.slice_changes),
            ("netplane_proxy_elements_written", "Set elements added or removed", stats.elements_written),
            ("netplane_proxy_transactions", "nftables transactions committed", stats.transactions),
            (
                "netplane_proxy_drift_repairs",
                "Times that tables were changed by others and repaired",
                stats.drift_repairs,
            ),
            ("netplane_proxy_flows_deleted", "Stale conntrack entries deleted", stats.flows_deleted),
        ):
            yield core.CounterMetricFamily(name, about, value=value)
        # The families are synced together here, in one run.
        for name, about, value in (
            ("kubeproxy_sync_proxy_rules_nftables_sync_failures", "Syncs that failed", stats.sync_failures),
            ("kubeproxy_sync_proxy_rules_nftables_cleanup_failures", "Clean-ups of stale chains that failed", 0),
            ("kubeproxy_conntrack_reconciler_deleted_entries", "Stale flows ended", stats.flows_deleted),
        ):
            yield _labelled(core.CounterMetricFamily, name, about, {(label,): value for label in stats.families})
        for name, about, answers in (
            ("kubeproxy_proxy_healthz", "Answers of /healthz", stats.healthz_answers),
            ("kubeproxy_proxy_livez", "Answers of /livez", stats.livez_answers),
        ):
            by_code = {(str(code),): count for code, count in answers.items()}
            yield _labelled(core.CounterMetricFamily, name, about, by_code, labels=("code",))
        asked = {(str(code), host, method): n for (method, host, code), n in stats.requests.items()}
        about = "Answers of the apiserver"
        labels = ("code", "host", "method")
        yield _labelled(core.CounterMetricFamily, "rest_client_requests", about, asked, labels=labels)

    def _gauges(self) -> Iterator[Any]:
        from prometheus_client import core  # noqa: PLC0415 - as above

        stats = self._stats
        prefix = "kubeproxy_sync_proxy_rules"
        for name, about, number in (
            (f"{prefix}_last_timestamp_seconds", "Last good sync", stats.last_sync_unix_s),
            (f"{prefix}_last_queued_timestamp_seconds", "Last change seen", stats.last_queued_unix_s),
        ):
            yield _labelled(core.GaugeMetricFamily, name, about, {(label,): number for label in stats.families})
        slices_pending = stats.slice_changes - stats.slices_synced
        for name, about, number in (
            (f"{prefix}_service_changes_pending", "To be synced", stats.service_changes - stats.services_synced),
            (f"{prefix}_endpoint_changes_pending", "To be synced", slices_pending),
            ("netplane_proxy_services", "Services served", stats.services),
            ("netplane_proxy_frontends", "Frontends in the kernel", stats.frontends),
        ):
            yield core.GaugeMetricFamily(name, about, value=number)
        without = stats.without_local()
        both = {(f, policy): without.get((f, policy), 0) for f in stats.families for policy in ("internal", "external")}
        about = "Services of policy Local without an endpoint here"
        # The reference's name, though it is a gauge.
        name, labels = f"{prefix}_no_local_endpoints_total", ("ip_family", "traffic_policy")
        yield _labelled(core.GaugeMetricFamily, name, about, both, labels=labels)


def _labelled(
    family: Any,
    name: str,
    about: str,
    values: Mapping[Any, float],
    labels: Sequence[str] = ("ip_family",),
) -> Any:
    made = family(name, about, labels=list(labels))
    for key, value in values.items():  # keys are tuples, one string per label
        made.add_metric(list(key), value)
    return made

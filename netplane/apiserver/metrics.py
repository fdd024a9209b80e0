"""Request counts and latencies for /metrics, with the names kube-apiserver gives them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from netplane.apiserver.cluster import Cluster
from netplane.apiserver.target import Target

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class RequestMetrics:
    """One process's figures. Children are looked up once for each combination of labels, then kept."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._total = Counter(
            "apiserver_request_total",
            "Requests answered.",
            ["verb", "group", "resource", "code"],
            registry=self.registry,
        )
        self._duration = Histogram(
            "apiserver_request_duration_seconds",
            "Time to answer, without watches.",
            ["verb", "group", "resource"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._counts: dict[tuple[str, str, str, int], Counter] = {}
        self._times: dict[tuple[str, str, str], Histogram] = {}

    def watch_cluster(self, cluster: Cluster) -> None:
        """Count the open watches."""
        gauge = Gauge("apiserver_longrunning_requests", "Watches open now.", registry=self.registry)
        gauge.set_function(lambda: len(cluster.watches))

    def observe(self, target: Target, code: int, seconds: float) -> None:
        """One answered request."""
        resource = target.resource if target.kind is not None else "unknown"
        if target.subresource and target.kind is not None and target.subresource in target.kind.subresources:
            resource = f"{resource}/{target.subresource}"
        what = (target.verb, target.group, resource)
        count = self._counts.get((*what, code))
        if count is None:
            count = self._counts[*what, code] = self._total.labels(*what, str(code))
        count.inc()
        if target.verb == "watch":
            return
        duration = self._times.get(what)
        if duration is None:
            duration = self._times[what] = self._duration.labels(*what)
        duration.observe(seconds)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)

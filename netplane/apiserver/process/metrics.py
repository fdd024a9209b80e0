"""Request counts and latencies for /metrics, with the names and labels kube-apiserver gives them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from netplane.apiserver.cluster import Cluster
from netplane.apiserver.limits.flow_metrics import LimitsCollector
from netplane.apiserver.wire.target import Target

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_VERBS = {"create": "POST", "update": "PUT"}
_LABELS = ["verb", "group", "version", "resource", "subresource", "scope", "component"]
_What = tuple[str, str, str, str, str, str, str]


class RequestMetrics:
    """One process's figures. Children are looked up once for each combination of labels, then kept."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._total = Counter(
            "apiserver_request_total", "Requests answered.", [*_LABELS, "code"], registry=self.registry
        )
        self._duration = Histogram(
            "apiserver_request_duration_seconds",
            "Time to answer, without watches.",
            _LABELS,
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._counts: dict[tuple[_What, int], Counter] = {}
        self._times: dict[_What, Histogram] = {}

    def watch_cluster(self, cluster: Cluster) -> None:
        """Count the open watches, and tell of the limits."""
        gauge = Gauge("apiserver_longrunning_requests", "Watches open now.", registry=self.registry)
        gauge.set_function(lambda: len(cluster.watches))
        self.registry.register(LimitsCollector(cluster.limits))

    def observe(self, target: Target, code: int, seconds: float) -> None:
        """One answered request."""
        what = _what(target)
        count = self._counts.get((what, code))
        if count is None:
            count = self._counts[what, code] = self._total.labels(*what, str(code))
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


def _what(target: Target) -> _What:
    """The labels of a request: bounded, whatever paths clients make up."""
    kind, verb = target.kind, target.verb
    if kind is None:
        return verb.upper() if verb in _KNOWN else "other", "", "", "unknown", "", "", "apiserver"
    subresource = target.subresource if target.subresource in (*kind.subresources, *kind.connects) else ""
    scope = "resource" if target.name or verb == "create" else "namespace" if target.namespace else "cluster"
    shown = _VERBS.get(verb) or (verb.upper() if verb in _KNOWN else "other")
    return shown, target.group, target.version, target.resource, subresource, scope, "apiserver"


_KNOWN = frozenset({"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"})

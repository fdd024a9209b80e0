"""Request counts and latencies for /metrics, with the names and labels kube-apiserver gives them.

A request adds to plain numbers; they become Prometheus' families when somebody scrapes, which is what costs time.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from netplane.api.kinds import Kind
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.limits.flow_metrics import LimitsCollector
from netplane.apiserver.wire.target import Target

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_VERBS = {"create": "POST", "update": "PUT"}
_LABELS = ["verb", "group", "version", "resource", "subresource", "scope", "component"]
_What = tuple[Kind | None, str, str, str]
"""(kind, verb, subresource, scope): bounded, whatever paths clients make up."""


class _Series:
    """Requests of one sort: how many took until which bucket's end, and in sum."""

    __slots__ = ("buckets", "sum_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BUCKETS_S) + 1)
        self.sum_s = 0.0


class RequestMetrics:
    """One process's figures: a collector of prometheus_client, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._series: dict[tuple[_What, int], _Series] = {}
        self.registry.register(self)

    def watch_cluster(self, cluster: Cluster) -> None:
        """Count the open watches, and tell of the limits."""
        gauge = Gauge("apiserver_longrunning_requests", "Watches open now.", registry=self.registry)
        gauge.set_function(lambda: len(cluster.watches))
        self.registry.register(LimitsCollector(cluster.limits))

    def observe(self, target: Target, code: int, seconds: float) -> None:
        """One answered request."""
        key = (_what(target), code)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series()
        series.buckets[bisect_left(_BUCKETS_S, seconds)] += 1
        series.sum_s += seconds

    def collect(self) -> Iterator[Metric]:
        """All figures as they are now; those of times without watches, and of all codes together."""
        total = CounterMetricFamily("apiserver_request", "Requests answered.", labels=[*_LABELS, "code"])
        times: dict[_What, _Series] = {}
        for (what, code), series in self._series.items():
            total.add_metric([*_labels(what), str(code)], sum(series.buckets))
            if what[1] != "watch":
                _add(times.setdefault(what, _Series()), series)
        duration = HistogramMetricFamily(
            "apiserver_request_duration_seconds", "Time to answer, without watches.", labels=_LABELS
        )
        for what, series in times.items():
            ends = [*(str(float(end)) for end in _BUCKETS_S), "+Inf"]
            counts = list(zip(ends, accumulate(series.buckets), strict=True))
            duration.add_metric(_labels(what), counts, series.sum_s)
        yield from (total, duration)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)


def _add(to: _Series, series: _Series) -> None:
    to.buckets = [one + other for one, other in zip(to.buckets, series.buckets, strict=True)]
    to.sum_s += series.sum_s


def _what(target: Target) -> _What:
    kind, verb = target.kind, target.verb
    if verb not in _KNOWN:
        verb = "other"
    if kind is None:
        return None, verb, "", ""
    subresource = target.subresource
    if subresource and subresource not in (*kind.subresources, *kind.connects):
        subresource = ""
    scope = "resource" if target.name or verb == "create" else "namespace" if target.namespace else "cluster"
    return kind, verb, subresource, scope


def _labels(what: _What) -> list[str]:
    kind, verb, subresource, scope = what
    shown = verb if verb == "other" else verb.upper()
    if kind is None:
        return [shown, "", "", "unknown", "", "", "apiserver"]
    return [_VERBS.get(verb, shown), kind.group, kind.version, kind.plural, subresource, scope, "apiserver"]


_KNOWN = frozenset({"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"})

"""What a proxy's /metrics say of its services, and how two readings become rates.

Of every family `netplane_service_<what>` that names a service (labels `namespace` and `service`, and `port` where it is
per port), samples that differ only in other labels, such as the reason of a drop, are added up.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

SERVICE_METRIC = re.compile(r"netplane_service_(connections|rejects|drops|endpoints)(?:_total)?")
SYNC = "kubeproxy_sync_proxy_rules_duration_seconds"
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([-+]?(?:\d[\d.eE+-]*|Inf|NaN))(?: \d+)?")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


class Place(NamedTuple):
    """A service, or one port of it."""

    namespace: str
    service: str
    port: str = ""


class Reading(msgspec.Struct, frozen=True):
    """One scrape, `at_s` on a clock that only rises.

    `services` has what was counted for each; `totals` every sample without such a name, by metric name, families and
    other labels added up. `buckets` are the sync's durations: upper bound in seconds → how many were at most that long.
    """

    at_s: float
    services: Mapping[Place, Mapping[str, float]]
    totals: Mapping[str, float]
    buckets: Mapping[float, float]


class Row(msgspec.Struct, frozen=True):
    """A service as it is shown. `connections` and the like count from the proxy's start; `…_per_s` between readings."""

    namespace: str
    service: str
    port: str
    connections_per_s: float
    connections: float
    rejects_per_s: float
    rejects: float
    drops_per_s: float
    drops: float
    endpoints: float | None


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """(name, labels, value) of each sample of a Prometheus text exposition; lines that are none are passed over."""
    for line in text.splitlines():
        found = _SAMPLE.fullmatch(line)
        if found is not None:
            labels = {name: _unescaped(value) for name, value in _LABEL.findall(found[2] or "")}
            yield found[1], labels, float(found[3])


def _unescaped(value: str) -> str:
    return re.sub(r"\\[\\\"n]", lambda found: _ESCAPES[found[0]], value) if "\\" in value else value


def read(text: str, at_s: float) -> Reading:
    """A scrape's text as a reading."""
    services: dict[Place, dict[str, float]] = {}
    totals: dict[str, float] = {}
    buckets: dict[float, float] = {}
    for name, labels, value in samples(text):
        named = SERVICE_METRIC.fullmatch(name)
        if named and "service" in labels:
            place = Place(labels.get("namespace", ""), labels["service"], labels.get("port", ""))
            held = services.setdefault(place, {})
            held[named[1]] = held.get(named[1], 0.0) + value
        elif name == f"{SYNC}_bucket":
            bound = float(labels["le"])
            buckets[bound] = max(buckets.get(bound, 0.0), value)
        else:
            totals[name] = totals.get(name, 0.0) + value
    return Reading(at_s, services, totals, buckets)


def rows(before: Reading | None, now: Reading) -> list[Row]:
    """Every service, the busiest first. Without an earlier reading all rates are 0."""
    found = [_row(place, counts, before, now) for place, counts in now.services.items()]
    return sorted(found, key=lambda row: (-row.connections_per_s, -row.connections, row.namespace, row.service))


def _row(place: Place, counts: Mapping[str, float], before: Reading | None, now: Reading) -> Row:
    earlier = before.services.get(place, {}) if before is not None else counts
    passed_s = now.at_s - before.at_s if before is not None else 1.0

    def rate(what: str) -> float:
        # A proxy that was started anew counts from 0 again.
        grown = counts.get(what, 0.0) - earlier.get(what, 0.0)
        return (grown if grown >= 0 else counts.get(what, 0.0)) / max(passed_s, 1e-9)

    return Row(
        *place,
        connections_per_s=rate("connections"),
        connections=counts.get("connections", 0.0),
        rejects_per_s=rate("rejects"),
        rejects=counts.get("rejects", 0.0),
        drops_per_s=rate("drops"),
        drops=counts.get("drops", 0.0),
        endpoints=counts.get("endpoints"),
    )


def quantile_s(buckets: Mapping[float, float], share: float) -> float | None:
    """The least bucket bound, in seconds, that `share` of all durations were under; None when there are none."""
    total = max(buckets.values(), default=0.0)
    return next((bound for bound in sorted(buckets) if buckets[bound] >= share * total), None) if total else None

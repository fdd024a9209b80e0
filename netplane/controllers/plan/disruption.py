"""How well zones are, which decides how fast nodes that fell silent lose their pods. Source: kube-controller-manager.

    of a zone's nodes                            state       one more node may lose its pods every
    some are well, less than 55 % are not        normal      10 s
    at least 3 and 55 % are not                  partial     100 s in clusters above 50 nodes, else never
    none is well                                 full        10 s (the zone is gone, the others are not)
    every zone is full                           -           never, and pods that wait get to stay: it is more likely
                                                             that we are cut off than that everything died at once

The last time a node of a zone was marked is read off the marks, so a restart neither hurries nor forgets.
"""

from datetime import datetime
from typing import NamedTuple

from netplane.api import conditions
from netplane.api.objects import Node
from netplane.controllers.plan.backends import ZONE

REGION = "topology.kubernetes.io/region"
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
OURS = (NOT_READY, UNREACHABLE)
NO_EXECUTE = "NoExecute"

UNHEALTHY_SHARE, UNHEALTHY_LEAST = 0.55, 3
LARGE_CLUSTER = 50
PERIOD_S, SLOW_PERIOD_S = 10.0, 100.0


class Count(NamedTuple):
    """Nodes of a zone, by whether they are ready."""

    well: int = 0
    ill: int = 0

    @property
    def full(self) -> bool:
        """Nobody is left."""
        return self.well == 0 and self.ill > 0

    @property
    def partial(self) -> bool:
        """Too many are ill for it to be their own fault."""
        return self.ill >= UNHEALTHY_LEAST and self.ill / (self.well + self.ill) >= UNHEALTHY_SHARE


class Health:
    """Counts per zone, kept up to date node by node."""

    def __init__(self) -> None:
        self._counts: dict[str, Count] = {}
        self._marked: dict[str, dict[str, float]] = {}  # zone → node → when it was marked (seconds since 1970)
        self._nodes: dict[str, tuple[str, bool]] = {}
        self._last: dict[str, float | None] = {}  # zone → the latest of its marks, as far as it was asked for

    def see(self, name: str, node: Node | None) -> None:
        """A node is now like this (None: gone)."""
        before = self._nodes.pop(name, None)
        if before is not None:
            self._add(*before, -1)
        now = (zone_of(node), conditions.is_ready(node)) if node is not None else None
        if now is not None:
            self._nodes[name] = now
            self._add(*now, 1)
        if before is not None and (now is None or now[0] != before[0]):
            self._mark(before[0], name, None)
        if now is not None and node is not None:
            self._mark(now[0], name, marked_s(node))

    def _mark(self, zone: str, name: str, at_s: float | None) -> None:
        marked = self._marked.setdefault(zone, {})
        if marked.get(name) == at_s:
            return
        self._last.pop(zone, None)
        if at_s is None:
            del marked[name]
        else:
            marked[name] = at_s

    def wait_s(self, zone: str, now_s: float) -> float | None:
        """How long until the next node of the zone may be marked; None: not while things are as they are."""
        count = self._counts.get(zone, Count())
        if self.cut_off or (count.partial and not count.full and len(self._nodes) <= LARGE_CLUSTER):
            return None
        period_s = SLOW_PERIOD_S if count.partial and not count.full else PERIOD_S
        if zone not in self._last:
            self._last[zone] = max(self._marked.get(zone, {}).values(), default=None)
        last_s = self._last[zone]
        return max(last_s + period_s - now_s, 0.0) if last_s is not None else 0.0

    @property
    def cut_off(self) -> bool:
        """Every zone is gone."""
        return bool(self._counts) and all(count.full for count in self._counts.values())

    def _add(self, zone: str, well: bool, number: int) -> None:
        count = self._counts.get(zone, Count())
        count = Count(count.well + number, count.ill) if well else Count(count.well, count.ill + number)
        if count == Count():
            self._counts.pop(zone, None)
        else:
            self._counts[zone] = count


def zone_of(node: Node) -> str:
    """Region and zone."""
    labels = node.metadata.labels or {}
    return f"{labels.get(REGION, '')}/{labels.get(ZONE, '')}"


def marked_s(node: Node) -> float | None:
    """When the node got our NoExecute taint, in seconds since 1970; None when it has none."""
    times = [
        seconds(one.time_added) or 0.0 for one in node.spec.taints or () if one.key in OURS and one.effect == NO_EXECUTE
    ]
    return max(times, default=None)


def seconds(text: str | None) -> float | None:
    """A time of the API in seconds since 1970."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None

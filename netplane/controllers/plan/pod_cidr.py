"""A range of pod addresses for each node, cut from the cluster's ranges, one per family.

The Nodes themselves are the record: whatever one of them carries is taken, so a restart forgets nothing and hands
nothing out twice. One node is planned at a time, and the next sees what was written for it.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from netplane.api.objects import Node
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import NOTHING, Patch, Plan, event

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
COMPONENT = "node-ipam-controller"
FULL = "CIDRNotAvailable"
# When ranges ran out, look again this often: one is free again once a node is deleted.
FULL_AGAIN_S = 60.0


class Pool(NamedTuple):
    """A cluster range and the prefix length of a node's part of it."""

    network: Network
    node_prefix: int

    def parts(self) -> Iterator[Network]:
        """All parts, lowest first."""
        yield from self.network.subnets(new_prefix=self.node_prefix)

    def taken(self, used: Iterable[Network]) -> set[int]:
        """First addresses of the parts that overlap a used range, whatever size that has."""
        step = 1 << (self.network.max_prefixlen - self.node_prefix)
        first, last = int(self.network[0]), int(self.network[-1])
        taken: set[int] = set()
        for one in used:
            if one.version == self.network.version:
                low, high = max(int(one[0]), first), min(int(one[-1]), last)
                taken.update(range(low - (low - first) % step, high + 1, step))
        return taken

    def lowest_free(self, used: Iterable[Network]) -> Network | None:
        """The lowest part that overlaps nothing used."""
        taken = self.taken(used)
        return next((part for part in self.parts() if int(part[0]) not in taken), None)


def plan(world: World, key: str, pools: tuple[Pool, ...], now: str) -> Plan:
    """Give the node its ranges if it has none; an Event when there are none left."""
    node = world.nodes.get(key)
    if node is None or node.spec.pod_cidr or node.metadata.deletion_timestamp:
        return NOTHING
    used = list(used_ranges(world.nodes.values()))
    ranges = [pool.lowest_free(used) for pool in pools]
    if not all(ranges):
        lacking = ", ".join(str(pool.network) for pool, found in zip(pools, ranges, strict=True) if found is None)
        text = f"no podCIDR left in {lacking}; widen --cluster-cidr, or raise --node-cidr-mask-size for smaller parts"
        return Plan((event(node, FULL, text, now=now, by=COMPONENT),), FULL_AGAIN_S, note=text)
    cidrs = [str(one) for one in ranges]
    spec = {"podCIDR": cidrs[0], "podCIDRs": cidrs}
    # With the version that was read: whoever else gave this node a range meanwhile wins.
    version = {"resourceVersion": node.metadata.resource_version}
    return Plan((Patch(type(node), "", key, {"metadata": version, "spec": spec}, kind="merge"),))


def used_ranges(nodes: Iterable[Node]) -> Iterator[Network]:
    """Every range that a node carries; what is no range is passed over."""
    for node in nodes:
        for text in node.spec.pod_cidrs or ([node.spec.pod_cidr] if node.spec.pod_cidr else []):
            network = _parse(text)
            if network is not None:
                yield network


@lru_cache(maxsize=2**16)
def _parse(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None

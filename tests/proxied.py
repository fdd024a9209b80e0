"""A real proxy on the node of `packet_hosts`, driven by hand, and the objects that tests give it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from netplane.api.objects import EndpointSlice, Service
from netplane.kernel.conntrack import Conntrack
from netplane.kernel.nft import Nft
from netplane.nft.trace import Ruleset
from netplane.nft.types import FAMILIES
from proxy.conntrack import Cleaner
from proxy.node import local_addresses
from proxy.plan import offline, services, slices
from proxy.plan.model import Node
from proxy.plane import Plane
from proxy.sync import Ranges, Report, Syncer
from tests import strategies as moves
from tests.packet_hosts import Hosts

RANGES = Ranges(("10.96.0.0/24", "fd00:96::/112"), ("10.0.0.0/8", "fd00::/16"))


class Proxy:
    """The node's proxy, driven by hand."""

    def __init__(self, hosts: Hosts) -> None:
        self.nft = Nft(hosts.node)
        self.conntrack = Conntrack(hosts.node)
        node = Node("here", "a", moves.NODE.primary, local_addresses(hosts.node))
        self.planes = [Plane(family, moves.OPTIONS, self.nft) for family in FAMILIES]
        self.syncer = Syncer(self.planes, Cleaner(self.conntrack), node, moves.OPTIONS, lambda: None)
        self.syncer.ranges_changed(RANGES)
        self.sync(full=True)

    def restart(self, service: Service, *items: EndpointSlice) -> None:
        """A new process, as it were: it knows nothing of the kernel, and gets these objects from its lists."""
        node = self.syncer.node
        self.planes = [Plane(family, moves.OPTIONS, self.nft) for family in FAMILIES]
        self.syncer = Syncer(self.planes, Cleaner(self.conntrack), node, moves.OPTIONS, lambda: None)
        self.syncer.ranges_changed(RANGES)
        self.syncer.service_changed(None, services.read(service))
        for item in items:
            self.syncer.slice_changed(None, slices.read(item, "here"))
        self.sync(full=True)

    def sync(self, *, full: bool = False) -> Report:
        return asyncio.run(self.syncer.run_once(full))

    def put(self, service: Service | None = None, *items: EndpointSlice) -> None:
        if service is not None:
            self.syncer.service_changed(None, services.read(service))
        for item in items:
            self.syncer.slice_changed(None, slices.read(item, "here"))
        self.sync()

    def delete(self, service: Service) -> None:
        self.syncer.service_changed(services.read(service), None)
        self.sync()

    def rulesets(self) -> dict[int, Ruleset]:
        return {p.family.version: offline.ruleset(p.ledger, self.syncer.node) for p in self.planes}


@contextmanager
def proxy(hosts: Hosts) -> Iterator[Proxy]:
    made = Proxy(hosts)
    try:
        yield made
    finally:
        made.nft.run_text("flush ruleset")
        for family in FAMILIES:
            for protocol in (6, 17):
                made.conntrack.delete(family, made.conntrack.flows(family, protocol))
        made.nft.close()
        made.conntrack.close()


def service(name: str = "s0", **spec: object) -> Service:
    plain = {
        "clusterIP": "10.96.0.1",
        "ports": [{"name": "web", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}],
    }
    return msgspec.convert({"metadata": {"namespace": "ns", "name": name}, "spec": {**plain, **spec}}, Service)


def endpoints(
    *numbers: int, name: str = "s0-0", node: str = "here", port: int = 8080, **conditions: bool
) -> EndpointSlice:
    return msgspec.convert(
        {
            "metadata": {
                "namespace": "ns",
                "name": name,
                "labels": {"kubernetes.io/service-name": name.partition("-")[0]},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [f"10.1.0.{n}"], "nodeName": node, "conditions": conditions} for n in numbers],
            "ports": [{"name": "web", "port": port}, {"name": "dns", "port": 8053, "protocol": "UDP"}],
        },
        EndpointSlice,
    )

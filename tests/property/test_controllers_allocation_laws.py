"""Whatever comes, goes, shares, is lost or restarted: never two for one address, never two nodes for one range."""

from ipaddress import ip_network
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from netplane.api.objects import (
    LoadBalancerIngress,
    LoadBalancerStatus,
    Node,
    NodeSpec,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from netplane.controllers.flags import parse_addresses
from netplane.controllers.plan import balancers, load_balancer, pod_cidr
from netplane.controllers.plan.ranges import Pool
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import Patch, Plan

NAMES = st.sampled_from("abcdef")
SPANS = parse_addresses("192.0.2.1-192.0.2.3,fd00::1-fd00::2")
POOLS = (Pool(ip_network("10.0.0.0/22"), 24), Pool(ip_network("fd00::/62"), 64))
FAMILIES = st.sampled_from([["IPv4"], ["IPv6"], ["IPv4", "IPv6"]])
LOST = st.sampled_from(["done", "done", "done", "answer lost", "refused"])


class Allocation(RuleBasedStateMachine):
    """`stored` is the apiserver's truth; the world sees it, sometimes late."""

    def __init__(self) -> None:
        super().__init__()
        self.services: dict[str, Service] = {}
        self.nodes: dict[str, Node] = {}
        self.restart()

    @rule()
    def restart(self) -> None:
        """Everything that is known is what is stored."""
        self.world = World(POOLS, SPANS)
        for obj in (*self.services.values(), *self.nodes.values()):
            self.world.apply(None, obj, 0.0)

    @rule(name=NAMES, families=FAMILIES, share=st.sampled_from(["", "k"]), port=st.integers(1, 3), asked=st.booleans())
    def put_service(self, name: str, families: list[str], share: str, port: int, asked: bool) -> None:
        key = f"shop/{name}"
        old = self.services.get(key)
        meta = ObjectMeta(name=name, namespace="shop", annotations={balancers.SHARE: share}, creation_timestamp=name)
        spec = ServiceSpec(
            type="LoadBalancer",
            ip_families=families,
            ports=[ServicePort(port=port)],
            load_balancer_ip="192.0.2.2" if asked else "",
        )
        if old is None:
            self._store(Service(metadata=meta, spec=spec))

    @rule(name=NAMES, gone=st.booleans())
    def end_service(self, name: str, gone: bool) -> None:
        old = self.services.get(f"shop/{name}")
        if old is not None and gone:
            del self.services[old.key]
            self.world.apply(old, None, 0.0)
        elif old is not None:  # the apiserver empties the status with the type
            plain = msgspec.structs.replace(old.spec, type="ClusterIP")
            self._store(msgspec.structs.replace(old, spec=plain, status=None))

    @rule(name=NAMES, fate=LOST)
    def plan_service(self, name: str, fate: str) -> None:
        key = f"shop/{name}"
        plan = load_balancer.plan(self.world, key, "")
        for write in self._begin(plan, fate):
            self.world.balancers.hold(key, map(balancers.address, plan.reserve))
            if fate == "refused":
                continue
            ingress = write["status"]["loadBalancer"]["ingress"] or ()
            status = LoadBalancerStatus(ingress=[LoadBalancerIngress(ip=one["ip"]) for one in ingress])
            done = msgspec.structs.replace(self.services[key], status=ServiceStatus(load_balancer=status))
            self._store(done, told=fate == "done")

    @rule(name=NAMES)
    def put_node(self, name: str) -> None:
        if name not in self.nodes:
            self._store(Node(metadata=ObjectMeta(name=name)))

    @rule(name=NAMES)
    def end_node(self, name: str) -> None:
        old = self.nodes.pop(name, None)
        if old is not None:
            self.world.apply(old, None, 0.0)

    @rule(name=NAMES, fate=LOST)
    def plan_node(self, name: str, fate: str) -> None:
        plan = pod_cidr.plan(self.world, name, "")
        for write in self._begin(plan, fate):
            self.world.ranges.hold(name, plan.reserve)
            stored = self.nodes[name]
            if fate == "refused" or stored.spec.pod_cidr:  # by the version: it was given one whose answer was lost
                continue
            cidrs = write["spec"]["podCIDRs"]
            spec = NodeSpec(pod_cidr=cidrs[0], pod_cidrs=cidrs)
            self._store(msgspec.structs.replace(stored, spec=spec), told=fate == "done")

    @rule()
    def catch_up(self) -> None:
        """The watch delivers what was missed."""
        for service in self.services.values():
            self.world.apply(self.world.services.get(service.key), service, 0.0)
        for node in self.nodes.values():
            self.world.apply(self.world.nodes.get(node.key), node, 0.0)

    @invariant()
    def nothing_is_given_twice(self) -> None:
        holders: dict[str, list[Service]] = {}
        for service in self.services.values():
            for address in balancers.ingress(service):
                assert any(address in span for span in SPANS)
                holders.setdefault(str(address), []).append(service)
        for some in holders.values():
            claims = [balancers.claim_of(one) for one in some]
            assert all(a.agrees(b) for i, a in enumerate(claims) for b in claims[:i])
        ranges = [cidr for node in self.nodes.values() for cidr in node.spec.pod_cidrs or ()]
        assert len(ranges) == len(set(ranges))

    def _begin(self, plan: Plan, _fate: str) -> list[Any]:
        return [write.patch for write in plan.writes if isinstance(write, Patch)]

    def _store(self, obj: Service | Node, *, told: bool = True) -> None:
        before: Service | Node | None
        if isinstance(obj, Service):
            before = self.world.services.get(obj.key)
            self.services[obj.key] = obj
        else:
            before = self.world.nodes.get(obj.key)
            self.nodes[obj.key] = obj
        if told:
            self.world.apply(before, obj, 0.0)


TestAllocation = Allocation.TestCase
TestAllocation.settings = settings(deadline=None, max_examples=150, stateful_step_count=40)

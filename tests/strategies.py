"""Shared hypothesis strategies: small clusters in which everything that can collide does."""

from typing import Any, NamedTuple

from hypothesis import strategies as st

from netplane.api.objects import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    ForZone,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from netplane.net.addresses import packed
from proxy.plan.model import Node, Options

NODE = Node("here", "a", (packed("192.0.2.1"), packed("2001:db8::1")), frozenset({packed("192.0.2.1")}))
OPTIONS = Options(detect_local="ClusterCIDR")

PORTS = (("web", "TCP", 80), ("dns", "UDP", 53), ("dns-tcp", "TCP", 53), ("sig", "SCTP", 3868))
# Two services may ask for the same external address and node port: only an apiserver would stop them.
SHARED = {4: ("198.51.100.1", "198.51.100.2"), 6: ("2001:db8:f::1",)}


class PutService(NamedTuple):
    """A service is created or replaced."""

    service: Service


class PutSlice(NamedTuple):
    """A slice is created or replaced."""

    slice: EndpointSlice


class Delete(NamedTuple):
    """An object goes: (kind, name)."""

    kind: str
    name: str


class Move(NamedTuple):
    """The node changes."""

    node: Node


class Sync(NamedTuple):
    """What gathered is applied; `full` also reads the kernel."""

    full: bool


Action = PutService | PutSlice | Delete | Move | Sync

service_names = st.sampled_from(["s0", "s1", "s2"])
slice_names = st.sampled_from([f"{service}-{i}" for service in ("s0", "s1", "s2") for i in range(2)])


def _unique(values: tuple[Any, ...], at_most: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), max_size=at_most, unique=True)


@st.composite
def services(draw: st.DrawFn) -> Service:
    """A service in one or both families, with any mix of ways to reach it."""
    name = draw(service_names)
    number = int(name[1:])
    families = draw(st.sampled_from([(4,), (4,), (6,), (4, 6)]))
    ips = [{4: f"10.96.0.{number + 1}", 6: f"fd00:96::{number + 1}"}[family] for family in families]
    others = draw(_unique(PORTS[1:], 2))
    ports = [PORTS[0], *others] if draw(st.integers(0, 3)) else others or [PORTS[1]]
    node_ports = draw(st.integers(0, 2)) == 0
    external = [ip for family in families for ip in draw(st.sampled_from([(), SHARED[family][:1], SHARED[family]]))]
    balanced = [ip for family in families for ip in draw(st.sampled_from([(), SHARED[family][-1:]]))]
    ranges = draw(_unique(("10.0.0.0/8", "203.0.113.0/24", "192.0.2.0/24", "fd00::/16"), 2))
    return Service(
        metadata=ObjectMeta(namespace="ns", name=name),
        spec=ServiceSpec(
            ports=[
                ServicePort(name=n, protocol=protocol, port=port, node_port=30_000 + i if node_ports else 0)
                for i, (n, protocol, port) in enumerate(ports)
            ],
            cluster_ip=ips[0],
            cluster_ips=ips,
            type=draw(st.sampled_from(["ClusterIP", "ClusterIP", "ClusterIP", "ExternalName"])),
            external_ips=external,
            load_balancer_source_ranges=ranges,
            external_traffic_policy=draw(st.sampled_from(["Cluster", "Local"])),
            internal_traffic_policy=draw(st.sampled_from(["Cluster", "Local"])),
            session_affinity=draw(st.sampled_from(["None", "ClientIP"])),
        ),
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=[LoadBalancerIngress(ip=ip) for ip in balanced])),
    )


conditions = st.sampled_from(
    [
        None,
        EndpointConditions(ready=True, serving=True),
        EndpointConditions(ready=True, serving=True),
        EndpointConditions(ready=False, serving=False),
        EndpointConditions(ready=False, serving=True, terminating=True),
    ]
)
hints = st.sampled_from(
    [None, None, EndpointHints(for_zones=[ForZone(name="a")]), EndpointHints(for_zones=[ForZone(name="b")])]
)


@st.composite
def slices(draw: st.DrawFn) -> EndpointSlice:
    """A slice of one of the services, of either family."""
    name = draw(slice_names)
    owner = draw(st.sampled_from([name.partition("-")[0]] * 5 + ["s0"]))  # a slice may change its service
    family = draw(st.sampled_from([4, 4, 6]))
    pattern = {4: "10.1.0.{}", 6: "fd00:1::{:x}"}[family]
    numbers = draw(st.lists(st.integers(1, 6), max_size=5, unique=True))
    return EndpointSlice(
        metadata=ObjectMeta(namespace="ns", name=name, labels={"kubernetes.io/service-name": owner}),
        address_type=f"IPv{family}",
        endpoints=[
            Endpoint(
                addresses=[pattern.format(number)],
                conditions=draw(conditions),
                node_name=draw(st.sampled_from(["here", "there"])),
                hints=draw(hints),
            )
            for number in numbers
        ],
        ports=[
            EndpointPort(name=n, protocol=protocol, port=8000 + port)
            for n, protocol, port in draw(st.lists(st.sampled_from(PORTS), max_size=3, unique=True))
        ],
    )


nodes = st.builds(
    lambda zone, more: Node(NODE.name, zone, (NODE.primary[0], *more), NODE.addresses),
    st.sampled_from(["a", "b", ""]),
    st.sampled_from([(), (packed("2001:db8::1"),)]),
)

changes: st.SearchStrategy[Action] = st.one_of(
    st.builds(PutService, services()),
    st.builds(PutService, services()),
    st.builds(PutSlice, slices()),
    st.builds(PutSlice, slices()),
    st.builds(lambda name: Delete("service", name), service_names),
    st.builds(lambda name: Delete("slice", name), slice_names),
    st.builds(Move, nodes),
)

actions: st.SearchStrategy[Action] = st.one_of(changes, changes, changes, changes, st.builds(Sync, st.booleans()))


def histories(batches: int) -> st.SearchStrategy[list[list[Action]]]:
    """Batches of changes, with a sync after each."""
    return st.lists(st.lists(changes, min_size=1, max_size=4), min_size=2, max_size=batches)

"""Whatever Services and EndpointSlices say, they are read, planned and traced: what is wrong in them is named, and no
draw finds a hole. An exception would end the proxy, since objects are read as they arrive."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from netplane.api.objects import EndpointSlice, Service, ServiceCIDR
from netplane.net.addresses import packed
from netplane.nft.packet import packet
from netplane.nft.types import FAMILIES
from proxy.plan import cidrs, desired, offline, services, slices
from proxy.plan.model import Node, Options

OWN = (packed("192.0.2.1"), packed("fd00::1"))
NODE = Node("here", "a", OWN, frozenset(OWN))
OPTIONS = Options(node_port_addresses=("0.0.0.0/0", "::/0"))
ASKED = {4: ("10.96.0.1", "10.96.0.2", "192.0.2.1"), 6: ("fd00:96::1", "fd00::1")}

ODD_ADDRESSES = (
    "10.96.0.1 10.96.0.2 fd00:96::1 ::ffff:10.1.0.1 010.1.1.1 None 127.0.0.1 :: 0.0.0.0 224.0.0.1 169.254.1.1 "
    "fe80::1%eth0 10.1.0.2 fd00:1::1 300.1.1.1 1.2 ٣.1.1.1 192.0.2.1"
)
ODD_CIDRS = (
    "10.0.0.0/8 0.0.0.0/0 ::/0 10.0.0.0/33 10.0.0.0/-1 /8 10.0.0.0 fd00::/8 010.0.0.0/08 10.0.0.0/8/8 "
    "::ffff:10.0.0.0/100 10.0.0.0/255.0.0.0"
)
ADDRESSES = st.sampled_from(ODD_ADDRESSES.split(" ")) | st.text(max_size=6)
CIDRS = st.sampled_from([*ODD_CIDRS.split(" "), " 10.0.0.0/8 "]) | st.text(max_size=5)
NUMBERS = st.sampled_from([0, -1, 1, 80, 81, 65_535, 65_536, 1 << 40, 30_080])
PROTOCOLS = st.sampled_from(["TCP", "UDP", "SCTP", "tcp", "ICMP", "", "x"])
NAMES = st.sampled_from(["a", "b", "x" * 253])
CONDITIONS = st.none() | st.fixed_dictionaries(
    {}, optional={name: st.booleans() | st.none() for name in ("ready", "serving", "terminating")}
)


def few(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, max_size=3)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that have some of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


SPECS = some(
    clusterIP=ADDRESSES,
    clusterIPs=few(ADDRESSES),
    externalIPs=few(ADDRESSES),
    type=st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName", ""]),
    ports=few(some(port=NUMBERS, name=st.sampled_from(["", "a", "b"]), protocol=PROTOCOLS, nodePort=NUMBERS)),
    externalTrafficPolicy=st.sampled_from(["Local", "Cluster", "x"]),
    internalTrafficPolicy=st.sampled_from(["Local", "Cluster", "x"]),
    sessionAffinity=st.sampled_from(["ClientIP", "None", ""]),
    sessionAffinityConfig=st.none() | some(clientIP=st.none() | some(timeoutSeconds=NUMBERS | st.none())),
    loadBalancerSourceRanges=few(CIDRS),
    healthCheckNodePort=NUMBERS,
)
INGRESS = some(ip=ADDRESSES, hostname=st.just("x"), ipMode=st.sampled_from(["VIP", "Proxy", "x"]))
HINTS = some(forZones=few(some(name=NAMES)), forNodes=few(some(name=st.sampled_from(["here", "there"]))))
ENDPOINTS = some(
    addresses=few(ADDRESSES),
    conditions=CONDITIONS,
    nodeName=st.sampled_from(["here", "there", None]),
    hints=st.none() | HINTS,
)


@st.composite
def made_services(draw: st.DrawFn) -> Service:
    metadata = {"name": draw(NAMES), "namespace": "ns"}
    status = {"loadBalancer": {"ingress": draw(few(INGRESS))}}
    said = {"metadata": metadata, "spec": {"ports": [{"port": 80}], **draw(SPECS)}, "status": status}
    return msgspec.convert(said, Service)


@st.composite
def made_slices(draw: st.DrawFn) -> EndpointSlice:
    labels = {"kubernetes.io/service-name": draw(NAMES)}
    said = {
        "metadata": {"name": draw(NAMES), "namespace": "ns", "labels": labels},
        "addressType": draw(st.sampled_from(["IPv4", "IPv6", "FQDN", "x"])),
        "ports": draw(st.none() | few(some(name=NAMES, port=NUMBERS | st.none(), protocol=PROTOCOLS | st.none()))),
        "endpoints": draw(st.none() | few(ENDPOINTS)),
    }
    return msgspec.convert(said, EndpointSlice)


@settings(max_examples=60)
@given(few(made_services()), few(made_slices()), few(CIDRS))
def test_no_object_is_too_odd_to_be_read_planned_and_traced(
    said: list[Service], items: list[EndpointSlice], ranges: list[str]
) -> None:
    problems: list[str] = []
    known = cidrs.of_services(
        [msgspec.convert({"metadata": {"name": "r"}, "spec": {"cidrs": ranges}}, ServiceCIDR)], problems
    )
    assert len(known) + len(problems) <= len(ranges)
    read = [found for item in items if (found := slices.read(item, "here")) is not None]
    for service in map(services.read, said):
        desired.health(service, read)
    for family in FAMILIES:
        ledger, _ = offline.plan(said, items, family, NODE, OPTIONS, service_cidrs=known)
        rules = offline.ruleset(ledger, NODE)
        source = "10.1.0.9" if family.version == 4 else "fd00:1::9"
        for destination in ASKED[family.version]:
            assert rules.trace(packet(source, destination, 80)).holes == 0

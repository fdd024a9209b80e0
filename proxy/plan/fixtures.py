"""Fixtures: a node, its services and slices, and what must become of packets. The format of `netplane verify` files.

    cases:
    - id: web                          node: {name, primaryIP, localIPs, podCIDRs, serviceCIDRs, …}
      services: [Service …]            as the API has them
      endpointSlices: [EndpointSlice …]
      flows:
      - {name, src, proto: TCP, dst, dport, verdict: dnat, endpoints: [ip:port …], masq: false}

A flow is the first packet of a connection. `endpoints` are all that it may go to, each with some probability; `masq`
says whether its source is rewritten, `masq_by_endpoint` says so for each. What a flow does not say is not checked.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import msgspec

from netplane.api.objects import EndpointSlice, Service
from netplane.net.addresses import packed, with_port
from netplane.nft.trace import Ruleset
from netplane.nft.types import FAMILIES, Family
from proxy.plan import detector, offline
from proxy.plan.ledger import Ledger
from proxy.plan.model import TRANSPORTS, Node, Options
from proxy.plan.nodeports import PRIMARY

ZONE = "topology.kubernetes.io/zone"
# Upstream's table of these rows gives podCIDR on every row; this part of the name says that nothing looks at it.
NO_DETECTOR = "no_LocalTrafficDetector"
UPSTREAM = "upstream-unit-test"

Expectation = Literal["dnat", "reject", "drop", "none", "accept"]
Texts = str | list[str] | None


class BadFixture(ValueError):
    """A case that cannot be used: `case` names it, `field` says where."""

    def __init__(self, case: str, field: str, reason: str) -> None:
        super().__init__(f"case {case}: {field}: {reason}" if field else f"case {case}: {reason}")


class Flow(msgspec.Struct, frozen=True):
    """The first packet of a connection and what must become of it. `accept` means untouched, as `none` does."""

    src: str
    dst: str
    dport: int
    verdict: Expectation
    proto: str = "TCP"
    name: str = ""
    endpoints: list[str] | None = None
    masq: bool | None = None
    masq_by_endpoint: dict[str, bool] | None = None

    @property
    def title(self) -> str:
        """Its name, or what it is."""
        return self.name or str(self)

    @property
    def family(self) -> Family:
        """Of its destination."""
        return FAMILIES[":" in self.dst]

    @property
    def protocol(self) -> str:
        """In lower case, as nftables has it."""
        return self.proto.lower()

    def __str__(self) -> str:
        return f"{self.src} → {with_port(self.dst, self.dport)}/{self.protocol}"


class NodeFields(msgspec.Struct, frozen=True, rename="camel"):
    """`node` of a case. Lists may be written as Go prints them: `[10.0.0.0/8 fd00::/8]`."""

    name: str
    primary_ip: str = msgspec.field(name="primaryIP", default="")
    local_ips: list[str] = msgspec.field(name="localIPs", default_factory=list)
    node_port_addresses: Texts = None
    pod_cidr: Texts = msgspec.field(name="podCIDR(detectLocal=ClusterCIDR)", default=None)
    pod_cidrs: Texts = msgspec.field(name="podCIDRs", default=None)
    service_cidrs: Texts = msgspec.field(name="serviceCIDRs", default=None)
    masquerade_all: bool = False
    topology_labels: dict[str, str] = {}


class Case(msgspec.Struct, frozen=True, rename="camel"):
    """One cluster seen from one node, with its flows."""

    id: str
    node: NodeFields
    flows: list[Flow]
    origin: str = ""
    family: Literal["IPv4", "IPv6", ""] = ""
    services: list[Service] = []
    endpoint_slices: list[EndpointSlice] = []

    @property
    def first_endpoint_only(self) -> bool:
        """Whether `masq` is about the first listed endpoint: the reference's own unit tests look no further."""
        return self.origin == UPSTREAM


class World(msgspec.Struct, frozen=True):
    """A case, read: what the plan needs to make rules of it."""

    case: Case
    node: Node
    options: Options
    pod_cidrs: tuple[str, ...]
    service_cidrs: tuple[str, ...]

    def ledger(self, family: Family) -> tuple[Ledger, list[str]]:
        """What one family's table holds, and what of the objects was skipped."""
        return offline.plan(
            self.case.services,
            self.case.endpoint_slices,
            family,
            self.node,
            detector.of_family(self.options, family, self.pod_cidrs),
            service_cidrs=self.service_cidrs,
            pod_cidrs=self.pod_cidrs,
        )

    def ruleset(self, family: Family) -> tuple[Ruleset, list[str]]:
        """One family's table, ready to be traced through, and what was skipped."""
        ledger, problems = self.ledger(family)
        return offline.ruleset(ledger, self.node), problems

    def from_node(self, flow: Flow) -> bool:
        """Whether a flow starts on the node: at an address of its, or at a VIP that asks itself."""
        return packed(flow.src) in self.node.addresses or flow.src == flow.dst


# Reading --------------------------------------------------------------------------------------------------------


def read(document: Any) -> list[World]:
    """All cases of a file.

    Raises:
        BadFixture: for the first field that cannot be used.
    """
    cases = document.get("cases") if isinstance(document, Mapping) else None
    if not isinstance(cases, list):
        raise BadFixture("(none)", "", "the file has no list named `cases`")
    return [_world(_case(said, index)) for index, said in enumerate(cases)]


def unknown_fields(document: Mapping[str, Any]) -> list[str]:
    """Fields of nodes and flows that mean nothing here: misspelt ones would otherwise pass for absent."""
    found: dict[str, None] = {}
    for said in document["cases"]:
        for where, cls, items in (("node", NodeFields, [said["node"]]), ("flows", Flow, said["flows"])):
            known = {field.encode_name for field in msgspec.structs.fields(cls)}
            found.update((f"{where}.{name}", None) for item in items for name in item if name not in known)
    return list(found)


def _case(said: Any, index: int) -> Case:
    name = str(said.get("id", index + 1)) if isinstance(said, Mapping) else str(index + 1)
    try:
        return msgspec.convert(said, Case)
    except msgspec.ValidationError as error:
        reason, _, field = str(error).partition(" - at `$")
        raise BadFixture(name, field.strip("`."), reason) from error


def _world(case: Case) -> World:
    said = case.node
    pods = "podCIDRs" if said.pod_cidr is None else "podCIDR(detectLocal=ClusterCIDR)"
    pod_cidrs = _cidrs(case, pods, said.pod_cidrs if said.pod_cidr is None else said.pod_cidr)
    if NO_DETECTOR in case.id:
        pod_cidrs = ()
    local = [_address(case, f"node.localIPs[{i}]", text) for i, text in enumerate(said.local_ips)]
    primary = [_address(case, "node.primaryIP", said.primary_ip)] if said.primary_ip else []
    local = local or primary  # only an address that the node has answers NodePorts
    node = Node(said.name, said.topology_labels.get(ZONE, ""), _primaries(primary, local), frozenset(local))
    options = Options(
        masquerade_all=said.masquerade_all,
        detect_local="ClusterCIDR" if pod_cidrs else "",
        node_port_addresses=_cidrs(case, "nodePortAddresses", said.node_port_addresses) or (PRIMARY,),
    )
    for index, flow in enumerate(case.flows):
        _check_flow(case, f"flows[{index}]", flow)
    return World(case, node, options, pod_cidrs, _cidrs(case, "serviceCIDRs", said.service_cidrs))


def _primaries(primary: list[bytes], local: list[bytes]) -> tuple[bytes, ...]:
    """The primary address, and the first of the other family, if any: a Node object names one of each."""
    usable = (a for a in local if not (ip := ipaddress.ip_address(a)).is_loopback and not ip.is_link_local)
    other = next((a for a in usable if primary and len(a) != len(primary[0])), None)
    return (*primary, other) if other else tuple(primary)


def _address(case: Case, field: str, text: str) -> bytes:
    try:
        return packed(text)
    except ValueError as error:
        raise BadFixture(case.id, field, f"{text!r} is no IP address") from error


def _cidrs(case: Case, field: str, said: Texts) -> tuple[str, ...]:
    texts = re.findall(r"[^\s,\[\]'\"]+", said) if isinstance(said, str) else said or []
    for text in texts:
        if text == PRIMARY and field == "nodePortAddresses":
            continue
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise BadFixture(case.id, f"node.{field}", f"{text!r} is no CIDR") from error
    return tuple(texts)


def _check_flow(case: Case, where: str, flow: Flow) -> None:
    for field, reason in _flow_problems(case, where, flow):
        raise BadFixture(case.id, f"{where}.{field}", reason)


def _flow_problems(case: Case, where: str, flow: Flow) -> Iterator[tuple[str, str]]:
    source = _address(case, f"{where}.src", flow.src)
    if len(source) != len(_address(case, f"{where}.dst", flow.dst)):
        yield "dst", f"{flow.dst} is not of the family of src {flow.src}"
    if case.family and flow.family.name != case.family:
        yield "dst", f"{flow.dst} is not {case.family}, the case's family"
    if not 0 < flow.dport < 65_536:
        yield "dport", f"{flow.dport} is no port"
    if flow.protocol not in TRANSPORTS:
        yield "proto", f"{flow.proto!r} is none of TCP, UDP, SCTP"
    if flow.verdict not in get_args(Expectation):
        yield "verdict", f"{flow.verdict!r} is none of {', '.join(get_args(Expectation))}"
    if flow.verdict != "dnat" and flow.endpoints:
        yield "endpoints", f"a flow whose verdict is {flow.verdict} reaches none"
    for text in (*(flow.endpoints or ()), *(flow.masq_by_endpoint or ())):
        address, _, port = text.rpartition(":")
        if not address or not port.isdigit():
            yield "endpoints", f"{text!r} is no address:port"
        _address(case, f"{where}.endpoints", address.strip("[]"))

"""The service plan in tables: who is served, which endpoints count, what goes into the maps."""

from typing import Any

import msgspec
import pytest

from netplane.api.objects import EndpointSlice, Service
from netplane.net.addresses import packed
from netplane.nft.packet import packet
from netplane.nft.types import IPV4, IPV6
from proxy.plan import desired, flows, nodeports, offline, services, slices
from proxy.plan.changes import Tracker
from proxy.plan.flows import TCP, UDP, Expected, Seen
from proxy.plan.model import Frontend, Node, Options, frontend_key
from proxy.plan.skeleton import MAX_ENDPOINTS, missing_balancers

NODE = Node("here", "a", (packed("192.0.2.1"),), frozenset(map(packed, ("192.0.2.1", "192.0.2.9", "127.0.0.1", "::1"))))
POD_TO, OUT = "10.244.0.9", "203.0.113.9"


def service(name: str = "web", **spec: Any) -> Service:
    plain = {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80}]}
    status = spec.pop("status", {})
    labels = spec.pop("labels", {})
    return msgspec.convert(
        {"metadata": {"namespace": "ns", "name": name, "labels": labels}, "spec": {**plain, **spec}, "status": status},
        Service,
    )


def piece(*endpoints: str | dict[str, Any], name: str = "web-1", **fields: Any) -> EndpointSlice:
    listed = [{"addresses": [e]} if isinstance(e, str) else e for e in endpoints]
    document = {
        "metadata": {"namespace": "ns", "name": name, "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": listed,
        "ports": [{"name": "http", "port": 8080}],
        **fields,
    }
    return msgspec.convert(document, EndpointSlice)


def destinations(
    made: Service,
    *items: EndpointSlice,
    to: str = "10.96.0.1",
    port: int = 80,
    source: str = POD_TO,
    options: Options | None = None,
    proto: str = "tcp",
) -> list[str] | str:
    """Where a packet may go: endpoints, or the outcome's name."""
    chosen = options or Options(detect_local="ClusterCIDR")
    ledger, _ = offline.plan(
        [made], items, IPV4, NODE, chosen, pod_cidrs=["10.244.0.0/16"], service_cidrs=["10.96.0.0/16"]
    )
    trace = offline.ruleset(ledger, NODE).trace(packet(source, to, port, proto))
    return sorted(map(str, trace.endpoints)) if trace.outcome == "dnat" else trace.outcome


@pytest.mark.parametrize(
    "made",
    [
        service(clusterIP="None"),
        service(clusterIP=""),
        service(type="ExternalName"),
        service(labels={"service.kubernetes.io/service-proxy-name": "another"}),
    ],
    ids=["headless", "no address yet", "ExternalName", "another proxy"],
)
def test_services_that_are_none_of_our_business(made: Service) -> None:
    assert services.read(made) == services.Served("ns/web", ())


HEADLESS, THEIRS = "service.kubernetes.io/headless", "service.kubernetes.io/service-proxy-name"


@pytest.mark.parametrize(
    ("of_service", "of_slice", "reached"),
    [
        ({HEADLESS: ""}, {}, ["10.1.0.1:8080"]),
        ({}, {THEIRS: "another"}, ["10.1.0.1:8080"]),
        ({}, {HEADLESS: ""}, "reject"),
    ],
    ids=["a service is headless by its address", "a proxy's name is asked of services", "slices by their label"],
)
def test_each_label_counts_for_its_kind(of_service: dict[str, str], of_slice: dict[str, str], reached: object) -> None:
    of_web = {"kubernetes.io/service-name": "web", **of_slice}
    endpoints = piece("10.1.0.1", metadata={"namespace": "ns", "name": "web-1", "labels": of_web})
    assert destinations(service(labels=of_service), endpoints) == reached


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"externalIPs": ["999.1.1.1"]}, "externalIPs has '999.1.1.1'"),
        ({"externalIPs": ["010.1.1.256"]}, "externalIPs has '010.1.1.256'"),
        ({"ports": [{"name": "http", "port": 0}]}, "port 'http' (0/TCP)"),
        ({"ports": [{"name": "http", "port": 80, "protocol": "ICMPX"}]}, "port 'http' (80/ICMPX)"),
        ({"ports": [{"name": "http", "port": 80, "nodePort": 70000}]}, "port 'http' (80/TCP)"),
        ({"ports": [{"name": "ping", "port": 80, "protocol": "ICMP"}]}, "port 'ping' (80/ICMP)"),
        ({"ports": [{"name": n, "port": 80} for n in "ab"]}, "port 'b' (80/TCP) is that of port 'a', too"),
        ({"externalIPs": ["127.0.0.1"]}, "externalIPs has '127.0.0.1', which is loopback"),
        ({"externalIPs": ["0.0.0.0"]}, "externalIPs has '0.0.0.0', which is unspecified"),
        ({"externalIPs": ["fe80::1"]}, "externalIPs has 'fe80::1', which is link-local"),
        ({"clusterIP": "127.0.0.1"}, "clusterIPs has '127.0.0.1', which is loopback"),
        (
            {"status": {"loadBalancer": {"ingress": [{"ip": "::1"}]}}},
            "loadBalancer ingress has '::1', which is loopback",
        ),
        (
            {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 70000},
            "healthCheckNodePort 70000 is no port",
        ),
        ({"loadBalancerSourceRanges": ["10.0.0.0/99"]}, "loadBalancerSourceRanges has '10.0.0.0/99'"),
        ({"status": {"loadBalancer": {"ingress": [{"ip": "nonsense"}]}}}, "loadBalancer ingress has 'nonsense'"),
    ],
)
def test_what_cannot_be_served_is_named_and_hurts_nothing_else(spec: dict[str, Any], named: str) -> None:
    made = service(**spec)
    (problem,) = services.read(made).problems
    assert problem.startswith("service ns/web: ")
    assert named in problem
    ledger, problems = offline.plan([made, service("good", clusterIP="10.96.0.2")], [], IPV4, NODE, Options())
    assert problems == [problem]
    assert ledger.frontend(frontend_key(packed("10.96.0.2"), TCP, 80)) == Frontend("goto do-reject")


def test_what_only_a_file_can_say_is_named() -> None:
    """No apiserver has such objects: without a word, an empty plan would look like a right one."""
    bare, headless = service("bare", clusterIP=""), service("headless", clusterIP="None")
    odd = piece("10.0.0.1", name="odd", addressType="IPv5")
    _, problems = offline.plan([bare, headless], [odd], IPV4, NODE, Options())
    assert problems == [
        "service ns/bare: it has no clusterIP: the apiserver gives one (`None`: headless, not for a proxy)",
        "endpoint slice ns/odd: addressType 'IPv5' is none of IPv4, IPv6, FQDN",
    ]


def test_ranges_that_cannot_be_read_let_nobody_in() -> None:
    made = service(
        loadBalancerSourceRanges=["nonsense"], status={"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}}
    )
    assert destinations(made, piece("10.1.0.1"), to="198.51.100.1") == "drop"


@pytest.mark.parametrize(
    ("endpoint", "named"),
    [
        ({"addresses": ["nonsense"]}, "'nonsense' is no IPv4 address"),
        ({"addresses": ["fd00::1"]}, "'fd00::1' is no IPv4 address"),
        ({"addresses": ["10.1.0.9 "]}, "'10.1.0.9 ' is no IPv4 address"),
        ({"addresses": ["0.0.0.0"]}, "'0.0.0.0' is unspecified, so nothing is led there"),
        ({"addresses": ["169.254.169.254"]}, "'169.254.169.254' is link-local, so nothing is led there"),
        ({"addresses": ["224.0.0.5"]}, "'224.0.0.5' is link-local, so nothing is led there"),
    ],
)
def test_a_bad_endpoint_is_named_and_the_others_serve(endpoint: dict[str, Any], named: str) -> None:
    item = piece(endpoint, "10.1.0.1")
    read = slices.read(item, "here")
    assert read is not None
    assert read.problems == (f"endpoint slice ns/web-1: {named}",)
    assert destinations(service(), item) == ["10.1.0.1:8080"]


@pytest.mark.parametrize(
    ("conditions", "takes"),
    [
        (None, True),
        ({}, True),
        ({"ready": True}, True),
        ({"ready": False}, False),
        ({"ready": False, "serving": True}, False),
        ({"ready": False, "serving": True, "terminating": True}, True),
        ({"ready": False, "serving": False, "terminating": True}, False),
        ({"serving": False}, True),
        ({"ready": False, "terminating": True}, True),
    ],
)
def test_conditions_read_as_the_api_documents(conditions: dict[str, bool] | None, takes: bool) -> None:
    """Alone in its service, so that a terminating endpoint that serves is the fallback."""
    found = destinations(service(), piece({"addresses": ["10.1.0.1"], "conditions": conditions}))
    assert found == (["10.1.0.1:8080"] if takes else "reject")


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([piece("10.1.0.1"), piece("10.1.0.1", "10.1.0.2", name="web-2")], ["10.1.0.1:8080", "10.1.0.2:8080"]),
        ([piece("10.1.0.1", ports=[{"name": "other", "port": 1}])], "reject"),
        ([piece("10.1.0.1", ports=[{"name": "http", "port": 53, "protocol": "UDP"}])], "reject"),
        ([piece("10.1.0.1", ports=[{"name": "http", "port": None}])], "reject"),
        ([piece("10.1.0.1", addressType="FQDN")], "reject"),
        ([piece({"addresses": []}, "10.1.0.1")], ["10.1.0.1:8080"]),
        ([piece({"addresses": ["10.1.0.1", "10.1.0.2"]})], ["10.1.0.1:8080"]),
    ],
    ids=["twice", "other port name", "other protocol", "no port", "names", "no address", "first address counts"],
)
def test_slices_are_merged_by_port_name(items: list[EndpointSlice], expected: list[str] | str) -> None:
    assert destinations(service(), *items) == expected


def test_of_an_endpoint_in_two_slices_the_one_that_is_local_counts() -> None:
    there, here = ({"addresses": ["10.1.0.1"], "nodeName": node} for node in ("there", "here"))
    for first, second in ((there, here), (here, there)):
        pieces = [piece(first), piece(second, name="web-2")]
        assert destinations(service(internalTrafficPolicy="Local"), *pieces) == ["10.1.0.1:8080"]


def test_a_service_of_too_many_endpoints_is_skipped_with_its_name() -> None:
    many = [f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}" for i in range(MAX_ENDPOINTS + 1)]
    ledger, problems = offline.plan(
        [service(), service("b", clusterIP="10.96.0.2")], [piece(*many)], IPV4, NODE, Options()
    )
    assert problems == ["service ns/web: 16385 endpoints at port 'http', 16384 is most"]
    assert ledger.frontends_of("ns/b") != ()


@pytest.mark.parametrize(
    ("policy", "family", "expected"),
    [
        (("primary",), IPV4, ["192.0.2.1"]),
        (("192.0.2.0/24",), IPV4, ["192.0.2.1", "192.0.2.9"]),
        (("192.0.2.9/32", "::/0"), IPV4, ["192.0.2.9"]),
        ((), IPV4, ["192.0.2.1", "192.0.2.9"]),
        (("127.0.0.0/8",), IPV4, []),
        (("0.0.0.0/0",), IPV4, ["192.0.2.1", "192.0.2.9"]),
        (("::/0",), IPV6, []),
    ],
)
def test_node_port_addresses(policy: tuple[str, ...], family: Any, expected: list[str]) -> None:
    found = nodeports.addresses(family, NODE, Options(node_port_addresses=policy))
    assert [family.address.text(address) for address in found] == expected


def test_a_primary_address_that_no_interface_has_is_somebody_elses() -> None:
    elsewhere = Node("here", "a", (packed("192.0.2.1"),), frozenset({packed("192.0.2.9")}))
    assert nodeports.addresses(IPV4, elsewhere, Options()) == ()


@pytest.mark.parametrize("mode", ["BridgeInterface", "InterfaceNamePrefix"])
def test_local_pods_told_by_their_interface(mode: Any) -> None:
    options = Options(detect_local=mode, local="eth" if mode == "InterfaceNamePrefix" else "eth0")
    ledger, _ = offline.plan([service()], [piece("10.1.0.1")], IPV4, NODE, options)
    rules = offline.ruleset(ledger, NODE)
    from_pod = packet(OUT, "10.96.0.1", 80)
    assert rules.trace(from_pod).masquerade is False
    assert rules.trace(from_pod._replace(iifname="wan0")).masquerade is True
    assert rules.trace(packet("192.0.2.1", "10.96.0.1", 80, local=True)).masquerade is True


def test_a_rolling_update_of_two_services_on_one_address_leaves_the_address() -> None:
    ledger, _ = offline.plan([service()], [], IPV4, NODE, Options())
    old = ledger.contents()["cluster-ips"]
    fragment = desired.fragment(services.read(service("new")), [], IPV4, NODE, Options(), [])
    ledger.update({"ns/new": fragment, "ns/web": desired.fragment(None, [], IPV4, NODE, Options(), [])})
    assert ledger.contents()["cluster-ips"] == old
    assert ledger.owner(frontend_key(packed("10.96.0.1"), TCP, 80)) == "ns/new"


def test_changes_that_mean_nothing_are_no_changes() -> None:
    tracker = Tracker()
    bare, labelled = services.read(service()), services.read(service(labels={"a": "b"}))
    assert tracker.service_changed(None, bare)
    tracker.take()
    assert not tracker.service_changed(bare, labelled)
    item = slices.read(piece("10.1.0.1"), "here")
    assert tracker.slice_changed(None, item)
    assert tracker.take() == {"ns/web"}
    assert not tracker.slice_changed(item, slices.read(piece("10.1.0.1"), "here"))
    assert tracker.slice_changed(item, None)
    assert tracker.take() == {"ns/web"}
    assert list(tracker.slices("ns/web")) == []


def test_balancers_beyond_the_prepared_ones_are_named_smallest_first() -> None:
    assert missing_balancers(["goto lb_3", "goto lb_200", "goto lb_65", "goto sc_64", "drop", "goto ext"]) == [
        "lb_65",
        "lb_200",
    ]


# Flows ------------------------------------------------------------------------------------------------------------


def row(number: int) -> bytes:
    return bytes([10, 1, 0, number, 31, 144, 0, 0])


@pytest.mark.parametrize(
    ("protocol", "old", "new", "looked_at"),
    [
        (UDP, Frontend("x", row(1)), Frontend("x", row(1)), False),
        (UDP, Frontend("x", row(1)), Frontend("x", row(1) + row(2)), True),
        (UDP, None, Frontend("x", row(1)), True),
        (UDP, Frontend("x", row(1)), None, True),
        (TCP, Frontend("x", row(1)), Frontend("x", row(1) + row(2)), False),
        (TCP, Frontend("x", row(1) + row(2)), Frontend("x", row(2)), True),
        (TCP, Frontend("x", row(1), short_rows=row(2)), Frontend("x", row(1)), True),
        (TCP, Frontend("x", row(1)), None, True),
        (132, Frontend("x", row(1)), None, False),
    ],
)
def test_flows_are_looked_at_only_where_something_was_lost(
    protocol: int, old: Frontend | None, new: Frontend | None, looked_at: bool
) -> None:
    key = frontend_key(packed("10.96.0.1"), protocol, 80)
    assert bool(flows.candidates({key: old}, {key: new}, 8)) == looked_at


def test_a_service_that_is_gone_expects_no_flow_and_one_that_is_not_asked_about_none_is_judged() -> None:
    key = frontend_key(packed("10.96.0.1"), UDP, 53)
    assert desired.expected_flows(None, [], IPV4, [key]) == {key: flows.GONE}
    seen = Seen(key, row(1), translated=True)
    assert list(flows.stale([("flow", seen)], UDP, {key: flows.GONE})) == ["flow"]
    assert list(flows.stale([("flow", seen)], UDP, {})) == []


def test_two_ports_that_a_number_does_not_tell_apart_keep_the_flows_of_both() -> None:
    made = services.read(
        service(
            type="NodePort",
            ports=[
                {"name": "http", "port": 80, "nodePort": 30080},
                {"name": "other", "port": 30080, "nodePort": 31000},
            ],
        )
    )
    item = slices.read(piece("10.1.0.1", ports=[{"name": "http", "port": 1}, {"name": "other", "port": 2}]), "here")
    assert item is not None
    key = frontend_key(packed("192.0.2.1"), TCP, 30080)
    (expected,) = desired.expected_flows(made, [item], IPV4, [key]).values()
    assert isinstance(expected, Expected)
    assert len(expected.known) == 2


def test_the_health_check_counts_ready_endpoints_of_this_node_once() -> None:
    local: dict[str, Any] = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}
    made = services.read(service(**local))
    endpoints: list[dict[str, Any]] = [
        {"addresses": ["10.1.0.1"], "nodeName": "here"},
        {"addresses": ["10.1.0.2"], "nodeName": "there"},
        {"addresses": ["10.1.0.3"], "nodeName": "here", "conditions": {"ready": False}},
    ]
    item = slices.read(piece(*endpoints, ports=[{"name": "a", "port": 1}, {"name": "b", "port": 2}]), "here")
    assert item is not None
    assert desired.health(made, [item]) == ("ns/web", 32000, 1)
    others: list[dict[str, Any]] = [
        {"healthCheckNodePort": 0},
        {"externalTrafficPolicy": "Cluster"},
        {"type": "NodePort"},
    ]
    for other in others:
        assert desired.health(services.read(service(**local | other)), [item]) is None


def test_of_two_alike_that_are_one_endpoint_the_later_counts() -> None:
    hinted = [{"addresses": ["10.1.0.1"], "hints": {"forZones": [{"name": zone}]}} for zone in "ba"]
    other = {"addresses": ["10.1.0.2"], "hints": {"forZones": [{"name": "b"}]}}
    assert destinations(service(), piece(*hinted, other)) == ["10.1.0.1:8080"]
    assert destinations(service(), piece(*hinted[::-1], other)) == ["10.1.0.1:8080", "10.1.0.2:8080"]

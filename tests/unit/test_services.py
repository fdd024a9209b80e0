"""Services before and during allocation: what a change keeps, drops, infers and takes."""

import copy
import ipaddress
from typing import Any

import pytest

from netplane.api import defaults, kinds, services, validation
from netplane.api.errors import StatusError
from netplane.api.fields import FieldError
from netplane.api.service_pools import ServicePools
from netplane.net.bitmap import Addresses, Ports

Json = dict[str, Any]
V4 = ipaddress.ip_network("10.96.0.0/24")
V6 = ipaddress.ip_network("fd00::/120")


def pools(*networks: ipaddress.IPv4Network | ipaddress.IPv6Network, high: int = 30100) -> ServicePools:
    return ServicePools([Addresses(network, seed=5) for network in networks or (V4,)], Ports(30000, high, seed=5))


def store(pool: ServicePools, spec: Json, old: Json | None = None, name: str = "s") -> Json:
    """What an apiserver does with a Service, in order; the claim is kept."""
    obj: Json = {"metadata": {"name": name, "namespace": "n"}, "spec": copy.deepcopy(spec)}
    defaults.apply(kinds.SERVICE, obj)
    if old is not None:
        services.keep_allocated(obj["spec"], old["spec"])
    services.normalize(obj["spec"], old and old["spec"])
    refuse(services.settle_families(obj["spec"], old and old["spec"], pool.families))
    claim = pool.claim(obj, old)
    try:
        if old is not None:
            services.drop_of_old_type(obj["spec"], old["spec"])
        refuse(validation.validate(kinds.SERVICE, obj, old))
    except ValueError:
        claim.give_back()
        raise
    pool.settle(claim, obj, old)
    claim.keep()
    return obj


def refuse(problems: list[FieldError]) -> None:
    if problems:
        raise ValueError("; ".join(map(str, problems)))


@pytest.mark.parametrize(
    ("spec", "networks", "families", "policy"),
    [
        ({}, (V4,), ["IPv4"], "SingleStack"),
        ({}, (V6, V4), ["IPv6"], "SingleStack"),
        ({"clusterIP": "None", "selector": {"a": "b"}}, (V4,), ["IPv4"], "SingleStack"),
        ({"clusterIP": "None"}, (V4,), ["IPv4", "IPv6"], "RequireDualStack"),
        ({"clusterIP": "None", "ipFamilyPolicy": "SingleStack"}, (V4,), ["IPv4"], "SingleStack"),
        ({"ipFamilyPolicy": "PreferDualStack"}, (V4,), ["IPv4"], "PreferDualStack"),
        ({"ipFamilyPolicy": "PreferDualStack"}, (V4, V6), ["IPv4", "IPv6"], "PreferDualStack"),
        (
            {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]},
            (V4, V6),
            ["IPv6", "IPv4"],
            "RequireDualStack",
        ),
        ({"clusterIP": "fd00::7"}, (V4, V6), ["IPv6"], "SingleStack"),
    ],
)
def test_families_follow_from_what_is_said(spec: Json, networks: Any, families: list[str], policy: str) -> None:
    obj = store(pools(*networks), {"ports": [{"port": 80}], **spec})
    assert (obj["spec"]["ipFamilies"], obj["spec"]["ipFamilyPolicy"]) == (families, policy)
    if obj["spec"]["clusterIP"] != "None":
        versions = [f"IPv{ipaddress.ip_address(ip).version}" for ip in obj["spec"]["clusterIPs"]]
        assert versions == families


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"ipFamilyPolicy": "RequireDualStack"},
            'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": '
            "this cluster is not configured for dual-stack services",
        ),
        ({"ipFamilies": ["IPv6"]}, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
        (
            {"ipFamilies": ["IPv4", "IPv6"]},
            "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' "
            "when multiple IP families are specified",
        ),
        (
            {"clusterIP": "fd00::1"},
            'spec.clusterIPs[0]: Invalid value: ["fd00::1"]: IPv6 is not configured on this cluster',
        ),
    ],
)
def test_families_a_cluster_does_not_have(spec: Json, message: str) -> None:
    spec = {"type": "ClusterIP", "clusterIPs": [spec["clusterIP"]] if "clusterIP" in spec else [], **spec}
    assert [str(error) for error in services.settle_families(spec, None, ("IPv4",))] == [message]


def test_types_release_what_they_must() -> None:
    pool = pools()
    http = [{"port": 80}]
    plain = store(pool, {"ports": http})
    ip = plain["spec"]["clusterIP"]
    node_port = store(pool, {**plain["spec"], "type": "NodePort"}, plain)
    number = node_port["spec"]["ports"][0]["nodePort"]
    assert (node_port["spec"]["clusterIP"], number >= 30000) == (ip, True)
    back = store(pool, {**node_port["spec"], "type": "ClusterIP"}, node_port)
    assert "nodePort" not in back["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in back["spec"]
    assert pool._ports.free == 101
    named = store(pool, {**back["spec"], "type": "ExternalName", "externalName": "x.example"}, back)
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & set(named["spec"])
    assert ipaddress.ip_address(ip) not in pool._addresses["IPv4"]
    again = store(pool, {"ports": http, "type": "ClusterIP"}, named)
    assert again["spec"]["clusterIP"]


def test_a_client_that_says_less_keeps_what_it_has() -> None:
    pool = pools()
    old = store(pool, {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80, "name": "a"}]})
    assert old["spec"]["healthCheckNodePort"] >= 30000
    new = store(
        pool,
        {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 81, "name": "a"}]},
        old,
    )
    for field in ("clusterIP", "clusterIPs", "healthCheckNodePort"):
        assert new["spec"][field] == old["spec"][field]
    assert new["spec"]["ports"][0]["nodePort"] == old["spec"]["ports"][0]["nodePort"]
    pool.release(new)
    assert (pool._ports.free, pool._addresses["IPv4"].free) == (101, 254)


def test_tcp_and_udp_share_a_node_port() -> None:
    ports = [
        {"port": 53, "name": "t", "protocol": "TCP"},
        {"port": 53, "name": "u", "protocol": "UDP", "nodePort": 30053},
        {"port": 80, "name": "h"},
    ]
    obj = store(pools(), {"type": "NodePort", "ports": ports})
    first, second, third = (port["nodePort"] for port in obj["spec"]["ports"])
    assert first == second == 30053 != third


def test_a_balancer_may_do_without_node_ports() -> None:
    spec = {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False, "ports": [{"port": 80}]}
    assert "nodePort" not in store(pools(), spec)["spec"]["ports"][0]


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        (
            {"clusterIP": "10.96.0.7"},
            "spec.clusterIPs",
            'Invalid value: ["10.96.0.7"]: failed to allocate IP 10.96.0.7: provided IP is already allocated',
        ),
        (
            {"clusterIP": "10.97.0.1"},
            "spec.clusterIPs",
            'Invalid value: ["10.97.0.1"]: failed to allocate IP 10.97.0.1: the provided IP (10.97.0.1) is not in the '
            "valid range. The range of valid IPs is 10.96.0.0/24",
        ),
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30007}]},
            "spec.ports[0].nodePort",
            "Invalid value: 30007: provided port is already allocated",
        ),
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
            "spec.ports[0].nodePort",
            "Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-30100",
        ),
    ],
)
def test_what_cannot_be_had_and_nothing_stays_taken(spec: Json, field: str, message: str) -> None:
    pool = pools()
    store(pool, {"type": "NodePort", "clusterIP": "10.96.0.7", "ports": [{"port": 80, "nodePort": 30007}]})
    before = (list(pool._addresses["IPv4"]), list(pool._ports))
    with pytest.raises(StatusError) as failure:
        store(pool, {"ports": [{"port": 80}], **spec})
    assert failure.value.code == 422
    (cause,) = (failure.value.details or {})["causes"]
    assert cause == {"reason": "FieldValueInvalid", "message": message, "field": field}
    assert (list(pool._addresses["IPv4"]), list(pool._ports)) == before


def test_exhaustion() -> None:
    pool = pools(ipaddress.ip_network("10.96.0.0/30"), high=30000)
    store(pool, {"type": "NodePort", "ports": [{"port": 80}]})
    with pytest.raises(StatusError, match="failed to allocate a nodePort: range is full") as failure:
        store(pool, {"type": "NodePort", "ports": [{"port": 80}]})
    assert failure.value.code == 500
    store(pool, {"ports": [{"port": 80}]})
    with pytest.raises(StatusError, match='failed to allocate a serviceIP for Service "s": range is full'):
        store(pool, {"ports": [{"port": 80}]})


def test_a_claim_that_is_given_back_leaves_no_trace_and_adoption_restores() -> None:
    pool = pools(V4, V6)
    kept = store(pool, {"type": "NodePort", "ipFamilyPolicy": "PreferDualStack", "ports": [{"port": 80}]})
    obj = {"metadata": {"name": "x"}, "spec": {"type": "NodePort", "ipFamilies": ["IPv4"], "ports": [{"port": 1}]}}
    pool.claim(obj, None).give_back()
    fresh = pools(V4, V6)
    fresh.adopt(kept)
    fresh.adopt(kept)
    for family in ("IPv4", "IPv6"):
        assert list(fresh._addresses[family]) == list(pool._addresses[family])
    assert list(fresh._ports) == list(pool._ports)


def test_dual_stack_up_and_down() -> None:
    pool = pools(V4, V6)
    single = store(pool, {"ports": [{"port": 80}]})
    dual = store(pool, {**single["spec"], "ipFamilyPolicy": "PreferDualStack"}, single)
    assert len(dual["spec"]["clusterIPs"]) == 2
    with pytest.raises(ValueError, match="must be 'SingleStack' to release the secondary cluster IP"):
        store(pool, {**dual["spec"], "clusterIPs": dual["spec"]["clusterIPs"][:1]}, dual)
    down = store(pool, {**dual["spec"], "ipFamilyPolicy": "SingleStack"}, dual)
    assert (down["spec"]["clusterIPs"], down["spec"]["ipFamilies"]) == (single["spec"]["clusterIPs"], ["IPv4"])
    assert pool._addresses["IPv6"].free == 255
    with pytest.raises(ValueError, match=r"spec\.clusterIPs\[0\]: Invalid value: .* may not change once set"):
        store(pool, {**down["spec"], "clusterIP": "10.96.0.99"}, down)


NP: Json = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30007}]}
LOCAL: Json = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]}


@pytest.mark.parametrize(
    ("old", "spec", "wanted"),
    [
        ({}, {}, {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ipFamilies": ["IPv4"]}),
        ({}, {"clusterIP": "", "clusterIPs": []}, {"clusterIPs": ["10.96.0.7"]}),
        ({}, {"ipFamilyPolicy": "PreferDualStack"}, {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4"]}),
        (NP, {"type": "NodePort"}, {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30007}]}),
        (NP, {**NP, "type": "ClusterIP"}, {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}),
        (
            {"clusterIP": "None"},
            {"clusterIP": "None", "type": "ExternalName", "externalName": "a.b"},
            {"clusterIP": None},
        ),
        ({**LOCAL, "healthCheckNodePort": 30009}, LOCAL, {"healthCheckNodePort": 30009}),
        ({**LOCAL, "loadBalancerClass": "a.b/c"}, {"loadBalancerClass": "a.b/c"}, {"loadBalancerClass": None}),
    ],
)
def test_a_manifest_is_sent_again(old: Json, spec: Json, wanted: Json) -> None:
    pool, http = pools(), {"ports": [{"port": 80}]}
    before = store(pool, {**http, "clusterIP": "10.96.0.7", **old})
    made = store(pool, {**http, **spec}, before)["spec"]
    assert {field: made.get(field) for field in wanted} == wanted


FIRST = 'Service "s" is invalid: '


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        (
            {
                "type": "NodePort",
                "ports": [{"name": "a", "port": 1, "nodePort": 30001}, {"port": 2, "nodePort": 30001}],
            },
            422,
            FIRST + "spec.ports[1].nodePort: Invalid value: 30001: provided port is already allocated",
        ),
        (
            {"type": "NodePort", "ports": [{"port": 1, "nodePort": 1}, {"port": 2, "nodePort": 2}]},
            422,
            FIRST + "spec.ports[0].nodePort: Invalid value: 1: provided port is not in the valid range. "
            "The range of valid ports is 30000-30100",
        ),
        (
            {**LOCAL, "healthCheckNodePort": 30007},
            500,
            "Internal error occurred: failed to allocate requested HealthCheck NodePort 30007: "
            "provided port is already allocated",
        ),
    ],
)
def test_the_first_that_cannot_be_had_is_all_that_is_told(spec: Json, code: int, message: str) -> None:
    pool = pools()
    store(pool, NP)
    with pytest.raises(StatusError) as failure:
        store(pool, spec)
    assert (failure.value.code, failure.value.message) == (code, message)


def test_two_ports_without_names_were_one_before() -> None:
    pool = pools()
    old = store(pool, NP)
    with pytest.raises(StatusError, match=r"^duplicate nodePort: \{TCP 30007\}$"):
        store(pool, {"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}, old)


def test_an_empty_class_is_a_class() -> None:
    pool, http = pools(), {"ports": [{"port": 80}]}
    old = store(pool, {**http, "type": "LoadBalancer"})
    with pytest.raises(ValueError, match="loadBalancerClass: Forbidden: may only be used when"):
        store(pool, {**http, "loadBalancerClass": ""}, old)


def test_ports_that_get_names_get_new_node_ports() -> None:
    pool = pools()
    old = store(pool, NP)
    made = store(pool, {"type": "NodePort", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}, old)
    first, second = (port["nodePort"] for port in made["spec"]["ports"])
    assert len({first, second, 30007}) == 3
    assert pool._ports.free == 99


def test_an_address_is_not_given_up_for_none() -> None:
    pool = pools(V4)
    old = store(pool, {"ports": [{"port": 80}], "ipFamilyPolicy": "PreferDualStack"})
    with pytest.raises(
        ValueError, match=r"spec\.clusterIPs\[0\]: Invalid value: \[\"None\"\]: may not change once set"
    ):
        store(pool, {**old["spec"], "clusterIP": "None", "clusterIPs": ["None"]}, old)


def test_a_name_that_no_address_can_refer_to() -> None:
    with pytest.raises(StatusError, match=r'"10\.96\.0\.\d+" is invalid: spec\.parentRef\.name: Required value'):
        store(pools(), {"ports": [{"port": 80}]}, name="")


def test_a_dry_run_takes_nothing() -> None:
    pool = pools()
    store(pool, {**NP, "clusterIP": "10.96.0.7"})
    before = (pool._ports.free, pool._addresses["IPv4"].free)
    obj: Json = {"metadata": {"name": "d"}, "spec": {**copy.deepcopy(LOCAL), "ipFamilies": ["IPv4"]}}
    pool.claim(obj, None, dry_run=True).keep()
    spec = obj["spec"]
    assert (spec["clusterIP"], spec["ports"][0]["nodePort"], spec["healthCheckNodePort"]) == ("10.96.0.0", 32769, 32770)
    for spec in ({"clusterIPs": ["10.96.0.7"]}, {"type": "NodePort", "ports": [{"port": 80, "nodePort": 1}]}):
        pool.claim({"spec": {"ipFamilies": ["IPv4"], **spec}}, None, dry_run=True).keep()
    for spec in ({"clusterIPs": ["10.97.0.7"]}, copy.deepcopy(NP)):
        with pytest.raises(StatusError):
            pool.claim({"spec": {"ipFamilies": ["IPv4"], **spec}}, None, dry_run=True)
    assert (pool._ports.free, pool._addresses["IPv4"].free) == before

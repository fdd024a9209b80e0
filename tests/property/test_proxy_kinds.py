"""A service that changes its kind again and again: type, policies, affinity and its timeout, address, endpoints by the
thousand. Whatever it was before, the table is what it would be from scratch, and no draw finds a hole."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from netplane.api.objects import EndpointSlice, Service
from netplane.net.addresses import packed
from netplane.nft.packet import packet
from netplane.nft.types import IPV4
from proxy.plan import desired, offline, services, slices
from proxy.plan.ledger import Ledger
from proxy.plan.model import Fragment, Node, Options
from proxy.plan.skeleton import skeleton
from tests.cluster_model import apply_strictly, comparable

HERE = Node("here", "a", (packed("192.0.2.1"),), frozenset({packed("192.0.2.1")}))
OPTIONS = Options(detect_local="ClusterCIDR", local="10.1.0.0/16")
BALANCED = {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}}


def sticky(timeout_s: int) -> dict[str, Any]:
    return {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": timeout_s}}}


def port(node_port: int) -> dict[str, Any]:
    return {"type": "NodePort", "ports": [{"name": "p", "port": 80, "nodePort": node_port}]}


KINDS: list[dict[str, Any]] = [
    {},
    port(30_080),
    port(30_081) | {"externalTrafficPolicy": "Local"},
    sticky(5),
    sticky(900) | port(30_080) | {"externalTrafficPolicy": "Local"},
    {"internalTrafficPolicy": "Local", "externalIPs": ["198.51.100.1"]},
    {"clusterIP": "10.96.0.9"},
    {"type": "ExternalName"},
    {"clusterIP": "None"},
    {"status": BALANCED, "loadBalancerSourceRanges": ["10.0.0.0/8"], "externalIPs": ["198.51.100.1"]},
]
CONDITIONS = st.fixed_dictionaries({"ready": st.booleans(), "terminating": st.booleans()})
STEPS = st.tuples(st.sampled_from(KINDS), st.sampled_from((0, 1, 2, 3, 70, 1000)), CONDITIONS)


def fragment(spec: dict[str, Any], count: int, conditions: dict[str, bool]) -> Fragment:
    plain = {"clusterIP": "10.96.0.1", "ports": [{"name": "p", "port": 80}]}
    given_spec = {name: value for name, value in spec.items() if name != "status"}
    said = {"metadata": {"namespace": "ns", "name": "s"}, "spec": plain | given_spec, "status": spec.get("status", {})}
    item = {
        "metadata": {"namespace": "ns", "name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "ports": [{"name": "p", "port": 8080}],
        "endpoints": [
            {
                "addresses": [f"10.1.{i // 250}.{i % 250}"],
                "nodeName": ("there", "here")[i % 2],
                "conditions": conditions,
            }
            for i in range(count)
        ],
    }
    made = slices.read(msgspec.convert(item, EndpointSlice), "here")
    assert made is not None
    return desired.fragment(services.read(msgspec.convert(said, Service)), [made], IPV4, HERE, OPTIONS, [])


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, min_size=2, max_size=8), st.sampled_from((2, 1000)))
def test_what_a_service_was_leaves_no_trace(steps: list[Any], shard_rows: int) -> None:
    ledger = Ledger(skeleton(IPV4, OPTIONS), shard_rows)
    kernel = ledger.contents()
    for step in steps:
        wanted = fragment(*step)
        apply_strictly(kernel, ledger.update({"ns/s": wanted}))
        assert kernel == ledger.contents()
        fresh = Ledger(skeleton(IPV4, OPTIONS))
        fresh.update({"ns/s": wanted})
        assert comparable(kernel) == comparable(fresh.contents())
        rules = offline.ruleset(ledger, HERE)
        for source in ("10.1.0.77", "203.0.113.5"):
            for frontend in (("10.96.0.1", 80), ("192.0.2.1", 30_080), ("198.51.100.1", 80)):
                assert rules.trace(packet(source, *frontend)).holes == 0

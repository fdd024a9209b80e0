"""How many service ports a Local policy leaves without an endpoint on this node."""

from typing import Any

import msgspec
import pytest

from netplane.api.objects import EndpointSlice, Service
from netplane.net.addresses import packed
from netplane.nft.types import IPV4, IPV6
from proxy.plan import desired, services, slices
from proxy.plan.changes import Tracker
from proxy.plan.ledger import Ledger
from proxy.plan.local import without_local
from proxy.plan.model import Node, Options
from proxy.plan.skeleton import skeleton

NODE = Node("here", "", (packed("192.0.2.1"),), frozenset([packed("192.0.2.1")]))
HERE = {"addresses": ["10.1.0.1"], "nodeName": "here"}
THERE = {"addresses": ["10.1.0.2"], "nodeName": "there"}
GONE = {"addresses": ["10.1.0.3"], "nodeName": "there", "conditions": {"ready": False, "serving": False}}
PORTS = [{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 81, "nodePort": 30081}]


def counted(endpoints: list[dict[str, Any]], **spec: Any) -> tuple[int, int]:
    """(internal, external) service ports without local endpoints; the service has the ports `a` and `b`."""
    wanted = {"clusterIP": "10.96.0.1", "ports": PORTS, "type": "NodePort", **spec}
    service = msgspec.convert({"metadata": {"namespace": "ns", "name": "web"}, "spec": wanted}, Service)
    labels = {"kubernetes.io/service-name": "web"}
    item = {"metadata": {"namespace": "ns", "name": "web-1", "labels": labels}, "addressType": "IPv4"}
    ports = [{"name": "a", "port": 8080}, {"name": "b", "port": 8081}]
    made = msgspec.convert({**item, "endpoints": endpoints, "ports": ports}, EndpointSlice)
    tracker = Tracker()
    tracker.service_changed(None, services.read(service))
    tracker.slice_changed(None, slices.read(made, "here"))
    ledgers = [Ledger(skeleton(family, Options())) for family in (IPV4, IPV6)]
    for ledger in ledgers:
        key, family = "ns/web", ledger.table.family
        fragment = desired.fragment(tracker.service(key), tracker.slices(key), family, NODE, Options(), [])
        ledger.update({key: fragment})
    found = without_local(tracker, ledgers)
    assert found["IPv6", "internal"] == found["IPv6", "external"] == 0
    return found["IPv4", "internal"], found["IPv4", "external"]


@pytest.mark.parametrize(
    ("spec", "endpoints", "expected"),
    [
        ({}, [THERE], (0, 0)),
        ({"externalTrafficPolicy": "Local"}, [THERE], (0, 2)),
        ({"externalTrafficPolicy": "Local", "sessionAffinity": "ClientIP"}, [THERE], (0, 2)),
        ({"externalTrafficPolicy": "Local"}, [THERE, HERE], (0, 0)),
        ({"externalTrafficPolicy": "Local"}, [], (0, 0)),
        ({"externalTrafficPolicy": "Local"}, [GONE], (0, 0)),
        ({"internalTrafficPolicy": "Local"}, [THERE], (2, 0)),
        ({"internalTrafficPolicy": "Local"}, [THERE, HERE], (0, 0)),
        ({"internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local"}, [THERE], (2, 2)),
        (
            {"type": "ClusterIP", "externalTrafficPolicy": "Local", "ports": [{"name": "a", "port": 80}]},
            [THERE],
            (0, 0),
        ),
        (
            {
                "type": "LoadBalancer",
                "externalTrafficPolicy": "Local",
                "externalIPs": ["203.0.113.1", "203.0.113.2"],
                "loadBalancerSourceRanges": ["198.51.100.0/24"],
            },
            [THERE],
            (0, 2),
        ),
    ],
)
def test_ports_that_drop_here_are_counted_once(
    spec: dict[str, Any], endpoints: list[dict[str, Any]], expected: tuple[int, int]
) -> None:
    assert counted(endpoints, **spec) == expected

"""Plans of the controllers beside EndpointSlices, as tables."""

from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from netplane.api.objects import (
    Condition,
    Container,
    ContainerPort,
    Endpoints,
    Event,
    Lease,
    LeaseSpec,
    Node,
    NodeStatus,
    ObjectMeta,
    Pod,
    PodSpec,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
    Taint,
)
from netplane.controllers.plan import legacy_endpoints, node_lifecycle, pod_cidr, scheduling
from netplane.controllers.plan.ranges import Pool
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import Bind, Create, Delete, Patch, Replace
from tests.controller_objects import node

NOW = "2026-01-01T00:00:00Z"
UNREACHABLE = "node.kubernetes.io/unreachable"


def pod(name: str = "p", node_name: str = "", *, labels: dict[str, str] | None = None, **spec: Any) -> Pod:
    ready = Condition(type="Ready", status="True")
    return Pod(
        metadata=ObjectMeta(name=name, namespace="shop", uid=f"uid-{name}", labels=labels),
        spec=PodSpec(node_name=node_name, **spec),
        status=PodStatus(phase="Running", conditions=[ready] if node_name else None, pod_ip="10.0.0.9"),
    )


def lease(name: str, renewed: str) -> Lease:
    return Lease(metadata=ObjectMeta(name=name, namespace="kube-node-lease"), spec=LeaseSpec(renew_time=renewed))


# podCIDR


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ([], "10.0.0.0/24"),
        (["10.0.0.0/24"], "10.0.1.0/24"),
        (["10.0.1.0/24"], "10.0.0.0/24"),
        (["10.0.0.128/25"], "10.0.1.0/24"),  # a smaller part, from before the mask was changed
        (["10.0.0.0/23"], "10.0.2.0/24"),  # a larger one
        (["192.168.0.0/16", "nonsense"], "10.0.0.0/24"),
        (["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"], ""),
        (["0.0.0.0/0"], ""),
    ],
)
def test_the_lowest_free_range(taken: list[str], expected: str) -> None:
    others = [node(f"o{i}", pod_cidr=cidr) for i, cidr in enumerate(taken)]
    world = World.of(node("n"), *others, pools=[Pool(ip_network("10.0.0.0/22"), 24)])
    plan = pod_cidr.plan(world, "n", NOW)
    [write] = plan.writes
    if expected:
        assert isinstance(write, Patch)
        assert write.patch == {
            "metadata": {"resourceVersion": "7"},
            "spec": {"podCIDR": expected, "podCIDRs": [expected]},
        }
    else:
        assert isinstance(write, Create)
        assert "no podCIDR left in 10.0.0.0/22" in plan.note
        assert plan.again_s


def test_dual_stack_gives_one_of_each_and_nothing_when_one_is_lacking() -> None:
    pools = (Pool(ip_network("10.0.0.0/24"), 25), Pool(ip_network("fd00::/63"), 64))
    other = node("a", pod_cidrs=["10.0.0.0/25", "fd00::/64"], pod_cidr="10.0.0.0/25")
    world = World.of(node("n"), other, pools=pools)
    [write] = pod_cidr.plan(world, "n", NOW).writes
    assert isinstance(write, Patch)
    assert write.patch["spec"]["podCIDRs"] == ["10.0.0.128/25", "fd00:0:0:1::/64"]
    world.apply(None, node("b", pod_cidrs=["fd00:0:0:1::/64"], pod_cidr="fd00:0:0:1::/64"), 0.0)
    assert isinstance(pod_cidr.plan(world, "n", NOW).writes[0], Create)


def test_a_node_that_has_a_range_keeps_it() -> None:
    world = World.of(node("n", pod_cidr="172.16.0.0/24"), pools=[Pool(ip_network("10.0.0.0/22"), 24)])
    assert pod_cidr.plan(world, "n", NOW).writes == ()


# node lifecycle


def lifecycle(world: World, clock_s: float) -> dict[str, Any]:
    """What the plan changes: condition status, taint keys, pods made unready."""
    changed: dict[str, Any] = {}
    plan = node_lifecycle.plan(world, "n", 40.0, clock_s, NOW)
    for write in plan.writes:
        if isinstance(write, Create):
            assert isinstance(write.obj, Event)
            assert write.obj.reason == "NodeNotReady"
            continue
        assert isinstance(write, Patch)
        if write.cls is Pod:
            changed.setdefault("pods", []).append(write.name)
        elif write.subresource:
            changed["ready"] = write.patch["status"]["conditions"][0]["status"]
        else:
            changed["taints"] = [(t["key"], t["effect"]) for t in write.patch["spec"]["taints"] or ()]
    if plan.again_s is not None:
        changed["again"] = plan.again_s
    return changed


def mark(key: str) -> list[tuple[str, str]]:
    return [(key, "NoSchedule")]


def test_a_node_that_renews_is_ready() -> None:
    world = World.of(node("n", ready=""), lease("n", "1"))
    assert lifecycle(world, 10.0) == {"ready": "True", "again": 30.0}


def test_a_node_that_never_said_anything_waits_and_is_then_unknown() -> None:
    world = World.of(node("n", ready=""))
    assert lifecycle(world, 10.0) == {"again": 30.0}
    assert lifecycle(world, 40.0) == {"ready": "Unknown", "taints": mark(UNREACHABLE)}


def test_a_silent_node_its_taints_and_its_ready_pods() -> None:
    unready = msgspec.structs.replace(pod("idle", "n"), status=PodStatus(phase="Running"))
    world = World.of(node("n"), lease("n", "1"), pod("web", "n"), unready, pod("elsewhere", "m"))
    assert lifecycle(world, 39.9) == {"again": pytest.approx(0.1)}
    assert lifecycle(world, 40.0) == {"ready": "Unknown", "taints": mark(UNREACHABLE), "pods": ["web"]}


def test_a_node_that_returns_loses_our_taints_only() -> None:
    ours = [Taint(key=key, effect=effect) for key, effect in mark(UNREACHABLE)]
    world = World.of(node("n", "Unknown", taints=[*ours, Taint(key="gpu", effect="NoSchedule")]), lease("n", "1"))
    world.apply(lease("n", "1"), lease("n", "2"), 100.0)
    assert lifecycle(world, 100.0) == {"ready": "True", "taints": [("gpu", "NoSchedule")], "again": 40.0}


def test_a_node_that_calls_itself_unready_is_believed() -> None:
    world = World.of(node("n", "False"), lease("n", "1"))
    assert lifecycle(world, 0.0) == {"taints": mark("node.kubernetes.io/not-ready"), "again": 40.0}


def test_a_lease_that_does_not_change_is_no_heartbeat() -> None:
    world = World.of(node("n"), lease("n", "1"))
    world.apply(lease("n", "1"), lease("n", "1"), 39.0)
    assert lifecycle(world, 40.0)["ready"] == "Unknown"


def test_a_status_that_a_kubelet_posts_is_a_heartbeat_too() -> None:
    def posted(at: str) -> Node:
        ready = Condition(type="Ready", status="True", last_heartbeat_time=at)
        return Node(metadata=ObjectMeta(name="n"), status=NodeStatus(conditions=[ready]))

    world = World.of(posted("1"))
    world.apply(posted("1"), posted("2"), 39.0)
    assert lifecycle(world, 40.0) == {"again": 39.0}
    world.apply(posted("2"), posted("2"), 70.0)
    assert lifecycle(world, 79.0)["ready"] == "Unknown"


MADE = "2025-12-31T00:00:00Z"
NEVER, STOPPED = ("NodeStatusNeverUpdated", MADE), ("NodeStatusUnknown", None)


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ({}, {"Ready": NEVER, "MemoryPressure": NEVER, "DiskPressure": NEVER, "PIDPressure": NEVER}),
        (
            {"Ready": "True", "MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"},
            {"Ready": STOPPED, "MemoryPressure": STOPPED, "DiskPressure": STOPPED, "PIDPressure": STOPPED},
        ),
        (
            {"MemoryPressure": "False", "NetworkUnavailable": "False", "PIDPressure": "Unknown"},
            {"Ready": NEVER, "MemoryPressure": STOPPED, "DiskPressure": NEVER},
        ),
        ({"Ready": "Unknown", "MemoryPressure": "False"}, None),  # it is known to be silent
    ],
)
def test_of_a_silent_node_nothing_is_known_and_nothing_is_a_heartbeat(
    reported: dict[str, str], expected: dict[str, tuple[str, str | None]] | None
) -> None:
    some = [Condition(type=name, status=status) for name, status in reported.items()]
    silent = Node(metadata=ObjectMeta(name="n", creation_timestamp=MADE), status=NodeStatus(conditions=some))
    writes = node_lifecycle.plan(World.of(silent), "n", 40.0, 40.0, NOW).writes
    patches = [one.patch["status"]["conditions"] for one in writes if isinstance(one, Patch) and one.subresource]
    if expected is None:
        assert not patches
        return
    [changed] = patches
    assert {one["type"]: (one["reason"], one.get("lastHeartbeatTime")) for one in changed} == expected
    assert all((one["status"], one["lastTransitionTime"]) == ("Unknown", NOW) for one in changed)


def test_pods_of_a_silent_node_are_told_so() -> None:
    writes = node_lifecycle.plan(World.of(node("n"), pod("web", "n")), "n", 40.0, 40.0, NOW).writes
    told = [one.obj for one in writes if isinstance(one, Create) and isinstance(one.obj, Event)]
    assert [(one.involved_object.kind, one.type, one.reason, one.message) for one in told] == [
        ("Node", "Normal", "NodeNotReady", "Node n status is now: NodeNotReady"),
        ("Pod", "Warning", "NodeNotReady", "Node is not ready"),
    ]


# scheduler


def chosen(one: Pod, *objs: Any) -> str:
    """The node's name, or the message why none."""
    writes = scheduling.plan(World.of(one, *objs), one.key, NOW).writes
    if writes and isinstance(writes[0], Bind):
        return writes[0].node
    if writes and isinstance(writes[0], Create):
        return str(getattr(writes[0].obj, "message", ""))
    return ""


TAINT = Taint(key="dedicated", value="db", effect="NoSchedule")
PORT = [Container(ports=[ContainerPort(container_port=80, host_port=8080)])]


def in_zone(operator: str, *values: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": "zone", "operator": operator, "values": list(values)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


@pytest.mark.parametrize(
    ("one", "nodes", "expected"),
    [
        (pod(), [], "no nodes available to schedule pods"),
        (pod(), [node("b"), node("a")], "a"),
        (pod(), [node("a", "False"), node("b")], "b"),
        (pod(), [node("a", unschedulable=True), node("b")], "b"),
        (pod(node_selector={"disk": "ssd"}), [node("a"), node("b", labels={"disk": "ssd"})], "b"),
        (pod(), [node("a", taints=[TAINT]), node("b")], "b"),
        (pod(), [node("a", taints=[Taint(key="x", effect="PreferNoSchedule")]), node("b")], "a"),
        (pod(tolerations=[{"key": "dedicated", "value": "db"}]), [node("a", taints=[TAINT])], "a"),
        (pod(tolerations=[{"key": "dedicated", "operator": "Exists"}]), [node("a", taints=[TAINT])], "a"),
        (pod(tolerations=[{"operator": "Exists"}]), [node("a", taints=[TAINT], unschedulable=True)], "a"),
        (
            pod(tolerations=[{"key": "dedicated", "value": "web"}]),
            [node("a", taints=[TAINT])],
            "0/1 nodes are available: 1 node(s) had untolerated taint(s).",
        ),
        (pod(affinity=in_zone("In", "x", "y")), [node("a"), node("b", labels={"zone": "y"})], "b"),
        (pod(affinity=in_zone("NotIn", "y")), [node("a", labels={"zone": "y"}), node("b")], "b"),
        (pod(affinity=in_zone("Gt", "5")), [node("a", labels={"zone": "5"}), node("b", labels={"zone": "6"})], "b"),
        (pod(containers=PORT), [node("a"), node("b"), pod("q", "a", containers=PORT)], "b"),
        (pod(), [node("a", allocatable={"pods": "1"}), node("b"), pod("q", "a"), pod("r", "b"), pod("s", "b")], "b"),
        (pod(scheduler_name="other"), [node("a")], ""),
        (pod(node_name="a"), [node("a"), node("b")], ""),
    ],
)
def test_where_a_pod_goes(one: Pod, nodes: list[Any], expected: str) -> None:
    assert chosen(one, *nodes) == expected


def test_pods_alike_are_spread_before_pods_at_all() -> None:
    web = {"app": "web"}
    others = [pod("w1", "a", labels=web), pod("x1", "b"), pod("x2", "b")]
    assert chosen(pod(labels=web), node("a"), node("b"), *others) == "b"
    assert chosen(pod(labels={"app": "db"}), node("a"), node("b"), *others) == "a"


def test_rules_that_are_not_known_refuse_rather_than_misplace() -> None:
    rule = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}}
    assert "does not know" in chosen(pod(affinity=rule), node("a"))


def test_a_reason_is_told_once() -> None:
    world = World.of(pod())
    event, patch = scheduling.plan(world, "shop/p", NOW).writes
    assert isinstance(event, Create)
    assert isinstance(patch, Patch)
    told = msgspec.convert(patch.patch["status"]["conditions"], list[Condition])
    world.apply(pod(), msgspec.structs.replace(pod(), status=PodStatus(conditions=told)), 0.0)
    assert scheduling.plan(world, "shop/p", NOW).writes == ()


# Endpoints


def web(**spec: Any) -> Service:
    fields = {"selector": {"app": "web"}, "ip_families": ["IPv4"], "cluster_ip": "10.96.0.1"}
    ports = [ServicePort(name="http", port=80, target_port=8080)]
    meta = ObjectMeta(name="web", namespace="shop")
    return Service(metadata=meta, spec=ServiceSpec(**{**fields, "ports": ports, **spec}))


def test_endpoints_say_ready_and_not_ready_addresses_once() -> None:
    ready = pod("a", "n", labels={"app": "web"})
    unready = msgspec.structs.replace(
        pod("b", "n", labels={"app": "web"}), status=PodStatus(phase="Running", pod_ip="10.0.0.8")
    )
    world = World.of(web(), ready, unready)
    [write] = legacy_endpoints.plan(world, "shop/web").writes
    assert isinstance(write, Create)
    made = write.obj
    assert isinstance(made, Endpoints)
    [subset] = made.subsets or []
    assert [one.ip for one in subset.addresses or ()] == ["10.0.0.9"]
    assert [one.ip for one in subset.not_ready_addresses or ()] == ["10.0.0.8"]
    assert [(one.name, one.port) for one in subset.ports or ()] == [("http", 8080)]
    world.apply(None, made, 0.0)
    assert legacy_endpoints.plan(world, "shop/web").writes == ()
    world.apply(unready, None, 0.0)
    assert isinstance(legacy_endpoints.plan(world, "shop/web").writes[0], Replace)
    world.apply(web(), None, 0.0)
    assert legacy_endpoints.plan(world, "shop/web").writes == (Delete(Endpoints, "shop", "web"),)


def test_endpoints_of_others_are_never_deleted_and_selectorless_services_left_alone() -> None:
    theirs = Endpoints(metadata=ObjectMeta(name="web", namespace="shop"))
    assert legacy_endpoints.plan(World.of(theirs), "shop/web").writes == ()
    assert legacy_endpoints.plan(World.of(theirs, web(selector=None)), "shop/web").writes == ()


def test_endpoints_stop_at_a_thousand_addresses_and_say_so() -> None:
    many = [
        msgspec.structs.replace(
            pod(f"p{i:04d}", "n", labels={"app": "web"}),
            status=PodStatus(phase="Running", pod_ip=f"10.0.{i // 250}.{i % 250 + 1}"),
        )
        for i in range(1001)
    ]
    [write] = legacy_endpoints.plan(World.of(web(), *many), "shop/web").writes
    assert isinstance(write, Create)
    made = write.obj
    assert isinstance(made, Endpoints)
    assert sum(len(one.not_ready_addresses or ()) for one in made.subsets or ()) == 1000
    assert made.metadata.annotations == {"endpoints.kubernetes.io/over-capacity": "truncated"}

"""Tables: the cells that kubectl users know."""

import datetime
from typing import Any

import pytest

from netplane.api import kinds, table
from netplane.api.kinds import Kind

NOW = datetime.datetime(2026, 1, 1, 12, 0, 0, tzinfo=datetime.UTC)


def cells(kind: Kind, obj: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "x", "creationTimestamp": "2026-01-01T11:55:00Z", **obj.pop("metadata", {})}
    printer = table.printer(kind)
    values = printer.cells({"metadata": metadata, **obj}, NOW)
    assert len(values) == len(printer.columns) + (kind is kinds.IP_ADDRESS)  # whose rows have an age, without a column
    return {column.name: value for column, value in zip(printer.columns, values, strict=False)}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (599, "9m59s"), (600, "10m"),
        (10799, "179m"), (10800, "3h"), (28799, "7h59m"), (28800, "8h"), (172799, "47h"), (172800, "2d"),
        (180000, "2d2h"), (691200, "8d"), (63072000, "2y"), (63072000 + 86400, "2y1d"), (300000000, "9y"),
    ],
)  # fmt: skip
def test_durations_as_people_read_them(seconds: int, text: str) -> None:
    assert table.duration(seconds) == text


def test_every_kind_has_columns_with_descriptions() -> None:
    for kind in kinds.KINDS:
        for column in table.definitions(kind):
            assert column["description"], (kind.kind, column["name"])
            assert column["priority"] in (0, 1)


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        (
            {"type": "ClusterIP", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "protocol": "TCP"}]},
            {},
            ("10.0.0.1", "<none>", "80/TCP"),
        ),
        (
            {
                "type": "NodePort",
                "clusterIP": "10.0.0.1",
                "ports": [{"port": 53, "protocol": "UDP", "nodePort": 30053}],
            },
            {},
            ("10.0.0.1", "<none>", "53:30053/UDP"),
        ),
        ({"type": "ExternalName", "externalName": "a.b"}, {}, ("<none>", "a.b", "<none>")),
        ({"type": "LoadBalancer", "clusterIP": "10.0.0.1"}, {}, ("10.0.0.1", "<pending>", "<none>")),
        (
            {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "externalIPs": ["2.2.2.2"]},
            {"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}, {"hostname": "h"}]}},
            ("10.0.0.1", "1.1.1.1,h,2.2.2.2", "<none>"),
        ),
        ({"type": "ClusterIP", "clusterIP": "None", "externalIPs": ["1.2.3.4"]}, {}, ("None", "1.2.3.4", "<none>")),
    ],
)
def test_services(spec: dict[str, Any], status: dict[str, Any], expected: tuple[str, str, str]) -> None:
    shown = cells(kinds.SERVICE, {"spec": spec, "status": status})
    assert (shown["Cluster-IP"], shown["External-IP"], shown["Port(s)"]) == expected
    assert shown["Age"] == "5m"


def container(ready: bool = False, restarts: int = 0, **state: Any) -> dict[str, Any]:
    return {"ready": ready, "restartCount": restarts, "state": state}


@pytest.mark.parametrize(
    ("status", "metadata", "expected"),
    [
        ({"phase": "Pending"}, {}, "Pending"),
        ({"phase": "Running", "containerStatuses": [container(True, running={})]}, {}, "Running"),
        ({"phase": "Running"}, {"deletionTimestamp": "2026-01-01T12:00:30Z"}, "Terminating"),
        ({"phase": "Running", "reason": "NodeLost"}, {"deletionTimestamp": "2026-01-01T12:00:30Z"}, "Unknown"),
        ({"phase": "Failed", "reason": "Evicted"}, {}, "Evicted"),
        (
            {"phase": "Pending", "containerStatuses": [container(waiting={"reason": "CrashLoopBackOff"})]},
            {},
            "CrashLoopBackOff",
        ),
        ({"phase": "Failed", "containerStatuses": [container(terminated={"exitCode": 3})]}, {}, "ExitCode:3"),
        ({"phase": "Failed", "containerStatuses": [container(terminated={"signal": 9})]}, {}, "Signal:9"),
        ({"phase": "Succeeded", "containerStatuses": [container(terminated={"reason": "Completed"})]}, {}, "Completed"),
        (
            {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [container(terminated={"reason": "Completed"}), container(True, running={})],
            },
            {},
            "Running",
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [container(terminated={"reason": "Completed"}), container(True, running={})],
            },
            {},
            "NotReady",
        ),
        ({"phase": "Pending", "initContainerStatuses": [container(running={})]}, {}, "Init:0/2"),
        (
            {"phase": "Pending", "initContainerStatuses": [container(terminated={"exitCode": 0}), container()]},
            {},
            "Init:1/2",
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [container(waiting={"reason": "ErrImagePull"})]},
            {},
            "Init:ErrImagePull",
        ),
        ({"phase": "Pending", "initContainerStatuses": [container(terminated={"exitCode": 1})]}, {}, "Init:ExitCode:1"),
        (
            {
                "phase": "Pending",
                "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}],
            },
            {},
            "SchedulingGated",
        ),
    ],
)
def test_what_a_pod_is_doing(status: dict[str, Any], metadata: dict[str, Any], expected: str) -> None:
    spec = {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]}
    assert cells(kinds.POD, {"metadata": metadata, "spec": spec, "status": status})["Status"] == expected


def test_pods_count_what_is_ready_and_what_restarted() -> None:
    crashed = {**container(True, 3, running={}), "lastState": {"terminated": {"finishedAt": "2026-01-01T11:58:00Z"}}}
    shown = cells(
        kinds.POD,
        {
            "spec": {"containers": [{}, {}], "nodeName": "n1", "readinessGates": [{"conditionType": "g"}]},
            "status": {"containerStatuses": [crashed, container()], "podIPs": [{"ip": "10.1.1.1"}]},
        },
    )
    assert (shown["Ready"], shown["Restarts"], shown["IP"], shown["Node"]) == ("1/2", "3 (2m ago)", "10.1.1.1", "n1")
    assert (shown["Nominated Node"], shown["Readiness Gates"]) == ("<none>", "0/1")


def test_nodes() -> None:
    shown = cells(
        kinds.NODE,
        {
            "metadata": {"labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/edge": ""}},
            "spec": {"unschedulable": True},
            "status": {
                "conditions": [{"type": "Ready", "status": "Unknown"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.9"}],
            },
        },
    )
    assert shown["Status"] == "NotReady,SchedulingDisabled"
    assert shown["Roles"] == "edge,worker"
    assert (shown["Internal-IP"], shown["External-IP"], shown["OS-Image"]) == ("10.0.0.9", "<none>", "<unknown>")
    assert cells(kinds.NODE, {})["Status"] == "Unknown"


def test_endpoints_show_three_and_how_many_more() -> None:
    subset = {"addresses": [{"ip": f"10.0.0.{i}"} for i in range(1, 6)], "ports": [{"port": 80}]}
    shown = cells(kinds.ENDPOINTS, {"subsets": [subset]})
    assert shown["Endpoints"] == "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."
    assert cells(kinds.ENDPOINTS, {})["Endpoints"] == "<none>"
    slice_ = {"addressType": "IPv6", "ports": [{"port": 80}, {}], "endpoints": [{"addresses": ["fd00::1"]}]}
    shown = cells(kinds.ENDPOINT_SLICE, slice_)
    assert (shown["Ports"], shown["Endpoints"]) == ("80,*", "fd00::1")
    assert cells(kinds.ENDPOINT_SLICE, {"addressType": "IPv4"})["Ports"] == "<unset>"


def test_events() -> None:
    shown = cells(
        kinds.EVENT,
        {
            "type": "Warning",
            "reason": "Failed",
            "message": " it broke\n",
            "involvedObject": {"kind": "Pod", "name": "p"},
            "source": {"component": "kubelet", "host": "n1"},
            "firstTimestamp": "2026-01-01T11:00:00Z",
            "lastTimestamp": "2026-01-01T11:59:00Z",
            "count": 4,
        },
    )
    assert (shown["Last Seen"], shown["First Seen"], shown["Count"]) == ("60s", "60m", 4)
    assert (shown["Object"], shown["Source"], shown["Message"]) == ("pod/p", "kubelet, n1", "it broke")
    assert cells(kinds.EVENT, {})["Last Seen"] == "<unknown>"


def test_other_kinds() -> None:
    assert cells(kinds.CONFIG_MAP, {"data": {"a": "b"}, "binaryData": {"c": ""}})["Data"] == 2
    assert cells(kinds.LEASE, {"spec": {"holderIdentity": "me"}})["Holder"] == "me"
    assert cells(kinds.NAMESPACE, {"status": {"phase": "Active"}})["Status"] == "Active"


@pytest.mark.parametrize(
    ("kind", "obj", "column", "expected"),
    [
        (kinds.EVENT, {"involvedObject": {"kind": "Pod"}, "series": {"count": 9}}, "Object", "pod"),
        (kinds.EVENT, {"count": 3, "series": {"count": 9}}, "Count", 9),
        (kinds.NODE, {"status": {"nodeInfo": {"kernelVersion": "6.1", "architecture": "arm64"}}}, "Kernel-Version",
         "6.1 (arm64)"),
        (kinds.INGRESS_CLASS, {"metadata": {"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}},
         "Name", "x (default)"),
        (kinds.INGRESS, {"spec": {"rules": [{"host": h} for h in "abcd"]}}, "Hosts", "a,b,c + 1 more..."),
        (kinds.INGRESS, {"spec": {"rules": [{"host": "a"}, {}, {}, {}]}}, "Hosts", "a"),
        (kinds.INGRESS, {"status": {"loadBalancer": {"ingress": [{"ip": "2.2.2.2"}, {"ip": "1.1.1.1"}]}}}, "Address",
         "1.1.1.1,2.2.2.2"),
        (kinds.ENDPOINT_SLICE, {"ports": [{"name": "a"}, {"port": 2}, {"name": "c"}, {}]}, "Ports",
         "a,2,c + 1 more..."),
        (kinds.DEPLOYMENT, {"spec": {"selector": {"matchExpressions": [
            {"key": "b", "operator": "In", "values": ["y", "x"]}, {"key": "a", "operator": "DoesNotExist"}]}}},
         "Selector", "!a,b in (x,y)"),
        (kinds.DEPLOYMENT, {"spec": {"selector": {}}}, "Selector", ""),
        (kinds.DAEMON_SET, {"spec": {"selector": {}}}, "Selector", "<none>"),
        (kinds.JOB, {"metadata": {"deletionTimestamp": "2026-01-01T11:59:00Z"}}, "Status", "Terminating"),
        (kinds.IP_ADDRESS, {"spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}},
         "ParentRef", "services/n/s"),
        (kinds.CLUSTER_ROLE_BINDING, {"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [
            {"kind": "ServiceAccount", "namespace": "n", "name": "a"}, {"kind": "User", "name": "u"}]},
         "ServiceAccounts", "n/a"),
    ],
)  # fmt: skip
def test_cells_of_less_common_fields(kind: Kind, obj: dict[str, Any], column: str, expected: Any) -> None:
    assert cells(kind, obj)[column] == expected


SIDECAR = {"name": "s", "restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        ({"initContainers": [SIDECAR]}, {"initContainerStatuses": [
            {"name": "s", "started": True, "ready": True, "restartCount": 2, "state": {"running": {}}}],
            "containerStatuses": [container(True, 1, running={})], "phase": "Running"}, ("2/2", "Running", "3")),
        ({"initContainers": [{"name": "i"}, {"name": "j"}]}, {"phase": "Pending", "initContainerStatuses": [
            {"name": "i", "restartCount": 1, "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": {}}]},
         ("0/1", "Init:1/2", "1")),
        ({}, {"phase": "Running", "containerStatuses": [
            container(terminated={"exitCode": 3}), container(terminated={"exitCode": 0, "reason": "Completed"})]},
         ("0/1", "ExitCode:3", "0")),
    ],
)  # fmt: skip
def test_pods_with_init_containers(spec: dict[str, Any], status: dict[str, Any], expected: tuple[str, ...]) -> None:
    shown = cells(kinds.POD, {"spec": {"containers": [{}], **spec}, "status": status})
    assert (shown["Ready"], shown["Status"], shown["Restarts"]) == expected


def test_a_finished_pod_keeps_its_phase_while_it_goes_and_its_row_says_that_it_is_done() -> None:
    pod = {"metadata": {"name": "x", "deletionTimestamp": "2026-01-01T11:59:00Z"}, "status": {"phase": "Succeeded"}}
    printer = table.printer(kinds.POD)
    assert printer.cells(pod, NOW)[2] == "Succeeded"
    assert [one["reason"] for one in printer.conditions(pod)] == ["Succeeded"]
    assert not printer.conditions({"metadata": {}, "status": {"phase": "Running"}})


def test_columns_are_of_the_types_that_clients_know() -> None:
    types = {one["name"]: one["type"] for one in table.definitions(kinds.DEPLOYMENT)}
    assert (types["Up-to-date"], types["Available"]) == ("string", "string")
    assert [one["name"] for one in table.definitions(kinds.SERVICE_ACCOUNT)] == ["Name", "Age"]
    assert table.definitions(kinds.NEW_EVENT) == table.definitions(kinds.EVENT)

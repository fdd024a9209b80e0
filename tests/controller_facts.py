"""How the reference's tables about EndpointSlices are read: constants, objects as they are written, a cluster."""

import json
from pathlib import Path
from typing import Any

import pytest

from netplane.api.objects import Endpoint, Node, Pod, Service, ServicePort
from netplane.controllers.plan import endpoint_slices
from netplane.controllers.plan.endpoint_slices import MANAGER
from netplane.controllers.plan.slice_objects import HEADLESS, MANAGED_BY
from netplane.controllers.plan.world import SERVICE_NAME
from tests import controller_objects as made
from tests.controller_objects import letters

TABLES = Path(__file__).parents[1] / ".." / "shared" / "facts" / "tables"
KEY = "test/foo"
CONSTANTS = {
    "LabelServiceName": SERVICE_NAME,
    "LabelManagedBy": MANAGED_BY,
    "IsHeadlessService": HEADLESS,
    "$controllerName": MANAGER,
    "ProtocolTCP": "TCP",
    "IPv4Protocol": "IPv4",
    "IPv6Protocol": "IPv6",
    "AddressTypeIPv4": "IPv4",
    "AddressTypeIPv6": "IPv6",
    "$restartAlways": "Always",
    "$restartPolicyAlways": "Always",
    "ClusterIPNone": "None",
    "$namespace": "test",
    "$ns": "test",
}
NODE = made.node("node-1", zone="us-central1-a")
BOTH_IPS = ["1.2.3.4", "1234::5678:0000:0000:9abc:def0"]


def rows(path: Path, name: str) -> Any:
    """One table with its constants resolved and its bookkeeping removed; empty where there are no facts."""
    if not path.is_file():
        return []
    table = next(value for key, value in json.loads(path.read_text()).items() if key.endswith(f":{name}"))
    return clean(table)


def clean(value: Any) -> Any:
    """A part of a table, as above."""
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if key not in ("_line", "_comment")}
        return {CONSTANTS.get(key, key): clean(one) for key, one in kept.items()}
    if isinstance(value, list):
        return [clean(one) for one in value]
    return CONSTANTS.get(value, value) if isinstance(value, str) else value


def running(name: str = "pod1", ips: list[str] | None = None, *, ready: bool = True, **spec: Any) -> Pod:
    """A pod of the Service."""
    on = spec.pop("node_name", "node-1")
    return made.pod(name, ips or ["1.2.3.5"], ready, namespace="test", app="foo", on=on, **spec)


def service(labels: dict[str, str] | None = None, **spec: Any) -> Service:
    """The Service that the tables are about."""
    fields = {"cluster_ip": "10.0.0.10", "ports": [ServicePort(name="http", port=80, target_port=80)], **spec}
    return made.service("foo", namespace="test", labels=labels, **fields)


def as_facts(one: Endpoint) -> dict[str, Any]:
    """An endpoint as the tables write it."""
    conditions, target = one.conditions, one.target_ref
    assert conditions is not None
    assert target is not None
    told = {
        "Addresses": one.addresses,
        "Conditions": {
            "Ready": conditions.ready,
            "Serving": conditions.serving,
            "Terminating": conditions.terminating,
        },
        "NodeName": one.node_name,
        "TargetRef": {"Kind": target.kind, "Namespace": target.namespace, "Name": target.name},
        "Zone": one.zone,
        "Hostname": one.hostname,
    }
    return {key: value for key, value in told.items() if value is not None}


class Cluster(made.Cluster):
    """A world in which plans are performed."""

    def __init__(self, *objs: Any, nodes: tuple[Node, ...] = (NODE,)) -> None:
        super().__init__(*nodes, *objs)

    def sync(self, limit: int = 100) -> dict[str, int]:
        """How many slices were written, in the tables' words."""
        told = letters(self.perform("", KEY, endpoint_slices.plan(self.world, KEY, limit=limit)))
        return {"numCreated": told.count("C"), "numUpdated": told.count("R"), "numDeleted": told.count("D")}

    @property
    def sizes(self) -> list[int]:
        """As the tables have them: in order of size."""
        return sorted(super().sizes)


def named(table: Any, key: str = "name") -> list[Any]:
    """Rows as parameters with names."""
    return [pytest.param(row, id=row[key]) for row in table]

"""Objects as the controllers read them, and a world in which plans are performed: for tests and benchmarks."""

from collections.abc import Iterable
from typing import Any

import msgspec

from netplane.api.objects import (
    Condition,
    Endpoint,
    EndpointSlice,
    Event,
    Node,
    NodeSpec,
    NodeStatus,
    ObjectMeta,
    Pod,
    PodIP,
    PodSpec,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
)
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import Create, Delete, Plan, Replace, Write

ZONE = "topology.kubernetes.io/zone"


def said(ready: str | bool, since: str | None = None) -> list[Condition] | None:
    """The Ready condition; "" for none."""
    return [Condition(type="Ready", status=str(ready), last_transition_time=since)] if ready != "" else None


def node(name: str, ready: str | bool = True, **fields: Any) -> Node:
    """`zone`, `labels`, `allocatable`; other fields are the spec's."""
    zone = fields.pop("zone", "")
    labels = {**({ZONE: zone} if zone else {}), **(fields.pop("labels", None) or {})}
    status = NodeStatus(conditions=said(ready), allocatable=fields.pop("allocatable", None))
    meta = ObjectMeta(name=name, labels=labels or None, resource_version="7")
    return Node(metadata=meta, spec=NodeSpec(**fields), status=status)


def pod(
    name: str,
    ips: Iterable[str] = ("10.0.0.9",),
    ready: str | bool = True,
    *,
    on: str = "n",
    app: str = "web",
    **fields: Any,
) -> Pod:
    """A running pod labelled `app`. `namespace`, `since` (its readiness), `phase`; other fields are the spec's."""
    meta = ObjectMeta(
        name=name, namespace=fields.pop("namespace", "shop"), uid=f"uid-{name}", labels={"app": app} if app else None
    )
    conditions = said(ready, fields.pop("since", None))
    every = list(ips)
    status = PodStatus(
        phase=fields.pop("phase", "Running"),
        pod_ip=every[0],
        pod_ips=[PodIP(ip=ip) for ip in every],
        conditions=conditions,
    )
    return Pod(metadata=meta, spec=PodSpec(node_name=on, **fields), status=status)


def ending(one: Pod) -> Pod:
    """The pod, marked for deletion."""
    meta = msgspec.structs.replace(one.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    return msgspec.structs.replace(one, metadata=meta)


def service(name: str = "web", **fields: Any) -> Service:
    """An IPv4 one for the pods of its name. `namespace`, `labels`, `annotations`; other fields are the spec's."""
    meta = ObjectMeta(
        name=name,
        namespace=fields.pop("namespace", "shop"),
        uid=f"uid-{name}",
        labels=fields.pop("labels", None),
        annotations=fields.pop("annotations", None),
        creation_timestamp="2025-12-31T00:00:00Z",
    )
    spec = {
        "selector": {"app": name},
        "cluster_ip": "10.96.0.1",
        "ip_families": ["IPv4"],
        "ports": [ServicePort(name="http", port=80, target_port=8080)],
    }
    return Service(metadata=meta, spec=ServiceSpec(**{**spec, **fields}))


class Cluster:
    """A world that takes what plans write about slices, as the apiserver would."""

    def __init__(self, *objs: Any) -> None:
        self.world = World.of(*objs)
        self.made = 0

    def put(self, *objs: Any) -> None:
        """New objects, or new states of them."""
        for obj in objs:
            self.world.apply(self.world._table(type(obj)).get(obj.key), obj, 0.0)

    def remove(self, *objs: Any) -> None:
        """Objects less."""
        for obj in objs:
            self.world.apply(obj, None, 0.0)

    def perform(self, name: str, key: str, plan: Plan) -> list[Write]:
        """Do what the plan of `key` by controller `name` says; its writes."""
        for write in plan.writes:
            if isinstance(write, Create) and isinstance(write.obj, EndpointSlice):
                self.made += 1
                made = f"{write.obj.metadata.generate_name}{self.made}"
                meta = msgspec.structs.replace(write.obj.metadata, name=made, resource_version="1")
                self.put(msgspec.structs.replace(write.obj, metadata=meta))
            elif isinstance(write, Replace):
                self.put(write.obj)
            elif isinstance(write, Delete):
                self.remove(self.world.slices[f"{write.namespace}/{write.name}"])
        if plan.remember is not None:
            self.world.memory[name, key] = plan.remember
        return list(plan.writes)

    @property
    def slices(self) -> list[EndpointSlice]:
        """All of them, oldest first."""
        return list(self.world.slices.values())

    @property
    def sizes(self) -> list[int]:
        """How many endpoints each has."""
        return [len(one.endpoints or ()) for one in self.slices]

    @property
    def endpoints(self) -> list[Endpoint]:
        """Of all slices."""
        return [one for part in self.slices for one in part.endpoints or ()]


def letters(writes: Iterable[Write]) -> str:
    """C, R or D for each write to an object, E for each Event; sorted."""
    told = ("E" if isinstance(w, Create) and isinstance(w.obj, Event) else type(w).__name__[0] for w in writes)
    return "".join(sorted(told))

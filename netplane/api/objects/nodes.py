"""Nodes, and what they say of themselves."""

from typing import Any

import msgspec

from netplane.api.objects.meta import Object, Struct


class Condition(Struct, frozen=True, kw_only=True):
    """status.conditions[] of nodes and pods."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_heartbeat_time: str | None = None
    last_transition_time: str | None = None


class Taint(Struct, frozen=True, kw_only=True):
    """spec.taints[] of a Node."""

    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: str | None = None


class NodeSpec(Struct, frozen=True, kw_only=True):
    """spec of a Node."""

    pod_cidr: str = msgspec.field(name="podCIDR", default="")
    pod_cidrs: list[str] | None = msgspec.field(name="podCIDRs", default=None)
    provider_id: str = msgspec.field(name="providerID", default="")
    unschedulable: bool = False
    taints: list[Taint] | None = None


class NodeAddress(Struct, frozen=True, kw_only=True):
    """status.addresses[]: type is InternalIP, ExternalIP or Hostname."""

    type: str = ""
    address: str = ""


class NodeStatus(Struct, frozen=True, kw_only=True):
    """status of a Node."""

    addresses: list[NodeAddress] | None = None
    conditions: list[Condition] | None = None
    capacity: dict[str, Any] | None = None
    allocatable: dict[str, Any] | None = None
    node_info: dict[str, Any] | None = None


class Node(Object, frozen=True, kw_only=True):
    """core/v1 Node."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus | None = None


class LeaseSpec(Struct, frozen=True, kw_only=True):
    """spec of a Lease. Times are RFC 3339 with microseconds."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(Object, frozen=True, kw_only=True):
    """coordination.k8s.io/v1 Lease."""

    spec: LeaseSpec = LeaseSpec()

"""Pods, the containers in them, and what pods need around them."""

from typing import Any

import msgspec

from netplane.api.objects.meta import Object, Struct
from netplane.api.objects.nodes import Condition


class ContainerPort(Struct, frozen=True, kw_only=True):
    """spec.containers[].ports[]."""

    name: str = ""
    container_port: int = 0
    host_port: int = 0
    host_ip: str = msgspec.field(name="hostIP", default="")
    protocol: str = "TCP"


class EnvVar(Struct, frozen=True, kw_only=True):
    """spec.containers[].env[] (literal values only)."""

    name: str = ""
    value: str = ""


class Container(Struct, frozen=True, kw_only=True):
    """spec.containers[]."""

    name: str = ""
    image: str = ""
    command: list[str] | None = None
    args: list[str] | None = None
    env: list[EnvVar] | None = None
    ports: list[ContainerPort] | None = None
    readiness_probe: dict[str, Any] | None = None
    restart_policy: str | None = None


class PodSpec(Struct, frozen=True, kw_only=True):
    """spec of a Pod."""

    node_name: str = ""
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""
    scheduler_name: str = ""
    restart_policy: str = ""
    termination_grace_period_seconds: int | None = None
    node_selector: dict[str, str] | None = None
    tolerations: list[dict[str, Any]] | None = None
    containers: list[Container] = msgspec.field(default_factory=list)
    init_containers: list[Container] | None = None
    affinity: dict[str, Any] | None = None


class PodIP(Struct, frozen=True, kw_only=True):
    """status.podIPs[]."""

    ip: str = ""


class PodStatus(Struct, frozen=True, kw_only=True):
    """status of a Pod."""

    phase: str = ""
    conditions: list[Condition] | None = None
    pod_ip: str = msgspec.field(name="podIP", default="")
    pod_ips: list[PodIP] | None = msgspec.field(name="podIPs", default=None)
    host_ip: str = msgspec.field(name="hostIP", default="")
    start_time: str | None = None
    container_statuses: list[dict[str, Any]] | None = None
    reason: str = ""
    message: str = ""


class Pod(Object, frozen=True, kw_only=True):
    """core/v1 Pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus | None = None


class Namespace(Object, frozen=True, kw_only=True):
    """core/v1 Namespace."""

    spec: dict[str, Any] | None = None
    status: dict[str, Any] | None = None


class ConfigMap(Object, frozen=True, kw_only=True):
    """core/v1 ConfigMap."""

    data: dict[str, str] | None = None


class ServiceAccount(Object, frozen=True, kw_only=True):
    """core/v1 ServiceAccount."""

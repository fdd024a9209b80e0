"""PURE: what a kubelet reports about nodes and pods, as the plain objects the API takes."""

import sys
from pathlib import Path
from typing import Any

import msgspec

from labs.topology import LabNode
from netplane.api import conditions
from netplane.api.objects import Container, Pod
from netplane.errors import NetplaneError

ECHO_IMAGE = "netplane/echo"
ECHO_PROGRAM = Path(__file__).with_name("echo.py")
RUNTIME_VERSION = "netplane-lab://1"


class ContainerRefused(NetplaneError):
    """A container that cannot be started. `reason` is the word that kubectl shows."""

    reason = "RunContainerError"


class ImageUnknown(ContainerRefused):
    """A container that names an image, which labs cannot run, and no command."""

    reason = "ErrImagePull"


class Unsupported(ContainerRefused):
    """A pod that asks for what labs do not do."""

    reason = "CreateContainerConfigError"


class ContainerState(msgspec.Struct, frozen=True):
    """One container's process.

    `exit_code` is None while it lives or waits to be started again; `last_exit_code` is how it ended the last time.
    `reason` and `message` say why it waits.
    """

    name: str
    running: bool = False
    ready: bool = False
    restarts: int = 0
    exit_code: int | None = None
    last_exit_code: int | None = None
    reason: str = ""
    message: str = ""
    started_at: str = ""


def command_line(container: Container) -> list[str]:
    """The process a container stands for: the built-in echo server, or a program of this machine.

    Raises:
        ImageUnknown: for any other image without a command.
    """
    if container.image.split(":")[0] == ECHO_IMAGE and not container.command:
        return [sys.executable, "-I", "-S", str(ECHO_PROGRAM), *(container.args or [])]
    if not container.command:
        raise ImageUnknown(
            f"container {container.name}: image {container.image!r} cannot be run: labs have processes, not images",
            hint=f"use image {ECHO_IMAGE}, or give a command of this machine",
        )
    return [*container.command, *(container.args or [])]


def check_supported(pod: Pod) -> None:
    """Refuse what a lab would have to ignore. Raises Unsupported, naming the field."""
    hint = "labs run plain containers; see docs/labs.md"
    if pod.spec.init_containers:
        raise Unsupported("spec.initContainers: labs do not run init containers", hint=hint)
    for container in pod.spec.containers:
        if container.readiness_probe is not None:
            where = f"spec.containers[{container.name}].readinessProbe"
            raise Unsupported(f"{where}: labs do not probe: a process that runs is ready", hint=hint)


def event(pod: Pod, node: str, *, reason: str, message: str, now: str, stamp_ns: int) -> dict[str, Any]:
    """A warning about a pod, as `kubectl describe` shows it. `stamp_ns` makes its name unique."""
    meta = pod.metadata
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta.name}.{stamp_ns:x}", "namespace": meta.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
        },
        "type": "Warning",
        "reason": reason,
        "message": message,
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": "kubelet", "host": node},
    }


def node_object(node: LabNode, kubelet_version: str) -> dict[str, Any]:
    """A Node as a kubelet registers it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "labels": {
                "kubernetes.io/hostname": node.name,
                "kubernetes.io/os": "linux",
                "topology.kubernetes.io/zone": f"zone-{node.zone}",
            },
        },
        "spec": {},
    } | {"status": node_status(node, ready=False, now="", kubelet_version=kubelet_version)}


def node_status(node: LabNode, *, ready: bool, now: str, kubelet_version: str) -> dict[str, Any]:
    """The status a kubelet posts. `now` is RFC 3339; empty leaves the times out."""
    condition = {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": "KubeletReady" if ready else "KubeletNotReady",
        "message": "the lab's kubelet is ready" if ready else "network plugin not ready: no configuration yet",
    }
    if now:
        condition |= {"lastHeartbeatTime": now, "lastTransitionTime": now}
    resources = {"cpu": "4", "memory": "4Gi", "pods": "250"}
    return {
        "addresses": [
            {"type": "InternalIP", "address": node.address},
            {"type": "Hostname", "address": node.name},
        ],
        "capacity": resources,
        "allocatable": resources,
        "conditions": [condition],
        "nodeInfo": {
            "kubeletVersion": kubelet_version,
            "containerRuntimeVersion": RUNTIME_VERSION,
            "operatingSystem": "linux",
            "osImage": "network namespace",
            "architecture": "amd64",
            "kernelVersion": "",
            "bootID": "",
            "machineID": "",
            "systemUUID": "",
            "kubeProxyVersion": "",
        },
    }


def pod_status(
    pod: Pod, containers: list[ContainerState], addresses: list[str], *, host_ip: str, now: str
) -> dict[str, Any]:
    """status of a Pod from its processes and addresses; conditions keep their transition time while they hold."""
    alive = bool(containers) and all(c.running for c in containers)
    ready = alive and all(c.ready for c in containers) and bool(addresses)
    phase = _phase(pod, containers)
    finished = phase in ("Succeeded", "Failed")
    states = {
        "PodScheduled": True,
        "Initialized": True,
        "ContainersReady": ready,
        "Ready": ready and pod.metadata.deletion_timestamp is None,
    }
    status: dict[str, Any] = {
        "phase": phase,
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": (pod.status.start_time if pod.status else None) or now,
        "conditions": [_condition(pod, kind, holds, finished=finished, now=now) for kind, holds in states.items()],
        "containerStatuses": [_container_status(pod, state) for state in containers],
        "qosClass": "BestEffort",
    }
    if addresses:
        status |= {"podIP": addresses[0], "podIPs": [{"ip": a} for a in addresses]}
    return status


def _phase(pod: Pod, containers: list[ContainerState]) -> str:
    if containers and all(c.exit_code is not None for c in containers):
        return "Succeeded" if all(c.exit_code == 0 for c in containers) else "Failed"
    if any(c.running or c.restarts for c in containers):
        return "Running"
    return "Pending"


def _condition(pod: Pod, kind: str, holds: bool, *, finished: bool, now: str) -> dict[str, Any]:
    value = "True" if holds else "False"
    since = now
    for old in conditions.told(pod):
        if old.type == kind and old.status == value and old.last_transition_time:
            since = old.last_transition_time
    condition: dict[str, Any] = {"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": since}
    if not holds:
        condition["reason"] = "PodCompleted" if finished else "ContainersNotReady"
    return condition


def _container_status(pod: Pod, state: ContainerState) -> dict[str, Any]:
    image = next((c.image for c in pod.spec.containers if c.name == state.name), "")
    if state.running:
        detail: dict[str, Any] = {"running": {"startedAt": state.started_at}}
    elif state.exit_code is not None:
        reason = "Completed" if state.exit_code == 0 else "Error"
        detail = {"terminated": {"exitCode": state.exit_code, "reason": reason}}
    else:
        detail = {"waiting": {"reason": state.reason or "ContainerCreating", "message": state.message}}
    return {
        "name": state.name,
        "image": image,
        "imageID": "",
        "ready": state.ready,
        "started": state.running,
        "restartCount": state.restarts,
        "state": detail,
        "lastState": _last_state(state),
    }


def _last_state(state: ContainerState) -> dict[str, Any]:
    if state.last_exit_code is None:
        return {}
    reason = "Completed" if state.last_exit_code == 0 else "Error"
    return {"terminated": {"exitCode": state.last_exit_code, "reason": reason}}

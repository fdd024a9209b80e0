"""What a pod takes from the node it is on: its zone and region as labels, and room for other resources.

A pod that names a RuntimeClass is refused: there are none. Source: the admission plugins PodTopologyLabels,
PodResizeValidator and RuntimeClass of Kubernetes 1.36.
"""

from typing import Any

from netplane.api import errors, kinds, pod_resources, quantity
from netplane.apiserver import cluster as cl
from netplane.apiserver.cluster import Cluster

Json = dict[str, Any]

_TOPOLOGY = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")
_SYSTEM = "kubernetes.io/os"


async def admit(cluster: Cluster, pod: Json) -> None:
    """Complete a new pod, in place. Raises StatusError 403."""
    spec, metadata = pod["spec"], pod["metadata"]
    runtime = spec.get("runtimeClassName")
    if runtime is not None:
        raise _forbidden(pod, f'pod rejected: RuntimeClass "{runtime}" not found')
    if spec.get("nodeName") and (labels := await topology(cluster, spec["nodeName"])):
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}


def check(pod: Json) -> None:
    """What is refused of a new pod that is right in itself. Raises StatusError 403."""
    if pod["spec"].get("overhead"):
        raise _forbidden(pod, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")


def _forbidden(pod: Json, why: str) -> errors.StatusError:
    return errors.forbidden("", "pods", pod["metadata"].get("name", ""), why)


async def topology(cluster: Cluster, node: str) -> dict[str, str]:
    """The labels that pods on a node have from it; none of a node that is not there."""
    labels = ((await _node(cluster, node) or {}).get("metadata") or {}).get("labels") or {}
    return {key: labels[key] for key in _TOPOLOGY if key in labels}


async def _node(cluster: Cluster, name: str) -> Json | None:
    kv = await cluster.store.get(cl.key(kinds.NODE, "", name))
    return None if kv is None else cluster.decoded(kv)


async def check_resize(cluster: Cluster, new: Json, old: Json) -> None:
    """A pod that was resized fits its node. Raises StatusError 403."""
    name = new["spec"].get("nodeName")
    if not name or new["metadata"].get("generation") == old["metadata"].get("generation"):
        return
    node = await _node(cluster, name)
    if node is None:
        raise _forbidden(new, f'node "{name}" not found')
    system = (node["metadata"].get("labels") or {}).get(_SYSTEM, "linux")
    if system != "linux":
        why = f'pod resize is only supported on linux nodes, node "{name}" is "{system}"'
        raise _because(new, why, "UnsupportedPlatform")
    if lacking := _lacking(new["spec"], (node.get("status") or {}).get("allocatable") or {}):
        why = f"node didn't have enough allocatable resources: {'; '.join(lacking)}"
        raise _because(new, why, "NodeCapacity")


def _because(pod: Json, why: str, reason: str) -> errors.StatusError:
    return errors.forbidden("", "pods", pod["metadata"]["name"], why, [{"reason": reason}])


def _lacking(spec: Json, allocatable: Json) -> list[str]:
    wanted = pod_resources.of_pod(spec, "requests")
    found: list[str] = []
    for name, unit in (("cpu", 1000), ("memory", 1)):
        asked, has = (quantity.parse(amounts.get(name, "0")) or 0 for amounts in (wanted, allocatable))
        if asked > has:
            found.append(f"{name}, requested: {-(-asked * unit // 1)}, allocatable: {-(-has * unit // 1)}")
    return found

"""Which Secrets, ConfigMaps and ServiceAccount a pod needs, wherever its spec names them (pure).

What a pod on a node names is what that node may read. Source: the Pod type of core/v1 in Kubernetes 1.36.
"""

from collections.abc import Iterator, Sequence
from typing import Any

Json = dict[str, Any]

Ref = tuple[str, str]
"""(plural, name), in the pod's own namespace."""

MIRROR = "kubernetes.io/config.mirror"
"""The annotation of a pod that its node made itself, to show a static pod."""
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
"""Annotations that begin so confined a container, named by their end, before there was a field for it."""

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")

# Volume sources that name a Secret: by a reference (an object with a name), or by a name alone.
_BY_REFERENCE = {
    **dict.fromkeys(("cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"), "secretRef"),
    "csi": "nodePublishSecretRef",
}
_BY_NAME = {"secret": "secretName", "azureFile": "secretName"}


def references(pod: Json) -> frozenset[Ref]:
    """Everything a pod names, each once."""
    spec = pod.get("spec") or {}
    found = {("serviceaccounts", spec.get("serviceAccountName") or "")}
    found |= {("secrets", _name(one)) for one in spec.get("imagePullSecrets") or ()}
    for container in containers(spec):
        found.update(_of_container(container))
    for volume in spec.get("volumes") or ():
        found.update(_of_volume(volume))
    return frozenset(ref for ref in found if ref[1])


def containers(spec: Json) -> Iterator[Json]:
    """All containers of a pod, of every sort."""
    for field in _CONTAINERS:
        yield from spec.get(field) or ()


def placed(spec: Json, path: str) -> Iterator[tuple[str, Json]]:
    """The same, each with its path below `path`, that of the spec."""
    for field in _CONTAINERS:
        yield from ((f"{path}.{field}[{i}]", one) for i, one in enumerate(spec.get(field) or ()))


def is_windows(spec: Json) -> bool:
    """Whether a pod says that it runs on Windows."""
    return (spec.get("os") or {}).get("name") == "windows"


def projected(volume: Json) -> Sequence[Json]:
    """The sources of a projected volume; none of any other."""
    return (volume.get("projected") or {}).get("sources") or ()


def _name(reference: Json | None) -> str:
    return (reference or {}).get("name") or ""


def _of_container(container: Json) -> Iterator[Ref]:
    for one in container.get("envFrom") or ():
        yield "secrets", _name(one.get("secretRef"))
        yield "configmaps", _name(one.get("configMapRef"))
    for one in container.get("env") or ():
        source = one.get("valueFrom") or {}
        yield "secrets", _name(source.get("secretKeyRef"))
        yield "configmaps", _name(source.get("configMapKeyRef"))


def _of_volume(volume: Json) -> Iterator[Ref]:
    for field, inside in _BY_NAME.items():
        yield "secrets", (volume.get(field) or {}).get(inside) or ""
    for field, inside in _BY_REFERENCE.items():
        yield "secrets", _name((volume.get(field) or {}).get(inside))
    yield "configmaps", _name(volume.get("configMap"))
    for source in projected(volume):
        yield "secrets", _name(source.get("secret"))
        yield "configmaps", _name(source.get("configMap"))

"""What an absent field of a pod means, as a table of paths.

A default is set where the object around it exists. `[]` stands for every element of a list. Source: the defaults of
core/v1 in Kubernetes 1.36, which are the same for a Pod and for a template of one.
"""

from functools import lru_cache
from typing import Any

from netplane.api import pod_resources, quantity
from netplane.api.images import pull_policy
from netplane.api.pod_refs import containers

Json = dict[str, Any]

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")

# Fields whose zero value (0, "") counts as absent too, because Go's types cannot tell the two apart.
_CONTAINER: dict[str, Any] = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "ports[].protocol": "TCP",
    "env[].valueFrom.fieldRef.apiVersion": "v1",
    **{f"{probe}.{field}": value for probe in _PROBES for field, value in (
        ("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3),
        ("httpGet.path", "/"), ("httpGet.scheme", "HTTP"),
    )},
    **{f"lifecycle.{hook}.httpGet.{field}": value for hook in ("postStart", "preStop") for field, value in (
        ("path", "/"), ("scheme", "HTTP"),
    )},
}  # fmt: skip
# What a volume of a pod has in common with a PersistentVolume.
VOLUME_SOURCES: dict[str, Any] = {
    "iscsi.iscsiInterface": "default",
    "rbd.keyring": "/etc/ceph/keyring",
    "rbd.pool": "rbd",
    "rbd.user": "admin",
    "scaleIO.fsType": "xfs",
    "scaleIO.storageMode": "ThinProvisioned",
}
VOLUME_SOURCES_ABSENT: dict[str, Any] = {
    "hostPath.type": "",
    "azureDisk.cachingMode": "ReadWrite",
    "azureDisk.fsType": "ext4",
    "azureDisk.kind": "Shared",
    "azureDisk.readOnly": False,
}
_SPEC: dict[str, Any] = {
    "dnsPolicy": "ClusterFirst",
    "restartPolicy": "Always",
    "schedulerName": "default-scheduler",
    "volumes[].downwardAPI.items[].fieldRef.apiVersion": "v1",
    "volumes[].projected.sources[].downwardAPI.items[].fieldRef.apiVersion": "v1",
    **{f"volumes[].{path}": value for path, value in VOLUME_SOURCES.items()},
}
# Fields for which zero is an answer: only absence takes the default.
_CONTAINER_ABSENT: dict[str, Any] = {
    "resources": {},
    "env[].valueFrom.fileKeyRef.optional": False,
    **{f"{probe}.grpc.service": "" for probe in _PROBES},
}
_SPEC_ABSENT: dict[str, Any] = {
    "terminationGracePeriodSeconds": 30,
    "securityContext": {},
    "volumes[].secret.defaultMode": 0o644,
    "volumes[].configMap.defaultMode": 0o644,
    "volumes[].downwardAPI.defaultMode": 0o644,
    "volumes[].projected.defaultMode": 0o644,
    "volumes[].projected.sources[].serviceAccountToken.expirationSeconds": 3600,
    "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[].preference": {},
    "affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[].podAffinityTerm": {},
    "affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[].podAffinityTerm": {},
    **{f"volumes[].{path}": value for path, value in VOLUME_SOURCES_ABSENT.items()},
}


def apply_spec(spec: Json) -> None:
    """Defaults of a pod's spec, wherever it stands, in place."""
    for volume in spec.get("volumes") or ():
        _volume(volume)
    fill(spec, _SPEC)
    fill(spec, _SPEC_ABSENT, zero_counts=False)
    if account := spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    _round(spec.get("resources") or {})
    _round({"overhead": spec.get("overhead") or {}})
    for container in containers(spec):
        fill(container, {"imagePullPolicy": pull_policy(container.get("image") or "")})
        fill(container, _CONTAINER)
        fill(container, _CONTAINER_ABSENT, zero_counts=False)
        _round(container["resources"])


def _volume(volume: Json) -> None:
    if not any(value is not None for key, value in volume.items() if key != "name"):
        volume["emptyDir"] = {}
    if isinstance(image := volume.get("image"), dict):
        fill(image, {"pullPolicy": pull_policy(image.get("reference") or "")})
    claim = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
    if claim is not None:
        fill(claim, {"metadata": {}, "spec": {}}, zero_counts=False)
        apply_claim(claim["spec"])
    if (projection := volume.get("projected")) is not None:
        projection.setdefault("sources", None)  # Go writes it


def apply_claim(spec: Json) -> None:
    """Defaults of a PersistentVolumeClaim's spec, wherever it stands, in place."""
    fill(spec, {"volumeMode": "Filesystem", "resources": {}}, zero_counts=False)


def apply_template(around: Json) -> None:
    """Defaults of a pod's template, made where there is none, in place."""
    template = around.setdefault("template", {})
    template.setdefault("metadata", {})
    apply_spec(template.setdefault("spec", {}))


def _round(resources: Json) -> None:
    """Amounts of less than a thousandth are rounded up."""
    for amounts in resources.values():
        for name, amount in amounts.items() if isinstance(amounts, dict) else ():
            amounts[name] = quantity.rounded(amount)


def apply_pod(pod: Json) -> None:
    """Defaults of a Pod itself: more than those of its spec."""
    spec = pod.setdefault("spec", {})
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        spec["terminationGracePeriodSeconds"] = 1
    apply_spec(spec)
    fill(spec, {"enableServiceLinks": True}, zero_counts=False)
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        _requests(container)
        if spec.get("hostNetwork"):
            for port in container.get("ports") or ():
                fill(port, {"hostPort": port.get("containerPort", 0)})
    pod_resources.fill_pod_level(spec)


def _requests(container: Json) -> None:
    """What is limited and not requested is requested up to its limit."""
    resources = container["resources"]
    limits = resources.get("limits") or {}
    if limits:
        resources["requests"] = {**limits, **(resources.get("requests") or {})}


def fill(obj: Json, defaults: dict[str, Any], *, zero_counts: bool = True) -> None:
    """Set what is absent below `obj`. `zero_counts`: 0 and "" are absence too."""
    for path, value in defaults.items():
        parents, name = _steps(path)
        if parents and parents[0] not in obj:
            continue  # as for most
        for parent in _holders(obj, parents) if parents else (obj,):
            have = parent.get(name)
            if have is None or (zero_counts and have in (0, "") and have is not False):
                parent[name] = {} if value == {} else value


def parts(obj: Json, *names: str) -> None:
    """What is a plain struct in Go is there even when it is empty."""
    fill(obj, {name: {} for name in names}, zero_counts=False)


@lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[tuple[str, ...], str]:
    """The names on the way to a field, and its own."""
    *parents, name = path.split(".")
    return tuple(one.removesuffix("[]") for one in parents), name


def _holders(obj: Json, parents: tuple[str, ...]) -> list[Json]:
    """The objects at the end of the way; each list on it means all of its elements."""
    found: list[Any] = [obj]
    for name in parents:
        below: list[Any] = []
        for one in found:
            part = one.get(name) if isinstance(one, dict) else None
            if isinstance(part, list):
                below += part
            elif part is not None:
                below.append(part)
        if not below:
            return below
        found = below
    return [one for one in found if isinstance(one, dict)]

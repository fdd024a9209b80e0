"""Extracts the schemas of the served kinds from the package `kubernetes-validate`, while Netplane is built.

The build hook (hatch_build.py) runs this with that package in the build environment; the result is not kept in the
repository. It imports nothing of Netplane, which is not installed then. The package carries every release's
definitions as JSON Schema (108 MB); Netplane serves one release, and only what its kinds reach. They are written as
OpenAPI v3 says them: no "null" beside a type, references into #/components/schemas, a reference with siblings inside
allOf, as the real server publishes them.
"""

import gzip
import importlib
import json
from importlib.resources import files
from typing import Any

Json = dict[str, Any]

RELEASE = "v1.36"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_SERVED = {
    "io.k8s.api.core.v1": "Namespace Node Pod Service Endpoints ConfigMap Secret ServiceAccount Event PersistentVolume "
    "PersistentVolumeClaim PodTemplate ReplicationController ResourceQuota LimitRange",
    "io.k8s.api.discovery.v1": "EndpointSlice",
    "io.k8s.api.networking.v1": "NetworkPolicy Ingress IngressClass ServiceCIDR IPAddress",
    "io.k8s.api.coordination.v1": "Lease",
    "io.k8s.api.apps.v1": "Deployment ReplicaSet DaemonSet StatefulSet ControllerRevision",
    "io.k8s.api.batch.v1": "Job CronJob",
    "io.k8s.api.rbac.v1": "Role RoleBinding ClusterRole ClusterRoleBinding",
    "io.k8s.api.events.v1": "Event",
    "io.k8s.api.storage.v1": "StorageClass CSINode CSIDriver CSIStorageCapacity VolumeAttachment VolumeAttributesClass",
    "io.k8s.api.policy.v1": "PodDisruptionBudget",
    "io.k8s.api.scheduling.v1": "PriorityClass",
    "io.k8s.api.resource.v1": "ResourceClaim ResourceClaimTemplate ResourceSlice DeviceClass",
    "io.k8s.api.autoscaling.v2": "HorizontalPodAutoscaler",
    "io.k8s.api.certificates.v1": "CertificateSigningRequest",
    "io.k8s.api.admissionregistration.v1": "ValidatingAdmissionPolicy",
    "io.k8s.api.node.v1": "RuntimeClass",
}
_ALONE = {
    "io.k8s.api.core.v1": "Binding",
    "io.k8s.api.policy.v1": "Eviction",
    "io.k8s.api.autoscaling.v1": "Scale",
    "io.k8s.api.authentication.v1": "TokenRequest TokenReview SelfSubjectReview",
    "io.k8s.api.authorization.v1": "SubjectAccessReview LocalSubjectAccessReview SelfSubjectAccessReview "
    "SelfSubjectRulesReview",
    _META: "APIGroup APIGroupList APIResourceList APIVersions DeleteOptions Status WatchEvent Patch",
}
_SPECIAL: dict[str, Json] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {
        "description": "An integer or a string.",
        "format": "int-or-string",
        "oneOf": [{"type": "integer"}, {"type": "string"}],
    },
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {
        "description": "A number with a unit: 500m, 1Gi.",
        "oneOf": [{"type": "string"}, {"type": "number"}],
    },
}


def roots() -> list[str]:
    """Names of the definitions that are served as such."""
    lists = [
        f"{package}.{kind}{end}" for package, kinds in _SERVED.items() for kind in kinds.split() for end in ("", "List")
    ]
    return lists + [f"{package}.{kind}" for package, kinds in _ALONE.items() for kind in kinds.split()]


def reachable(all_of_them: Json, start: list[str]) -> Json:
    """Every definition that `start` refers to, itself included, converted and in order of name."""
    found: Json = {}
    todo = list(start)
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = _SPECIAL.get(name) or convert(all_of_them[name])
            todo += _references(all_of_them[name])
    return {name: found[name] for name in sorted(found)}


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [name for item in schema for name in _references(item)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"].rpartition("/")[2]] if isinstance(schema.get("$ref"), str) else []
    return own + [name for value in schema.values() for name in _references(value)]


def convert(schema: Any, *, names: bool = False) -> Any:
    """One JSON Schema as OpenAPI v3 writes it. `names`: the keys are property names, not keywords."""
    if isinstance(schema, list):
        return [convert(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if names:
        return {key: convert(value) for key, value in schema.items()}
    out = {key: convert(value, names=key == "properties") for key, value in schema.items() if key != "$ref"}
    if isinstance(out.get("type"), list):
        (out["type"],) = (one for one in out["type"] if one != "null")
    if isinstance(out.get("enum"), list):
        out["enum"] = [one for one in out["enum"] if one is not None]
    if "$ref" in schema:
        reference = {"$ref": "#/components/schemas/" + schema["$ref"].rpartition("/")[2]}
        return {"allOf": [reference], **out} if out else reference
    return _trimmed(out)


def _trimmed(schema: Json) -> Json:
    # Status, DeleteOptions … list every group there is; the enums of apiVersion and kind are not in the original.
    packages = [package.split(".")[-2:] for package in (*_SERVED, *_ALONE)]
    served = {("" if group in ("core", "meta") else group, version) for group, version in packages}
    if "x-kubernetes-group-version-kind" in schema:
        schema["x-kubernetes-group-version-kind"] = [
            gvk
            for gvk in schema["x-kubernetes-group-version-kind"]
            if (gvk["group"].split(".")[0], gvk["version"]) in served
        ]
        for field in ("apiVersion", "kind"):
            schema.get("properties", {}).get(field, {}).pop("enum", None)
    return schema


def packed() -> bytes:
    """The table: gzipped JSON, definitions by name. The same input gives the same bytes."""
    package = importlib.import_module("kubernetes_validate")
    source = files(package).joinpath("kubernetes-json-schema", f"{RELEASE}.0-local", "_definitions.json")
    table = reachable(json.loads(source.read_bytes())["$defs"], roots())
    return gzip.compress(json.dumps(table, separators=(",", ":"), sort_keys=True).encode(), mtime=0)

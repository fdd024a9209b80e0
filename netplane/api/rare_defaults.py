"""Defaults of what schedulers and workload controllers read: storage, priorities, devices, scaling (pure).

Source: the defaults of core/v1, storage/v1, scheduling/v1, resource/v1 and autoscaling/v2 in Kubernetes 1.36.
"""

from collections.abc import Callable, Iterator
from typing import Any

from netplane.api import pod_defaults
from netplane.api.pod_defaults import fill, parts

Json = dict[str, Any]


def _persistent_volume(obj: Json) -> None:
    parts(obj, "spec", "status")
    spec = obj["spec"]
    fill(spec, {"persistentVolumeReclaimPolicy": "Retain"})
    fill(spec, {"volumeMode": "Filesystem"}, zero_counts=False)
    fill(spec, pod_defaults.VOLUME_SOURCES)
    fill(spec, pod_defaults.VOLUME_SOURCES_ABSENT, zero_counts=False)
    fill(obj["status"], {"phase": "Pending"})


def _claim(obj: Json) -> None:
    parts(obj, "spec", "status")
    pod_defaults.apply_claim(obj["spec"])
    fill(obj["status"], {"phase": "Pending"})


def _replication_controller(obj: Json) -> None:
    parts(obj, "spec", "status")
    spec, metadata = obj["spec"], obj.setdefault("metadata", {})
    if spec.get("template") is not None:
        pod_defaults.apply_template(spec)
        labels = spec["template"]["metadata"].get("labels")
        if labels:
            spec["selector"] = spec.get("selector") or dict(labels)
            metadata["labels"] = metadata.get("labels") or dict(labels)
    fill(spec, {"replicas": 1}, zero_counts=False)
    obj["status"].setdefault("replicas", 0)


def _resource_quota(obj: Json) -> None:
    parts(obj, "spec", "status")


def _limit_range(obj: Json) -> None:
    parts(obj, "spec")
    obj["spec"]["limits"] = obj["spec"].get("limits") or None  # Go writes it, null when there is none
    for item in obj["spec"]["limits"] or ():
        if item.get("type") == "Container":
            default = {**(item.get("max") or {}), **(item.get("default") or {})}
            asked = {**(item.get("min") or {}), **default, **(item.get("defaultRequest") or {})}
            for field, amounts in (("default", default), ("defaultRequest", asked)):
                if amounts:
                    item[field] = amounts


def _storage_class(obj: Json) -> None:
    fill(obj, {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}, zero_counts=False)


def _csi_driver(obj: Json) -> None:
    parts(obj, "spec")
    absent = {
        "attachRequired": True,
        "podInfoOnMount": False,
        "storageCapacity": False,
        "fsGroupPolicy": "ReadWriteOnceWithFSType",
        "requiresRepublish": False,
        "seLinuxMount": False,
    }
    fill(obj["spec"], absent, zero_counts=False)
    if not obj["spec"].get("volumeLifecycleModes"):
        obj["spec"]["volumeLifecycleModes"] = ["Persistent"]


def _csi_node(obj: Json) -> None:
    parts(obj, "spec")
    spec = obj["spec"]
    for driver in spec.get("drivers") or ():
        driver.setdefault("topologyKeys", None)
    spec["drivers"] = spec.get("drivers") or None  # Go writes both, null when there is none


def _volume_attachment(obj: Json) -> None:
    parts(obj, "spec", "status")
    fill(obj["spec"], {"source": {}}, zero_counts=False)
    fill(obj["spec"], {f"source.inlineVolumeSpec.{path}": value for path, value in pod_defaults.VOLUME_SOURCES.items()})
    obj["status"].setdefault("attached", False)


def _disruption_budget(obj: Json) -> None:
    parts(obj, "spec", "status")
    counts = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    fill(obj["status"], dict.fromkeys(counts, 0), zero_counts=False)


def _priority_class(obj: Json) -> None:
    fill(obj, {"value": 0, "preemptionPolicy": "PreemptLowerPriority"}, zero_counts=False)


def _resource_claim(obj: Json) -> None:
    parts(obj, "spec", "status")
    _device_requests(obj["spec"])


def _claim_template(obj: Json) -> None:
    parts(obj, "spec")
    fill(obj["spec"], {"metadata": {}, "spec": {}}, zero_counts=False)
    _device_requests(obj["spec"]["spec"])


def _device_requests(spec: Json) -> None:
    spec.setdefault("devices", {})
    for request in _requests(spec):
        fill(request, {"allocationMode": "ExactCount"})
        if request["allocationMode"] == "ExactCount":
            fill(request, {"count": 1})


def _requests(spec: Json) -> Iterator[Json]:
    for one in spec["devices"].get("requests") or ():
        if one.get("exactly") is not None:
            yield one["exactly"]
        yield from one.get("firstAvailable") or ()


def _device_class(obj: Json) -> None:
    parts(obj, "spec")


def _resource_slice(obj: Json) -> None:
    parts(obj, "spec")
    obj["spec"].setdefault("pool", {})


def _autoscaler(obj: Json) -> None:
    parts(obj, "spec", "status")
    spec, status = obj["spec"], obj["status"]
    fill(spec, {"minReplicas": 1, "scaleTargetRef": {}}, zero_counts=False)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    if (behavior := spec.get("behavior")) is not None:
        behavior["scaleUp"] = {**_scale_up(), **_given(behavior.get("scaleUp"))}
        behavior["scaleDown"] = {**_scale_down(), **_given(behavior.get("scaleDown"))}
    status.setdefault("currentMetrics", None)  # Go writes it
    status.setdefault("desiredReplicas", 0)


def _given(rules: Json | None) -> Json:
    return {key: value for key, value in (rules or {}).items() if value is not None}


_ALL_AT_ONCE = {"type": "Percent", "value": 100, "periodSeconds": 15}


def _scale_up() -> Json:
    policies = [{"type": "Pods", "value": 4, "periodSeconds": 15}, dict(_ALL_AT_ONCE)]
    return {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": policies}


def _scale_down() -> Json:
    return {"selectPolicy": "Max", "policies": [dict(_ALL_AT_ONCE)]}


_STORAGE, _RESOURCE = "storage.k8s.io", "resource.k8s.io"
BY_KIND: dict[tuple[str, str], Callable[[Json], None]] = {
    ("", "PersistentVolume"): _persistent_volume,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "PodTemplate"): pod_defaults.apply_template,
    ("", "ReplicationController"): _replication_controller,
    ("", "ResourceQuota"): _resource_quota,
    ("", "LimitRange"): _limit_range,
    (_STORAGE, "StorageClass"): _storage_class,
    (_STORAGE, "CSIDriver"): _csi_driver,
    (_STORAGE, "CSINode"): _csi_node,
    (_STORAGE, "VolumeAttachment"): _volume_attachment,
    ("policy", "PodDisruptionBudget"): _disruption_budget,
    ("scheduling.k8s.io", "PriorityClass"): _priority_class,
    (_RESOURCE, "ResourceClaim"): _resource_claim,
    (_RESOURCE, "ResourceClaimTemplate"): _claim_template,
    (_RESOURCE, "ResourceSlice"): _resource_slice,
    (_RESOURCE, "DeviceClass"): _device_class,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
}

"""Which checks the kinds have that schedulers and workload controllers read."""

from collections.abc import Callable
from typing import Any

from netplane.api.fields import FieldError
from netplane.api.validation import (
    autoscaling,
    devices,
    meta,
    persistent_volumes,
    quotas,
    replication,
    scheduling_kinds,
    storage,
    workload_status,
)

Json = dict[str, Any]
Validate = Callable[[Json, Json | None], list[FieldError]]

_STORAGE, _RESOURCE = "storage.k8s.io", "resource.k8s.io"
BY_KIND: dict[tuple[str, str], tuple[meta.NameCheck, Validate | None]] = {
    ("", "PersistentVolume"): (meta.subdomain, persistent_volumes.volume),
    ("", "PersistentVolumeClaim"): (meta.subdomain, persistent_volumes.claim),
    ("", "PodTemplate"): (meta.subdomain, replication.template),
    ("", "ReplicationController"): (meta.subdomain, replication.replication_controller),
    ("", "ResourceQuota"): (meta.subdomain, quotas.quota),
    ("", "LimitRange"): (meta.subdomain, quotas.limit_range),
    (_STORAGE, "StorageClass"): (meta.subdomain, storage.storage_class),
    (_STORAGE, "CSINode"): (meta.subdomain, storage.node),
    (_STORAGE, "CSIDriver"): (meta.subdomain, storage.driver),
    (_STORAGE, "CSIStorageCapacity"): (meta.subdomain, storage.capacity),
    (_STORAGE, "VolumeAttachment"): (meta.subdomain, storage.attachment),
    (_STORAGE, "VolumeAttributesClass"): (meta.subdomain, storage.attributes_class),
    ("policy", "PodDisruptionBudget"): (meta.subdomain, scheduling_kinds.disruption_budget),
    ("scheduling.k8s.io", "PriorityClass"): (meta.subdomain, scheduling_kinds.priority_class),
    (_RESOURCE, "ResourceClaim"): (meta.subdomain, devices.claim),
    (_RESOURCE, "ResourceClaimTemplate"): (meta.subdomain, devices.claim_template),
    (_RESOURCE, "ResourceSlice"): (meta.subdomain, devices.resource_slice),
    (_RESOURCE, "DeviceClass"): (meta.subdomain, devices.device_class),
    ("autoscaling", "HorizontalPodAutoscaler"): (meta.segment, autoscaling.autoscaler),
}
BY_PART: dict[tuple[str, str, str], Validate] = {
    ("", "PersistentVolume", "status"): lambda obj, old: [],
    ("", "PersistentVolumeClaim", "status"): persistent_volumes.claim_status,
    ("", "ReplicationController", "status"): workload_status.replica_set,
    ("", "ResourceQuota", "status"): quotas.quota_status,
    ("policy", "PodDisruptionBudget", "status"): scheduling_kinds.disruption_status,
    (_RESOURCE, "ResourceClaim", "status"): devices.claim_status,
    ("autoscaling", "HorizontalPodAutoscaler", "status"): autoscaling.status,
}

"""Printers of storage, budgets, priorities, quotas and devices: the columns that kubectl users know."""

from typing import Any

from netplane.api.autoscaler_printer import AUTOSCALER
from netplane.api.more_printers import BARE, SELECTOR, WIDE_CONTAINERS, container_cells, counts
from netplane.api.quantity import canonical
from netplane.api.table import AGE, NAME, NONE, UNSET, Column, Json, Now, Printer, age, get, name, pairs

_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
_STORAGE, _RESOURCE = "storage.k8s.io", "resource.k8s.io"


def _modes(given: list[str] | None) -> str:
    return ",".join(short for mode, short in _MODES.items() if mode in (given or ()))


def _phase(obj: Json) -> str:
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else str(get(obj, "status", "phase") or "")


def _class(obj: Json) -> str:
    told = (obj["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION)
    return str(told if told is not None else get(obj, "spec", "storageClassName") or "")


def _size(amounts: Json | None) -> str:
    return canonical((amounts or {}).get("storage", "0"))


def _persistent_volume(obj: Json, now: Now) -> list[Any]:
    spec = obj.get("spec") or {}
    claim = spec.get("claimRef")
    return [
        name(obj),
        _size(spec.get("capacity")),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        _phase(obj),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        _class(obj),
        spec.get("volumeAttributesClassName") or UNSET,
        get(obj, "status", "reason") or "",
        age(obj, now),
        spec.get("volumeMode") or UNSET,
    ]


def _claim(obj: Json, now: Now) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    volume = spec.get("volumeName") or ""
    return [
        name(obj),
        _phase(obj),
        volume,
        _size(status.get("capacity")) if volume else "",
        _modes(status.get("accessModes")) if volume else "",
        _class(obj),
        spec.get("volumeAttributesClassName") or UNSET,
        age(obj, now),
        spec.get("volumeMode") or UNSET,
    ]


def _pod_template(obj: Json, now: Now) -> list[Any]:
    return [name(obj), *container_cells(obj), pairs(get(obj, "template", "metadata", "labels"))]


def _replication_controller(obj: Json, now: Now) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    have = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [name(obj), *have, age(obj, now), *container_cells(spec), pairs(spec.get("selector"))]


def _resource_quota(obj: Json, now: Now) -> list[Any]:
    status = obj.get("status") or {}
    used = status.get("used") or {}
    shown: dict[bool, list[str]] = {False: [], True: []}
    for what, hard in sorted((status.get("hard") or {}).items()):
        shown[what.startswith("limits.")].append(f"{what}: {used.get(what, '0')}/{hard}")
    return [name(obj), ", ".join(shown[False]), ", ".join(shown[True]), age(obj, now)]


def _storage_class(obj: Json, now: Now) -> list[Any]:
    annotations = obj["metadata"].get("annotations") or {}
    default = " (default)" if any(annotations.get(one) == "true" for one in _DEFAULT_CLASS) else ""
    return [
        name(obj) + default,
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"),
        bool(obj.get("allowVolumeExpansion")),
        age(obj, now),
    ]


def _csi_driver(obj: Json, now: Now) -> list[Any]:
    spec = obj.get("spec") or {}
    tokens = spec.get("tokenRequests")
    return [
        name(obj),
        spec.get("attachRequired", True),
        bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")),
        UNSET if tokens is None else ",".join(one.get("audience", "") for one in tokens),
        bool(spec.get("requiresRepublish")),
        ",".join(spec.get("volumeLifecycleModes") or ()) or NONE,
        age(obj, now),
    ]


def _csi_node(obj: Json, now: Now) -> list[Any]:
    return [name(obj), len(get(obj, "spec", "drivers") or ()), age(obj, now)]


def _volume_attachment(obj: Json, now: Now) -> list[Any]:
    spec = obj.get("spec") or {}
    volume = get(spec, "source", "persistentVolumeName") or ""
    attached = bool(get(obj, "status", "attached"))
    return [name(obj), spec.get("attacher", ""), volume, spec.get("nodeName", ""), attached, age(obj, now)]


def _volume_attributes(obj: Json, now: Now) -> list[Any]:
    return [name(obj), obj.get("driverName", ""), age(obj, now)]


def _disruption_budget(obj: Json, now: Now) -> list[Any]:
    spec = obj.get("spec") or {}
    limits = [
        str(spec[field]) if spec.get(field) is not None else "N/A" for field in ("minAvailable", "maxUnavailable")
    ]
    return [name(obj), *limits, get(obj, "status", "disruptionsAllowed") or 0, age(obj, now)]


def _priority_class(obj: Json, now: Now) -> list[Any]:
    everywhere = bool(obj.get("globalDefault"))
    return [name(obj), obj.get("value", 0), everywhere, age(obj, now), obj.get("preemptionPolicy") or ""]


def _resource_claim(obj: Json, now: Now) -> list[Any]:
    deleted, status = bool(obj["metadata"].get("deletionTimestamp")), obj.get("status") or {}
    states = ["deleted"] if deleted else []
    if status.get("allocation") is not None:
        states += ["allocated", *(["reserved"] if status.get("reservedFor") else [])]
    elif not deleted:
        states.append("pending")
    return [name(obj), ",".join(states), age(obj, now)]


def _resource_slice(obj: Json, now: Now) -> list[Any]:
    spec = obj.get("spec") or {}
    return [
        name(obj),
        spec.get("nodeName") or "",
        spec.get("driver", ""),
        get(spec, "pool", "name") or "",
        age(obj, now),
    ]


def _texts(*columns: tuple[str, str]) -> tuple[Column, ...]:
    return tuple(Column(title, about) for title, about in columns)


def _flags(*columns: tuple[str, str]) -> tuple[Column, ...]:
    return tuple(Column(title, about, type="boolean") for title, about in columns)


_VOLUME_MODE = Column("VolumeMode", "spec.volumeMode", wide=True)

PRINTERS: dict[tuple[str, str], Printer] = {
    ("", "PersistentVolume"): Printer(
        (
            NAME,
            *_texts(
                ("Capacity", "spec.capacity"),
                ("Access Modes", "spec.accessModes"),
                ("Reclaim Policy", "spec.persistentVolumeReclaimPolicy"),
                ("Status", "status.phase"),
                ("Claim", "spec.claimRef"),
                ("StorageClass", "StorageClass of the pv"),
                ("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
                ("Reason", "status.reason"),
            ),
            AGE,
            _VOLUME_MODE,
        ),
        _persistent_volume,
    ),
    ("", "PersistentVolumeClaim"): Printer(
        (
            NAME,
            *_texts(
                ("Status", "status.phase"),
                ("Volume", "spec.volumeName"),
                ("Capacity", "status.capacity"),
                ("Access Modes", "status.accessModes"),
                ("StorageClass", "StorageClass of the pvc"),
                ("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
            ),
            AGE,
            _VOLUME_MODE,
        ),
        _claim,
    ),
    ("", "PodTemplate"): Printer(
        (
            NAME,
            *_texts(
                ("Containers", "Names of each container in the template."),
                ("Images", "Images referenced by each container in the template."),
                ("Pod Labels", "The labels for the pod template."),
            ),
        ),
        _pod_template,
    ),
    ("", "ReplicationController"): Printer(
        (
            NAME,
            *counts(("Desired", "spec.replicas"), ("Current", "status.replicas"), ("Ready", "status.readyReplicas")),
            AGE,
            *WIDE_CONTAINERS,
            SELECTOR,
        ),
        _replication_controller,
    ),
    ("", "ResourceQuota"): Printer(
        (
            NAME,
            *_texts(
                ("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
                (
                    "Limit",
                    "Limits control the maximum amount of cpu/memory that a container may use independent of "
                    "contention on the node.",
                ),
            ),
            AGE,
        ),
        _resource_quota,
    ),
    (_STORAGE, "StorageClass"): Printer(
        (
            NAME,
            *_texts(
                ("Provisioner", "provisioner"),
                ("ReclaimPolicy", "reclaimPolicy"),
                ("VolumeBindingMode", "volumeBindingMode"),
                ("AllowVolumeExpansion", "allowVolumeExpansion"),
            ),
            AGE,
        ),
        _storage_class,
    ),
    (_STORAGE, "CSIDriver"): Printer(
        (
            NAME,
            *_flags(
                ("AttachRequired", "spec.attachRequired"),
                ("PodInfoOnMount", "spec.podInfoOnMount"),
                ("StorageCapacity", "spec.storageCapacity"),
            ),
            Column("TokenRequests", "spec.tokenRequests"),
            *_flags(("RequiresRepublish", "spec.requiresRepublish")),
            Column("Modes", "spec.volumeLifecycleModes"),
            AGE,
        ),
        _csi_driver,
    ),
    (_STORAGE, "CSINode"): Printer(
        (NAME, *counts(("Drivers", "Drivers indicates the number of CSI drivers registered on the node")), AGE),
        _csi_node,
    ),
    (_STORAGE, "VolumeAttachment"): Printer(
        (
            NAME,
            Column("Attacher", "spec.attacher", format="name"),
            *_texts(("PV", "spec.source.persistentVolumeName"), ("Node", "spec.nodeName")),
            *_flags(("Attached", "status.attached")),
            AGE,
        ),
        _volume_attachment,
    ),
    (_STORAGE, "VolumeAttributesClass"): Printer((NAME, Column("DriverName", "driverName"), AGE), _volume_attributes),
    ("policy", "PodDisruptionBudget"): Printer(
        (
            NAME,
            *_texts(
                ("Min Available", "The minimum number of pods that must be available."),
                ("Max Unavailable", "The maximum number of pods that may be unavailable."),
            ),
            *counts(
                ("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
            ),
            AGE,
        ),
        _disruption_budget,
    ),
    ("scheduling.k8s.io", "PriorityClass"): Printer(
        (
            NAME,
            *counts(("Value", "value")),
            *_flags(("Global-Default", "globalDefault")),
            AGE,
            Column("PreemptionPolicy", "preemptionPolicy"),
        ),
        _priority_class,
    ),
    (_RESOURCE, "ResourceClaim"): Printer(
        (
            NAME,
            Column("State", "A summary of the current state (allocated, pending, reserved, etc.)."),
            AGE,
        ),
        _resource_claim,
    ),
    (_RESOURCE, "ResourceClaimTemplate"): BARE,
    (_RESOURCE, "DeviceClass"): BARE,
    (_RESOURCE, "ResourceSlice"): Printer(
        (NAME, *_texts(("Node", "spec.nodeName"), ("Driver", "spec.driver"), ("Pool", "spec.pool.name")), AGE),
        _resource_slice,
    ),
    ("autoscaling", "HorizontalPodAutoscaler"): AUTOSCALER,
}

"""PersistentVolumes and the claims for them. Source: core/v1 validation of Kubernetes 1.36."""

from collections.abc import Callable
from posixpath import normpath
from typing import Any

from netplane.api import names, prints, quantity
from netplane.api.fields import FieldError, all_invalid, forbidden, invalid, not_supported, required
from netplane.api.validation import meta, rare_volumes
from netplane.api.validation.paths import no_backsteps
from netplane.api.validation.selecting import node_selector
from netplane.api.validation.volumes import host_path

Json = dict[str, Any]
Check = Callable[[Json, str], list[FieldError]]

_INLINE = "in the context of inline volumes"
_NOT_INLINE = f"may not be specified {_INLINE}"
_MODES = ("Block", "Filesystem")
_CLAIM_FIXED = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n"
)
_FIXED_AFFINITY = f"{meta.IMMUTABLE}, except for updating from beta label to GA"
_RESIZES = (
    "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible",
    "NodeResizePending",
)  # fmt: skip


def volume(obj: Json, old: Json | None) -> list[FieldError]:
    """core/v1 PersistentVolume: where its data lies is told once."""
    spec = obj["spec"]
    errors = volume_spec(spec, "spec")
    if old is None:
        return errors
    errors, before = errors * 2, old.get("spec") or {}  # the real server looks twice
    errors += _same_place(spec, before) + meta.immutable("volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    field = "volumeAttributesClassName"
    near = spec.get("nodeAffinity")
    if before.get("nodeAffinity") is not None and near != before["nodeAffinity"]:
        errors.append(invalid("nodeAffinity", prints.internal("VolumeNodeAffinity", near), _FIXED_AFFINITY))
    if before.get(field) is not None and spec.get(field) is None:
        errors.append(forbidden(f"spec.{field}", "update from non-nil value to nil is forbidden"))
    return errors


def _same_place(spec: Json, before: Json) -> list[FieldError]:
    """A CSI volume may learn later by which Secret it grows; nothing else of the source changes."""
    now, was = ({kind: one[kind] for kind in _SOURCES if one.get(kind) is not None} for one in (spec, before))
    grows = "controllerExpandSecretRef"
    if "csi" in now and "csi" in was and was["csi"].get(grows) is None:
        now["csi"] = {key: value for key, value in now["csi"].items() if key != grows}
    if now == was:
        return []
    why = "spec.persistentvolumesource is immutable after creation\n"
    return [forbidden("spec.persistentvolumesource", why + prints.difference("PersistentVolumeSource", was, now))]


def volume_spec(spec: Json, path: str, *, inline: bool = False) -> list[FieldError]:
    """What a volume is; `inline`: as a part of a VolumeAttachment."""
    errors = _inline(spec, path) if inline else []
    errors += _access(spec.get("accessModes") or [], path)
    errors += [] if inline else _capacity(spec.get("capacity"), f"{path}.capacity")
    errors += _reclaim(spec.get("persistentVolumeReclaimPolicy") or "", f"{path}.persistentVolumeReclaimPolicy", inline)
    affinity = spec.get("nodeAffinity")
    if affinity is not None:
        errors += [forbidden(f"{path}.nodeAffinity", _NOT_INLINE)] if inline else _affinity(affinity, path)
    errors += _source(spec, path)
    return errors + _classes(spec, path, inline=inline)


def _inline(spec: Json, path: str) -> list[FieldError]:
    errors = [forbidden(f"{path}.{one}", _NOT_INLINE) for one in ("claimRef", "capacity") if spec.get(one)]
    return errors + ([] if spec.get("csi") else [required(f"{path}.csi", f"has to be specified {_INLINE}")])


def _access(modes: list[str], path: str) -> list[FieldError]:
    path, known = f"{path}.accessModes", rare_volumes.ACCESS_MODES
    errors = [] if modes else [required(path)]
    errors += [not_supported(path, one, known) for one in modes if one not in known]
    if "ReadWriteOncePod" in modes and {*modes} & {*known} - {"ReadWriteOncePod"}:
        errors.append(forbidden(path, "may not use ReadWriteOncePod with other access modes"))
    return errors


def _capacity(told: Json | None, path: str) -> list[FieldError]:
    given = told or {}
    errors = [] if given else [required(path)]
    if set(given) != {"storage"}:
        errors.append(not_supported(path, told, ("storage",)))
    for name in sorted(given):
        amount = quantity.parse(given[name])
        if amount is not None and amount < 0:
            errors.append(invalid(f"{path}[{name}]", int(amount), "must be a valid resource quantity"))
        if amount is not None and amount <= 0:
            errors.append(invalid(f"{path}[{name}]", quantity.canonical(given[name]), "must be greater than zero"))
    return errors


def _reclaim(policy: str, path: str, inline: bool) -> list[FieldError]:
    if inline:
        wrong = policy not in ("", "Retain")
        return [forbidden(path, f"may only be Retain {_INLINE}")] if wrong else []
    known = ("Delete", "Recycle", "Retain")
    return [not_supported(path, policy, known)] if policy and policy not in known else []


def _affinity(given: Json, path: str) -> list[FieldError]:
    path = f"{path}.nodeAffinity.required"
    needed = given.get("required")
    return [required(path, "must specify required node constraints")] if needed is None else node_selector(needed, path)


def _source(spec: Json, path: str) -> list[FieldError]:
    """One source, and one only; the first counts."""
    kinds = [kind for kind in _SOURCES if spec.get(kind) is not None]
    if not kinds:
        return [required(path, "must specify a volume type")]
    first = kinds[0]
    errors = _SOURCES[first](spec[first], f"{path}.{_CHECKED_AS.get(first, first)}")
    if first == "local" and spec.get("nodeAffinity") is None:
        errors.append(required(f"{path}.nodeAffinity", "Local volume requires node affinity"))
    why = "may not specify more than 1 volume type"
    errors += [forbidden(f"{path}.{_REFUSED_AS.get(kind, kind)}", why) for kind in kinds[1:]]
    root = first == "hostPath" and normpath(spec[first].get("path") or ".") == "/"
    if root and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        why = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(forbidden(f"{path}.persistentVolumeReclaimPolicy", why))
    return errors


def _classes(spec: Json, path: str, *, inline: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    name, mode, attributes = (spec.get(one) for one in ("storageClassName", "volumeMode", _ATTRIBUTES))
    if name and inline:
        errors.append(forbidden(f"{path}.storageClassName", _NOT_INLINE))
    elif name:
        errors += all_invalid(f"{path}.storageClassName", name, names.dns_subdomain(name))
    if inline and mode not in (None, "Filesystem"):
        errors.append(forbidden(f"{path}.volumeMode", f"may not specify volumeMode other than Filesystem {_INLINE}"))
    elif mode is not None and mode not in _MODES:
        errors.append(not_supported(f"{path}.volumeMode", mode, _MODES))
    if attributes is None or inline:
        return errors
    where = f"{path}.{_ATTRIBUTES}"
    if attributes:
        errors += all_invalid(where, attributes, names.dns_subdomain(attributes))
    else:
        errors.append(required(where, "an empty string is disallowed"))
    if spec.get("csi") is None:
        errors.append(required(f"{path}.csi", f"has to be specified when using {_ATTRIBUTES}"))
    return errors


_ATTRIBUTES = "volumeAttributesClassName"


def _csi(given: Json, path: str) -> list[FieldError]:
    errors = rare_volumes.csi_driver(given.get("driver") or "", f"{path}.driver")
    errors += [] if given.get("volumeHandle") else [required(f"{path}.volumeHandle")]
    for field in _CSI_SECRETS:
        if given.get(field) is not None:
            errors += _secret(given[field], f"{path}.{field}")
    return errors


_CSI_SECRETS = (
    "controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef",
)  # fmt: skip


def _secret(ref: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for field, check in (("name", names.dns_subdomain), ("namespace", names.dns_label)):
        errors += meta.named(f"{path}.{field}", ref.get(field) or "", check)
    return errors


def _local(given: Json, path: str) -> list[FieldError]:
    at = given.get("path") or ""
    return no_backsteps(at, f"{path}.path") if at else [required(f"{path}.path")]


_CHECKED_AS = {"gcePersistentDisk": "persistentDisk"}
_REFUSED_AS = {"cephfs": "cephFS"}
_ORDER = (
    "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd", "quobyte", "cephfs",
    "iscsi", "cinder", "fc", "flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume",
    "azureDisk", "scaleIO", "local", "storageos", "csi",
)  # fmt: skip
_OWN: dict[str, Check] = {**rare_volumes.SOURCES, "hostPath": host_path, "local": _local, "csi": _csi}
_SOURCES = {kind: _OWN[kind] for kind in _ORDER}
"""In the order in which the real server looks for them."""


def claim(obj: Json, old: Json | None) -> list[FieldError]:
    """core/v1 PersistentVolumeClaim: given once, but for its size and attributes when it is bound."""
    spec = obj["spec"]
    errors = rare_volumes.claim(spec, "spec")
    if old is None:
        return errors
    errors += _fixed_claim(obj, old)
    asked, had, has = (_storage(one) for one in (_requests(obj), _requests(old), (old.get("status") or {})))
    if asked < had and asked <= has:
        why = "field can not be less than status.capacity"
        errors.append(forbidden("spec.resources.requests.storage", why))
    before = old.get("spec") or {}
    errors += meta.immutable("volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    current = (old.get("status") or {}).get("currentVolumeAttributesClassName")
    wanted = spec.get(_ATTRIBUTES)
    if current is not None and not wanted and before.get(_ATTRIBUTES) != wanted:
        to = "nil" if wanted is None else "empty string"
        why = f"update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil"
        errors.append(forbidden(f"spec.{_ATTRIBUTES}", why))
    return errors


def _requests(obj: Json) -> Json:
    return {"capacity": ((obj.get("spec") or {}).get("resources") or {}).get("requests")}


def _storage(around: Json) -> Any:
    return quantity.parse((around.get("capacity") or {}).get("storage") or "0") or 0


def _fixed_claim(obj: Json, old: Json) -> list[FieldError]:
    new, before = dict(obj["spec"]), dict(old.get("spec") or {})
    if not before.get("volumeName") and new.get("volumeName"):
        before["volumeName"] = new["volumeName"]
    if before.get("storageClassName") is None and new.get("storageClassName") is not None and not _annotated(old):
        before["storageClassName"] = new["storageClassName"]
    if (obj.get("status") or {}).get("phase") == "Bound":
        requests = (before.get("resources") or {}).get("requests") or {}
        resources = new.get("resources") or {}
        new["resources"] = {**resources, "requests": {**(resources.get("requests") or {}), **requests}}
        new.pop(_ATTRIBUTES, None)
        if before.get(_ATTRIBUTES) is not None:
            new[_ATTRIBUTES] = before[_ATTRIBUTES]
    if new == before:
        return []
    return [forbidden("spec", _CLAIM_FIXED + prints.difference("PersistentVolumeClaimSpec", before, new))]


def _annotated(obj: Json) -> bool:
    return "volume.beta.kubernetes.io/storage-class" in (obj["metadata"].get("annotations") or {})


def claim_status(obj: Json, old: Json | None) -> list[FieldError]:
    """The status of a claim: amounts, and how far a change of size is."""
    del old
    status = obj.get("status") or {}
    errors: list[FieldError] = []
    for name, given in sorted((status.get("capacity") or {}).items()):
        amount = quantity.parse(given)
        if amount is not None and amount < 0:
            errors.append(invalid(f"status.capacity[{name}]", int(amount), "must be a valid resource quantity"))
    for name, state in sorted((status.get("allocatedResourceStatuses") or {}).items()):
        if state not in _RESIZES:
            errors.append(not_supported("status.allocatedResourceStatuses", name, _RESIZES))
    return errors

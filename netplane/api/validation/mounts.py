"""Where a container finds its pod's volumes: mounts and block devices.

Source: core/v1 validation of Kubernetes 1.36.
"""

from collections.abc import Mapping
from typing import Any

from netplane.api.fields import FieldError, forbidden, invalid, not_found, not_supported, repeated, required
from netplane.api.validation.paths import descending, no_backsteps

Json = dict[str, Any]

_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_RECURSIVE = ("Disabled", "Enabled", "IfPossible")
_BLOCKS = ("persistentVolumeClaim", "ephemeral")


def mounts(container: Json, path: str, volumes: Mapping[str, Json]) -> list[FieldError]:
    """volumeMounts: each is of a volume that there is, at a place of its own."""
    given, devices = container.get("volumeMounts") or [], container.get("volumeDevices") or []
    errors: list[FieldError] = []
    at = [mount.get("mountPath") or "" for mount in given]
    again = repeated(at)
    others, paths = ({one.get(field) for one in devices} for field in ("name", "devicePath"))
    for i, mount in enumerate(given):
        where, name = f"{path}[{i}]", mount.get("name") or ""
        errors += [] if name else [required(f"{where}.name")]
        errors += [] if name in volumes else [not_found(f"{where}.name", name)]
        errors += [] if at[i] else [required(f"{where}.mountPath")]
        if again[i]:
            errors.append(invalid(f"{where}.mountPath", at[i], "must be unique"))
        if name in others:
            errors.append(invalid(f"{where}.name", name, "must not already exist in volumeDevices"))
        if at[i] in paths:
            errors.append(invalid(f"{where}.mountPath", at[i], "must not already exist as a path in volumeDevices"))
        # The real server names these four without the mount's index.
        errors += _part(mount, where, path)
        errors += _propagation(mount, container, f"{path}.mountPropagation")
        errors += _recursive(mount, f"{path}.recursiveReadOnly")
    return errors


def _part(mount: Json, where: str, path: str) -> list[FieldError]:
    part, expression = mount.get("subPath") or "", mount.get("subPathExpr") or ""
    errors = descending(part, f"{path}.subPath") if part else []
    if expression and part:
        errors.append(invalid(f"{where}.subPathExpr", expression, "subPathExpr and subPath are mutually exclusive"))
    return errors + (descending(expression, f"{path}.subPathExpr") if expression else [])


def _propagation(mount: Json, container: Json, path: str) -> list[FieldError]:
    given = mount.get("mountPropagation")
    if given is None:
        return []
    if given not in _PROPAGATIONS:
        return [not_supported(path, given, _PROPAGATIONS)]
    if given == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        return [forbidden(path, "Bidirectional mount propagation is available only to privileged containers")]
    return []


def _recursive(mount: Json, path: str) -> list[FieldError]:
    given = mount.get("recursiveReadOnly")
    if given in (None, "Disabled"):
        return []
    if given not in _RECURSIVE:
        return [not_supported(path, given, _RECURSIVE)]
    errors = [] if mount.get("readOnly") else [forbidden(path, "may only be specified when readOnly is true")]
    if mount.get("mountPropagation") not in (None, "None"):
        why = "may only be specified when mountPropagation is None or not specified"
        errors.append(forbidden(path, why))
    return errors


def devices(container: Json, path: str, volumes: Mapping[str, Json]) -> list[FieldError]:
    """volumeDevices: a claim's block device at a path of its own."""
    given, mounted = container.get("volumeDevices") or [], container.get("volumeMounts") or []
    errors: list[FieldError] = []
    listed = [(one.get("name") or "", one.get("devicePath") or "") for one in given]
    names_again, paths_again = (repeated(one[part] for one in listed) for part in (0, 1))
    others, paths = ({one.get(field) for one in mounted} for field in ("name", "mountPath"))
    for i, (name, at) in enumerate(listed):
        where = f"{path}[{i}]"
        errors += [] if name else [required(f"{where}.name")]
        if name and names_again[i]:
            errors.append(invalid(f"{where}.name", name, "must be unique"))
        errors += _block(name, f"{where}.name", volumes)
        errors += [] if at else [required(f"{where}.devicePath")]
        if paths_again[i]:
            errors.append(invalid(f"{where}.devicePath", at, "must be unique"))
        if no_backsteps(at, ""):
            errors.append(invalid(f"{where}.devicePath", at, "can not contain backsteps ('..')"))
        if name in others:
            errors.append(invalid(f"{where}.name", name, "must not already exist in volumeMounts"))
        if at in paths:
            errors.append(invalid(f"{where}.devicePath", at, "must not already exist as a path in volumeMounts"))
    return errors


def _block(name: str, path: str, volumes: Mapping[str, Json]) -> list[FieldError]:
    volume = volumes.get(name)
    if volume is None:
        return [not_found(path, name)]
    if any(volume.get(one) is not None for one in _BLOCKS):
        return []
    why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
    return [invalid(path, name, why)]

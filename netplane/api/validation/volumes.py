"""A pod's volumes and where they are mounted. Source: core/v1 validation of Kubernetes 1.36."""

from collections.abc import Callable
from typing import Any

from netplane.api import quantity
from netplane.api.fields import FieldError, forbidden, invalid, not_found, not_supported, required

Json = dict[str, Any]
Check = Callable[[Json, str], list[FieldError]]

_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_TYPES = frozenset({
    "", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice",
})  # fmt: skip
_PROPAGATIONS = frozenset({"Bidirectional", "HostToContainer", "None"})
LEAST_TOKEN_S, MOST_TOKEN_S = 600, 2**32


def source(volume: Json, path: str) -> list[FieldError]:
    """The one source of a volume."""
    for kind, check in _SOURCES.items():
        if volume.get(kind) is not None:
            return check(volume[kind], f"{path}.{kind}")
    return []


def _needs(*fields: str) -> Check:
    return lambda given, path: [required(f"{path}.{one}") for one in fields if not given.get(one)]


def _empty_dir(given: Json, path: str) -> list[FieldError]:
    size = given.get("sizeLimit")
    value = quantity.parse(size) if size is not None else None
    if value is not None and value < 0:
        return [forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def _host_path(given: Json, path: str) -> list[FieldError]:
    if not given.get("path"):
        return [required(f"{path}.path")]
    errors = _no_backsteps(given["path"], f"{path}.path")
    if (given.get("type") or "") not in _HOST_TYPES:
        errors.append(not_supported(f"{path}.type", given["type"], _HOST_TYPES))
    return errors


def _files(name: str) -> Check:
    def check(given: Json, path: str) -> list[FieldError]:
        errors = [] if given.get(name) else [required(f"{path}.{name}")]
        return errors + _mode(given, "defaultMode", path) + _items(given, path)

    return check


def _items(given: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, item in enumerate(given.get("items") or ()):
        where = f"{path}.items[{i}]"
        if "fieldRef" not in item and "resourceFieldRef" not in item and not item.get("key"):
            errors.append(required(f"{where}.key"))
        errors += _local(item.get("path") or "", f"{where}.path") + _mode(item, "mode", where)
    return errors


def _mode(given: Json, field: str, path: str) -> list[FieldError]:
    mode = given.get(field)
    return [] if mode is None or 0 <= mode <= 0o777 else [invalid(f"{path}.{field}", mode, _MODE)]


def _local(text: str, path: str) -> list[FieldError]:
    """A path below the volume that does not look like ours."""
    if not text:
        return [required(path)]
    errors = descending(text, path)
    if not errors and text.startswith(".."):
        errors.append(invalid(path, text, "must not start with '..'"))
    return errors


def descending(text: str, path: str) -> list[FieldError]:
    """A relative path that stays below where it starts."""
    errors = [invalid(path, text, "must be a relative path")] if text.startswith("/") else []
    return errors + _no_backsteps(text, path)


def _no_backsteps(text: str, path: str) -> list[FieldError]:
    return [invalid(path, text, "must not contain '..'")] if ".." in text.split("/") else []


def _nfs(given: Json, path: str) -> list[FieldError]:
    errors = [required(f"{path}.{one}") for one in ("server", "path") if not given.get(one)]
    if given.get("path") and not given["path"].startswith("/"):
        errors.append(invalid(f"{path}.path", given["path"], "must be an absolute path"))
    return errors


def _projected(given: Json, path: str) -> list[FieldError]:
    errors = _mode(given, "defaultMode", path)
    for i, one in enumerate(given.get("sources") or ()):
        where = f"{path}.sources[{i}]"
        kinds = [kind for kind, value in one.items() if value is not None]
        if not kinds:
            errors.append(required(where, "must specify at least one volume source"))
        errors += [forbidden(f"{where}.{kind}", "may not specify more than 1 volume type") for kind in kinds[1:]]
        for kind in kinds[:1]:
            check = _PROJECTED.get(kind)
            errors += check(one[kind], f"{where}.{kind}") if check is not None else []
    return errors


def _token(given: Json, path: str) -> list[FieldError]:
    seconds = given.get("expirationSeconds")
    errors: list[FieldError] = []
    if seconds is not None and seconds < LEAST_TOKEN_S:
        errors.append(invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
    elif seconds is not None and seconds > MOST_TOKEN_S:
        why = "may not specify a duration larger than 2^32 seconds"
        errors.append(invalid(f"{path}.expirationSeconds", seconds, why))
    return errors if given.get("path") else [*errors, required(f"{path}.path")]


def _named_items(given: Json, path: str) -> list[FieldError]:
    return ([] if given.get("name") else [required(f"{path}.name")]) + _items(given, path)


_PROJECTED: dict[str, Check] = {
    "secret": _named_items,
    "configMap": _named_items,
    "downwardAPI": _items,
    "serviceAccountToken": _token,
}
_SOURCES: dict[str, Check] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "secret": _files("secretName"),
    "nfs": _nfs,
    "persistentVolumeClaim": _needs("claimName"),
    "downwardAPI": lambda given, path: _mode(given, "defaultMode", path) + _items(given, path),
    "configMap": _files("name"),
    "projected": _projected,
    "csi": _needs("driver"),
}


def mounts(container: Json, path: str, volumes: set[str]) -> list[FieldError]:
    """Each mount is of a volume that there is, at a place of its own."""
    given = container.get("volumeMounts") or []
    errors: list[FieldError] = []
    at = [mount.get("mountPath") or "" for mount in given]
    for i, mount in enumerate(given):
        where, name = f"{path}[{i}]", mount.get("name") or ""
        if not name:
            errors.append(required(f"{where}.name"))
        elif name not in volumes:
            errors.append(not_found(f"{where}.name", name))
        if not at[i]:
            errors.append(required(f"{where}.mountPath"))
        elif at[i] in at[:i]:
            errors.append(invalid(f"{where}.mountPath", at[i], "must be unique"))
        errors += _part(mount, where) + _propagation(mount, container, where)
    return errors


def _part(mount: Json, path: str) -> list[FieldError]:
    part, expression = mount.get("subPath") or "", mount.get("subPathExpr") or ""
    errors = descending(part, f"{path}.subPath") if part else []
    if expression and part:
        errors.append(invalid(f"{path}.subPathExpr", expression, "subPathExpr and subPath are mutually exclusive"))
    return errors + (descending(expression, f"{path}.subPathExpr") if expression else [])


def _propagation(mount: Json, container: Json, path: str) -> list[FieldError]:
    given = mount.get("mountPropagation")
    if given is None:
        return []
    if given not in _PROPAGATIONS:
        return [not_supported(f"{path}.mountPropagation", given, _PROPAGATIONS)]
    if given == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        why = "Bidirectional mount propagation is available only to privileged containers"
        return [forbidden(f"{path}.mountPropagation", why)]
    return []

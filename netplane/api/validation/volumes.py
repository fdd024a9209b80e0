"""A pod's volumes. Source: core/v1 validation of Kubernetes 1.36."""

from collections.abc import Callable, Mapping
from typing import Any

from netplane.api import names, quantity
from netplane.api.fields import FieldError, all_invalid, duplicate, forbidden, invalid, not_supported, required
from netplane.api.validation import rare_volumes
from netplane.api.validation.environment import field_ref, resource_ref
from netplane.api.validation.paths import local, no_backsteps
from netplane.api.validation.selecting import label_selector

Json = dict[str, Any]
Check = Callable[[Json, str], list[FieldError]]

_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_TYPES = frozenset({
    "", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice",
})  # fmt: skip
_FIELDS = frozenset({
    "metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.uid",
})  # fmt: skip
_TWICE = "conflicting duplicate paths"
LEAST_TOKEN_S, MOST_TOKEN_S = 600, 2**32


def volumes(given: list[Json], path: str, pod: str | None) -> tuple[dict[str, Json], list[FieldError]]:
    """The good volumes of a pod by name, and what is wrong with the others. `pod`: its name; None for a template's."""
    errors: list[FieldError] = []
    good: dict[str, Json] = {}
    claims = {f"{pod}-{one.get('name')}" for one in given if pod and one.get("ephemeral") is not None}
    for i, volume in enumerate(given):
        name, where = volume.get("name") or "", f"{path}[{i}]"
        wrong = _source(volume, where, pod)
        wrong += all_invalid(f"{where}.name", name, names.dns_label(name)) if name else [required(f"{where}.name")]
        wrong += [duplicate(f"{where}.name", name)] if name in good else []
        if not wrong:
            good[name] = volume
        errors += wrong
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim in claims:
            why = "must not reference a PVC that gets created for an ephemeral volume"
            errors.append(invalid(f"{where}.persistentVolumeClaim.claimName", claim, why))
    return good, errors


def _source(volume: Json, path: str, pod: str | None) -> list[FieldError]:
    """The one source of a volume."""
    kinds = [kind for kind in _SOURCES if volume.get(kind) is not None]
    if not kinds:
        return [required(path, "must specify a volume type")]
    name, source = volume.get("name") or "", volume[kinds[0]]
    errors: list[FieldError] = []
    if kinds[0] == "image" and pod is not None and not source.get("reference"):
        errors.append(required(f"{path}.image.reference"))
    errors += _SOURCES[kinds[0]](source, f"{path}.{_CHECKED_AS.get(kinds[0], kinds[0])}")
    if kinds[0] == "ephemeral" and pod and name:
        claim = f"{pod}-{name}"
        bad = names.dns_subdomain(claim)
        errors += all_invalid(f"{path}.name", name, [f'PVC name "{claim}": {text}' for text in bad])
    why = "may not specify more than 1 volume type"
    errors += [forbidden(f"{path}.{_REFUSED_AS.get(kind, kind)}", why) for kind in kinds[1:]]
    return errors + _initiator(volume, name, path)


# The real server has other names for some of them, and others again where they are one too many.
_CHECKED_AS = {"gcePersistentDisk": "persistentDisk"}
_REFUSED_AS = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}
_MOST_INITIATOR = 64


def _initiator(volume: Json, name: str, path: str) -> list[FieldError]:
    given = volume.get("iscsi") or {}
    if given.get("initiatorName") is None or len(f"{name}:{given.get('targetPortal') or ''}") <= _MOST_INITIATOR:
        return []
    why = f"must be under {_MOST_INITIATOR} characters if iscsi.initiatorName is specified."
    return [invalid(f"{path}.name", name, f"Total length of <volume name>:<iscsi.targetPortal> {why}")]


def _empty_dir(given: Json, path: str) -> list[FieldError]:
    size = given.get("sizeLimit")
    value = quantity.parse(size) if size is not None else None
    if value is not None and value < 0:
        return [forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def host_path(given: Json, path: str) -> list[FieldError]:
    """A part of the node's files."""
    if not given.get("path"):
        return [required(f"{path}.path")]
    errors = no_backsteps(given["path"], f"{path}.path")
    if (given.get("type") or "") not in _HOST_TYPES:
        errors.append(not_supported(f"{path}.type", given["type"], _HOST_TYPES))
    return errors


def _files(name: str) -> Check:
    def check(given: Json, path: str) -> list[FieldError]:
        return _named(given, path, name) + _mode(given, "defaultMode", path) + _items(given, path)

    return check


def _named(given: Json, path: str, field: str) -> list[FieldError]:
    return [] if given.get(field) else [required(f"{path}.{field}")]


def _items(given: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, item in enumerate(given.get("items") or ()):
        where = f"{path}.items[{i}]"
        errors += _named(item, where, "key")
        errors += local(item.get("path") or "", f"{where}.path") + _mode(item, "mode", where)
    return errors


def _mode(given: Json, field: str, path: str) -> list[FieldError]:
    mode = given.get(field)
    return [] if mode is None or 0 <= mode <= 0o777 else [invalid(f"{path}.{field}", mode, _MODE)]


def _downward(given: Json, path: str) -> list[FieldError]:
    """Files of fields; the real server names them without their index."""
    errors: list[FieldError] = []
    for one in given.get("items") or ():
        errors += local(one.get("path") or "", f"{path}.path")
        if one.get("fieldRef") is not None:
            errors += field_ref(one["fieldRef"], f"{path}.fieldRef", _FIELDS)
            if one.get("resourceFieldRef") is not None:
                why = "fieldRef and resourceFieldRef can not be specified simultaneously"
                errors.append(invalid(path, "resource", why))
        elif one.get("resourceFieldRef") is not None:
            errors += resource_ref(one["resourceFieldRef"], f"{path}.resourceFieldRef", volume=True)
        else:
            errors.append(required(path, "one of fieldRef and resourceFieldRef is required"))
        errors += _mode(one, "mode", path)
    return errors


def _projected(given: Json, path: str) -> list[FieldError]:
    errors = _mode(given, "defaultMode", path)
    paths: set[str] = set()
    for i, one in enumerate(given.get("sources") or ()):
        where = f"{path}.sources[{i}]"
        kinds = [kind for kind in _PROJECTED if one.get(kind) is not None]
        for kind in kinds:
            errors += _PROJECTED[kind](one[kind], f"{where}.{kind}")
            errors += _repeated(one[kind], kind, path, paths)
        if len(kinds) > 1:
            errors.append(forbidden(where, "may not specify more than 1 volume type per source"))
    return errors


def _repeated(source: Json, kind: str, path: str, paths: set[str]) -> list[FieldError]:
    """Files of two sources in one place; told of the volume, by what names the source."""
    given = [source] if kind == "clusterTrustBundle" else source.get("items") or []
    errors: list[FieldError] = []
    for at in filter(None, (one.get("path") for one in given)):
        if at in paths:
            errors.append(invalid(path, source.get("name") or "" if kind in ("secret", "configMap") else at, _TWICE))
        paths.add(at)
    return errors


def _token(given: Json, path: str) -> list[FieldError]:
    seconds, above = given.get("expirationSeconds"), path.rpartition(".sources[")[0]
    errors = [] if seconds is None else token_lifetime(seconds, f"{path}.expirationSeconds")
    return errors + local(given.get("path") or "", f"{above}.path")


def token_lifetime(seconds: int, path: str) -> list[FieldError]:
    """How long a token may be good that is asked for, here or by a TokenRequest."""
    if seconds < LEAST_TOKEN_S:
        return [invalid(path, seconds, "may not specify a duration less than 10 minutes")]
    if seconds > MOST_TOKEN_S:
        return [invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")]
    return []


def _trust_bundle(given: Json, path: str) -> list[FieldError]:
    name, signer, selector = given.get("name"), given.get("signerName"), given.get("labelSelector")
    errors: list[FieldError] = []
    if name is not None and signer is not None:
        errors.append(invalid(path, given, "only one of name and signerName may be used"))
    elif name is not None:
        errors += [] if name else [required(f"{path}.name", "must be a valid object name")]
        if selector is not None:
            why = "labelSelector must be unset if name is specified"
            errors.append(invalid(f"{path}.labelSelector", selector, why))
    elif signer is not None:
        errors += [] if signer else [required(f"{path}.signerName", "must be a valid signer name")]
        errors += label_selector(selector, f"{path}.labelSelector")
    else:
        errors.append(required(path, "either name or signerName must be specified"))
    return errors + local(given.get("path") or "", f"{path}.path")


_PROJECTED: dict[str, Check] = {
    "secret": lambda given, path: _named(given, path, "name") + _items(given, path),
    "configMap": lambda given, path: _named(given, path, "name") + _items(given, path),
    "downwardAPI": _downward,
    "serviceAccountToken": _token,
    "clusterTrustBundle": _trust_bundle,
}
_OWN: Mapping[str, Check] = {
    "emptyDir": _empty_dir,
    "hostPath": host_path,
    "secret": _files("secretName"),
    "persistentVolumeClaim": lambda given, path: _named(given, path, "claimName"),
    "downwardAPI": lambda given, path: _mode(given, "defaultMode", path) + _downward(given, path),
    "configMap": _files("name"),
    "projected": _projected,
    **rare_volumes.SOURCES,
}
_ORDER = (
    "emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi",
    "glusterfs", "flocker", "persistentVolumeClaim", "rbd", "cinder", "cephfs", "quobyte", "downwardAPI", "fc",
    "flexVolume", "configMap", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk",
    "storageos", "projected", "scaleIO", "csi", "ephemeral", "image",
)  # fmt: skip
_SOURCES = {kind: _OWN[kind] for kind in _ORDER}
"""In the order in which the real server looks for them: the first one counts."""

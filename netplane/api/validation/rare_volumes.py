"""Volumes that few pods have: of storage systems and clouds. Source: core/v1 validation of Kubernetes 1.36."""

import re
from collections.abc import Callable
from typing import Any

from netplane.api import names, quantity
from netplane.api.fields import FieldError, all_invalid, forbidden, invalid, not_supported, required, too_long
from netplane.api.validation import meta
from netplane.api.validation.paths import descending
from netplane.api.validation.selecting import label_selector

Json = dict[str, Any]
Check = Callable[[Json, str], list[FieldError]]

_PARTITION = "must be between 1 and 255, inclusive"
_IQN = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([0-9A-Za-z.-]+)(:[^,;*&$|\s]+)"),
    "eui": re.compile(r"eui.[0-9A-Za-z]{16}"),
    "naa": re.compile(r"naa.[0-9A-Za-z]{32}"),
}
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MOST_DRIVER = 63
_HOST_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*):[^:\[\]]*")
ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_DISK_URIS = {
    True: "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
    False: "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",
}


def _needs(*fields: str) -> Check:
    return lambda given, path: [required(f"{path}.{one}") for one in fields if not given.get(one)]


def _nfs(given: Json, path: str) -> list[FieldError]:
    errors = _needs("server", "path")(given, path)
    if not (given.get("path") or "").startswith("/"):
        errors.append(invalid(f"{path}.path", given.get("path") or "", "must be an absolute path"))
    return errors


def _disk(name: str) -> Check:
    def check(given: Json, path: str) -> list[FieldError]:
        partition = given.get("partition") or 0
        errors = _needs(name)(given, path)
        return errors + ([] if 0 <= partition <= 255 else [invalid(f"{path}.partition", partition, _PARTITION)])

    return check


def _iscsi(given: Json, path: str) -> list[FieldError]:
    errors = _needs("targetPortal", "iqn")(given, path)
    if given.get("iqn"):
        errors += _qualified(given["iqn"], f"{path}.iqn")
    lun = given.get("lun") or 0
    errors += all_invalid(f"{path}.lun", lun, names.in_range(lun, 0, 255))
    if (given.get("chapAuthDiscovery") or given.get("chapAuthSession")) and given.get("secretRef") is None:
        errors.append(required(f"{path}.secretRef"))
    if given.get("initiatorName") is not None:
        errors += _qualified(given["initiatorName"], f"{path}.initiatorname")
    return errors


def _qualified(name: str, path: str) -> list[FieldError]:
    pattern = _IQN.get(name[:3])
    if pattern is None:
        return [invalid(path, name, "must be valid format starting with iqn, eui, or naa")]
    return [] if pattern.fullmatch(name) else [invalid(path, name, "must be valid format")]


def _fibre_channel(given: Json, path: str) -> list[FieldError]:
    targets, ids, lun = given.get("targetWWNs") or [], given.get("wwids") or [], given.get("lun")
    if not targets and not ids:
        return [required(f"{path}.targetWWNs", "must specify either targetWWNs or wwids, but not both")]
    errors: list[FieldError] = []
    if targets and ids:
        why = "targetWWNs and wwids can not be specified simultaneously"
        errors.append(invalid(f"{path}.targetWWNs", targets, why))
    if targets and lun is None:
        errors.append(required(f"{path}.lun", "lun is required if targetWWNs is specified"))
    elif targets and lun is not None:
        errors += all_invalid(f"{path}.lun", lun, names.in_range(lun, 0, 255))
    return errors


def _flex(given: Json, path: str) -> list[FieldError]:
    errors = _needs("driver")(given, path)
    why = "kubernetes.io and k8s.io namespaces are reserved"
    for key in sorted(given.get("options") or ()):
        domain = "." + key.partition("/")[0].lower()
        if domain.endswith((".kubernetes.io", ".k8s.io")):
            errors.append(invalid(f"{path}.options[{key}]", key, why))
    return errors


def _git(given: Json, path: str) -> list[FieldError]:
    return _needs("repository")(given, path) + descending(given.get("directory") or "", f"{path}.directory")


def _azure_disk(given: Json, path: str) -> list[FieldError]:
    errors = _needs("diskName", "diskURI")(given, path)
    modes, kinds = ("None", "ReadOnly", "ReadWrite"), ("Dedicated", "Managed", "Shared")
    for field, allowed in (("cachingMode", modes), ("kind", kinds)):
        if given.get(field) is not None and given[field] not in allowed:
            errors.append(not_supported(f"{path}.{field}", given[field], allowed))
    managed, uri = given.get("kind") == "Managed", given.get("diskURI") or ""
    if given.get("kind") and not uri.startswith("/subscriptions/" if managed else "https://"):
        errors.append(not_supported(f"{path}.diskURI", uri, (_DISK_URIS[managed],)))
    return errors


def csi_driver(name: str, path: str) -> list[FieldError]:
    """The name of a driver of the Container Storage Interface."""
    if not name:
        return [required(path)]
    errors = [too_long(path, _MOST_DRIVER)] if len(name.encode()) > _MOST_DRIVER else []
    return errors + all_invalid(path, name, names.dns_subdomain(name.lower()))


def _csi(given: Json, path: str) -> list[FieldError]:
    ref = given.get("nodePublishSecretRef")
    errors = csi_driver(given.get("driver") or "", f"{path}.driver")
    if ref is None:
        return errors
    secret = ref.get("name") or ""
    if not secret:
        return [*errors, required(f"{path}.nodePublishSecretRef.name")]
    return errors + all_invalid(f"{path}.name", secret, names.dns_subdomain(secret))


def _quobyte(given: Json, path: str) -> list[FieldError]:
    registry, why = given.get("registry") or "", "must be a host:port pair or multiple pairs separated by commas"
    if not registry:
        errors = [required(f"{path}.registry", why)]
    elif len((given.get("tenant") or "").encode()) >= 65:
        errors = [required(f"{path}.tenant", "must be a UUID and may not exceed a length of 64 characters")]
    else:
        bad = [one for one in registry.split(",") if not _HOST_PORT.fullmatch(one)]
        errors = [invalid(f"{path}.registry", registry, why) for _ in bad]
    return errors + _needs("volume")(given, path)


def _flocker(given: Json, path: str) -> list[FieldError]:
    name, uid = given.get("datasetName") or "", given.get("datasetUUID") or ""
    errors: list[FieldError] = []
    if not name and not uid:
        errors.append(required(path, "one of datasetName and datasetUUID is required"))
    if name and uid:
        errors.append(invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
    if "/" in name:
        errors.append(invalid(f"{path}.datasetName", name, "must not contain '/'"))
    return errors


def _storage_os(given: Json, path: str) -> list[FieldError]:
    errors = _needs("volumeName")(given, path)
    for field in ("volumeName", "volumeNamespace"):
        if value := given.get(field):
            errors += all_invalid(f"{path}.{field}", value, names.dns_label(value))
    ref = given.get("secretRef")
    return errors + ([required(f"{path}.secretRef.name")] if ref is not None and not ref.get("name") else [])


def _secret_ref(*fields: str) -> Check:
    def check(given: Json, path: str) -> list[FieldError]:
        ref = given.get("secretRef")
        errors = _needs(*fields)(given, path)
        return errors + ([required(f"{path}.secretRef.name")] if ref is not None and not ref.get("name") else [])

    return check


def _image(given: Json, path: str) -> list[FieldError]:
    policy = given.get("pullPolicy")
    known = policy in (None, *_PULL_POLICIES)
    return [] if known else [not_supported(f"{path}.pullPolicy", policy, _PULL_POLICIES)]


def _ephemeral(given: Json, path: str) -> list[FieldError]:
    template = given.get("volumeClaimTemplate")
    if template is None:
        return [required(f"{path}.volumeClaimTemplate")]
    metadata, path = template.get("metadata") or {}, f"{path}.volumeClaimTemplate"
    errors = meta.annotations(metadata.get("annotations") or {}, f"{path}.metadata.annotations")
    errors += meta.labels(metadata.get("labels"), f"{path}.metadata.labels")
    others = [one for one in metadata if one not in ("labels", "annotations") and metadata[one]]
    errors += [forbidden(f"{path}.metadata.{one}", "cannot be set") for one in others]
    return errors + claim(template.get("spec") or {}, f"{path}.spec")


def claim(spec: Json, path: str) -> list[FieldError]:
    """The spec of a claim for storage: how it is used, and how much of it."""
    modes = spec.get("accessModes") or []
    errors = [] if modes else [required(f"{path}.accessModes", "at least 1 access mode is required")]
    errors += label_selector(spec.get("selector"), f"{path}.selector")
    errors += [not_supported(f"{path}.accessModes", one, ACCESS_MODES) for one in modes if one not in ACCESS_MODES]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        why = "may not use ReadWriteOncePod with other access modes"
        errors.append(forbidden(f"{path}.accessModes", why))
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    amount = quantity.parse(storage) if storage is not None else None
    if storage is None:
        errors.append(required(f"{path}.resources[storage]"))
    elif amount is not None and amount <= 0:
        errors.append(invalid(f"{path}.resources[storage]", quantity.canonical(storage), "must be greater than zero"))
    errors += _class(spec, path, "storageClassName")
    mode = spec.get("volumeMode")
    if mode not in (None, "Block", "Filesystem"):
        errors.append(not_supported(f"{path}.volumeMode", mode, ("Block", "Filesystem")))
    return errors + _data_sources(spec, path) + _class(spec, path, "volumeAttributesClassName")


def _class(spec: Json, path: str, field: str) -> list[FieldError]:
    name = spec.get(field)
    return all_invalid(f"{path}.{field}", name, names.dns_subdomain(name)) if name else []


def _data_sources(spec: Json, path: str) -> list[FieldError]:
    """What a new volume is filled with, told in two ways that must agree."""
    source, ref = spec.get("dataSource"), spec.get("dataSourceRef")
    errors = [e for field in ("dataSource", "dataSourceRef") if spec.get(field) for e in _data(spec, field, path)]
    namespace = (ref or {}).get("namespace")
    if namespace:
        errors += all_invalid(f"{path}.dataSourceRef.namespace", namespace, names.dns_label(namespace))
    if source is None or ref is None:
        return errors
    same = all(source.get(one) == ref.get(one) for one in ("apiGroup", "kind", "name"))
    if namespace:
        errors.append(invalid(path, {}, "may not be specified when dataSourceRef.namespace is specified"))
    elif not same:
        errors.append(invalid(path, {}, "must match dataSourceRef"))
    return errors


def _data(spec: Json, field: str, path: str) -> list[FieldError]:
    given, path = spec[field], f"{path}.{field}"
    group, kind = given.get("apiGroup") or "", given.get("kind") or ""
    errors = _needs("name", "kind")(given, path)
    if not group and kind != "PersistentVolumeClaim":
        why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.append(invalid(path, kind, why))
    return errors + (all_invalid(f"{path}.apiGroup", group, names.dns_subdomain(group)) if group else [])


SOURCES: dict[str, Check] = {
    "nfs": _nfs,
    "gcePersistentDisk": _disk("pdName"),
    "awsElasticBlockStore": _disk("volumeID"),
    "iscsi": _iscsi,
    "fc": _fibre_channel,
    "flexVolume": _flex,
    "gitRepo": _git,
    "glusterfs": _needs("endpoints", "path"),
    "rbd": _needs("monitors", "image"),
    "cephfs": _needs("monitors"),
    "cinder": _secret_ref("volumeID"),
    "azureFile": _needs("secretName", "shareName"),
    "azureDisk": _azure_disk,
    "vsphereVolume": _needs("volumePath"),
    "photonPersistentDisk": _needs("pdID"),
    "portworxVolume": _needs("volumeID"),
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _image,
    "flocker": _flocker,
    "quobyte": _quobyte,
    "scaleIO": _needs("gateway", "system", "volumeName"),
    "storageos": _storage_os,
}

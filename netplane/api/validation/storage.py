"""Classes of storage, drivers, attachments. Source: storage/v1 validation of Kubernetes 1.36."""

from collections import Counter
from typing import Any

from netplane.api import names, quantity
from netplane.api.fields import (
    FieldError,
    all_invalid,
    duplicate,
    forbidden,
    go_struct,
    invalid,
    not_supported,
    repeated,
    required,
    too_long,
)
from netplane.api.validation import meta
from netplane.api.validation.persistent_volumes import volume_spec
from netplane.api.validation.rare_volumes import csi_driver
from netplane.api.validation.selecting import label_selector
from netplane.api.validation.volumes import token_lifetime

Json = dict[str, Any]

_PARAMETERS, _PARAMETERS_BYTES, _NODE_ID, _ERROR_CHARS = 512, 256 * 1024, 256, 1024
_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
_LIFECYCLES = ("Persistent", "Ephemeral")
_LEAST_PERIOD_S = 10


def storage_class(obj: Json, old: Json | None) -> list[FieldError]:
    """StorageClass: how it makes volumes is told once."""
    if old is not None:
        fixed = ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode")
        return [error for field in fixed for error in meta.immutable(field, obj.get(field), old.get(field))]
    errors = _provisioner(obj.get("provisioner") or "", "provisioner") + _parameters(obj.get("parameters") or {})
    for field, known in (("reclaimPolicy", ("Delete", "Retain")), ("volumeBindingMode", _BINDINGS)):
        value = obj.get(field)
        if value not in known and (value or field == "volumeBindingMode"):
            errors.append(not_supported(field, value, known))
    return errors + _topologies(obj.get("allowedTopologies") or [])


_BINDINGS = ("Immediate", "WaitForFirstConsumer")


def _provisioner(name: str, path: str) -> list[FieldError]:
    return meta.named(path, name.lower(), names.qualified_name)


def _parameters(given: dict[str, str], *, needed: bool = False) -> list[FieldError]:
    if len(given) > _PARAMETERS:
        return [too_long("parameters", _PARAMETERS)]
    errors = [invalid("parameters", key, "field can not be empty.") for key in given if not key]
    if sum(len(key.encode()) + len(value.encode()) for key, value in given.items()) > _PARAMETERS_BYTES:
        errors.append(too_long("parameters", _PARAMETERS_BYTES))
    if needed and not given:
        errors.append(required("parameters", "must contain at least one key/value pair"))
    return errors


_Term = frozenset[tuple[str, frozenset[str]]]


def _topologies(given: list[Json]) -> list[FieldError]:
    errors: list[FieldError] = []
    seen = Counter[_Term]({frozenset(): len(given)})  # as on the real server, to which an empty one is twice there
    for i, term in enumerate(given):
        path, have = f"allowedTopologies[{i}].matchLabelExpressions", dict[str, frozenset[str]]()
        for j, one in enumerate(term.get("matchLabelExpressions") or ()):
            errors += _topology(one, f"{path}[{j}]", have)
        told = frozenset(have.items())
        errors += [duplicate(path, "")] * seen[told]
        seen[told] += 1
    return errors


def _topology(one: Json, path: str, have: dict[str, frozenset[str]]) -> list[FieldError]:
    key, values = one.get("key") or "", one.get("values") or []
    errors = [] if values else [required(f"{path}.values")]
    again = repeated(values)
    errors += [duplicate(f"{path}.values[{i}]", value) for i, value in enumerate(values) if again[i]]
    errors += all_invalid(f"{path}.key", key, names.qualified_name(key))
    errors += [duplicate(f"{path}.key", key)] if key in have else []
    have[key] = frozenset(values)
    return errors


def attributes_class(obj: Json, old: Json | None) -> list[FieldError]:
    """VolumeAttributesClass: given once."""
    before = obj if old is None else old
    changed = [field for field in ("driverName", "parameters") if obj.get(field) != before.get(field)]
    errors = [forbidden(field, f"updates to {field} are forbidden.") for field in changed]
    errors += _provisioner(obj.get("driverName") or "", "driverName")
    return errors + _parameters(obj.get("parameters") or {}, needed=True)


def driver(obj: Json, old: Json | None) -> list[FieldError]:
    """CSIDriver."""
    spec = obj["spec"]
    errors: list[FieldError] = []
    if spec.get("fsGroupPolicy") not in _POLICIES:
        errors.append(not_supported("spec.fsGroupPolicy", spec.get("fsGroupPolicy"), _POLICIES))
    errors += _tokens(spec.get("tokenRequests") or [])
    modes = spec.get("volumeLifecycleModes") or []
    errors += [not_supported("spec.volumeLifecycleModes", one, _LIFECYCLES) for one in modes if one not in _LIFECYCLES]
    period, in_secrets = spec.get("nodeAllocatableUpdatePeriodSeconds"), spec.get("serviceAccountTokenInSecrets")
    if period is not None and period < _LEAST_PERIOD_S:
        why = "must be greater than or equal to 10 seconds"
        errors.append(invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, why))
    if in_secrets is not None and not spec.get("tokenRequests"):
        why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        errors.append(invalid("spec.serviceAccountTokenInSecrets", in_secrets, why))
    before = (old or {}).get("spec")
    if before is None:
        return errors
    errors += _unchanged("spec.attachedRequired", spec.get("attachRequired"), before.get("attachRequired"))
    return errors + _unchanged("spec.volumeLifecycleModes", modes, before.get("volumeLifecycleModes"))


def _unchanged(path: str, value: Any, old: Any) -> list[FieldError]:
    return [] if value == old else [invalid(path, value, meta.IMMUTABLE)]


def _tokens(given: list[Json]) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, one in enumerate(given):
        path, audience, seconds = f"spec.tokenRequests[{i}]", one.get("audience") or "", one.get("expirationSeconds")
        if audience in seen:
            errors.append(duplicate(f"{path}.audience", audience))
        elif seconds is not None:
            errors += token_lifetime(seconds, f"{path}.expirationSeconds")
        seen.add(audience)
    return errors


def node(obj: Json, old: Json | None) -> list[FieldError]:
    """CSINode: what a driver says of its node it says once, but for how many volumes it can have."""
    drivers = obj["spec"].get("drivers") or []
    errors: list[FieldError] = []
    again = repeated(one.get("name") or "" for one in drivers)
    for i, one in enumerate(drivers):
        errors += _node_driver(one, f"spec.drivers[{i}]")
        name = one.get("name") or ""
        if again[i]:
            errors.append(duplicate(f"spec.drivers[{i}].name", name))
    before = {one.get("name"): one for one in ((old or {}).get("spec") or {}).get("drivers") or ()}
    for one in drivers:
        was = before.get(one.get("name"))
        if was is not None and {**one, "allocatable": None} != {**was, "allocatable": None}:
            errors.append(invalid("spec.drivers", _shown_driver(one), meta.IMMUTABLE))
    return errors


def _shown_driver(one: Json) -> Json:
    shown = go_struct(one, Name=("name", ""), NodeID=("nodeID", ""), TopologyKeys=("topologyKeys", None))
    return {**shown, "Allocatable": None}


def _node_driver(one: Json, path: str) -> list[FieldError]:
    errors = csi_driver(one.get("name") or "", f"{path}.name")
    node_id, keys = one.get("nodeID") or "", one.get("topologyKeys") or []
    errors += [] if node_id else [required(f"{path}.nodeID")]
    if len(node_id.encode()) > _NODE_ID:
        errors.append(invalid(f"{path}.nodeID", node_id, f"must be {_NODE_ID} characters or less"))
    errors += meta.not_negative(one.get("allocatable") or {}, "count", path=f"{path}.allocatable")
    for key, again in zip(keys, repeated(keys), strict=True):
        errors += [] if key else [required(path)]
        errors += [duplicate(path, key)] if again else []
        errors += all_invalid(path, key, names.qualified_name(key))
    return errors


def capacity(obj: Json, old: Json | None) -> list[FieldError]:
    """CSIStorageCapacity: for whom it counts is told once."""
    if old is not None:
        return [e for one in ("nodeTopology", "storageClassName") for e in _unchanged(one, obj.get(one), old.get(one))]
    name = obj.get("storageClassName") or ""
    errors = label_selector(obj.get("nodeTopology"), "nodeTopology")
    errors += all_invalid("storageClassName", name, names.dns_subdomain(name))
    amount = quantity.parse(obj["capacity"]) if obj.get("capacity") is not None else None
    if amount is not None and amount < 0:
        errors.append(invalid("capacity", quantity.canonical(obj["capacity"]), meta.NOT_NEGATIVE))
    return errors


def attachment(obj: Json, old: Json | None) -> list[FieldError]:
    """VolumeAttachment: given once."""
    spec, status = obj["spec"], obj.get("status") or {}
    errors = csi_driver(spec.get("attacher") or "", "spec.attacher") + _attached(spec.get("source") or {})
    name = spec.get("nodeName") or ""
    errors += all_invalid("spec.nodeName", name, names.dns_subdomain(name))
    for field in ("attachError", "detachError"):
        if len(((status.get(field) or {}).get("message") or "").encode()) > _ERROR_CHARS:
            errors.append(too_long(f"status.{field}.message", _ERROR_CHARS))
    if old is not None and spec != old.get("spec"):
        errors.append(invalid("spec", _shown_attachment(spec), meta.IMMUTABLE))
    return errors


def _shown_attachment(spec: Json) -> Json:
    source = go_struct(
        spec.get("source") or {},
        PersistentVolumeName=("persistentVolumeName", None),
        InlineVolumeSpec=("inlineVolumeSpec", None),
    )
    return {"Attacher": spec.get("attacher", ""), "Source": source, "NodeName": spec.get("nodeName", "")}


def _attached(source: Json) -> list[FieldError]:
    path, name, inline = "spec.source", source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
    which = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if inline is None and name is None:
        return [required(path, which)]
    if inline is not None and name is not None:
        return [forbidden(path, which), *_volume_name(name)]
    if inline is not None:
        return volume_spec(inline, f"{path}.inlineVolumeSpec", inline=True)
    empty = [] if name else [required(f"{path}.persistentVolumeName", "must specify non empty persistentVolumeName")]
    return [*empty, *_volume_name(name or "")]


def _volume_name(name: str) -> list[FieldError]:
    return all_invalid("spec.source.persistentVolumeName", name, names.dns_subdomain(name))

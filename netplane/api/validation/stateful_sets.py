"""StatefulSet: pods that keep their names and volumes. Source: apps/v1 validation of Kubernetes 1.36."""

from typing import Any

from netplane.api import names, prints
from netplane.api.fields import FieldError, all_invalid, forbidden, invalid, not_supported
from netplane.api.validation import meta, rare_volumes
from netplane.api.validation.workloads import (
    is_none,
    lasting,
    not_all,
    part,
    pod_template,
    selected,
    template_metadata,
)

Json = dict[str, Any]

_SET_MAY_CHANGE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_SET_CHANGEABLE = frozenset({
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds",
    "persistentVolumeClaimRetentionPolicy",
})  # fmt: skip


def stateful_set(obj: Json, old: Json | None) -> list[FieldError]:
    """apps/v1 StatefulSet: most of its spec is given once."""
    spec = obj["spec"]
    policy = spec.get("podManagementPolicy") or ""
    errors: list[FieldError] = []
    if policy not in ("OrderedReady", "Parallel"):
        errors.append(invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    errors += _set_strategy(spec["updateStrategy"], "spec.updateStrategy") + _retention(spec)
    for i, one in enumerate(() if old else spec.get("volumeClaimTemplates") or ()):
        errors += rare_volumes.claim(one.get("spec") or {}, f"spec.volumeClaimTemplates[{i}].spec")
    errors += meta.not_negative(spec, "replicas", "minReadySeconds", path="spec")
    errors += meta.not_negative(spec.get("ordinals") or {}, "start", path="spec.ordinals")
    if not old and (service := spec.get("serviceName")):
        errors += all_invalid("spec.serviceName", service, names.dns_label(service))
    errors += selected(spec, "statefulset", "", lambda: _set_template(spec))
    errors += lasting(spec["template"].get("spec") or {}, "StatefulSet")
    before = (old or {}).get("spec")
    if before is not None and any(
        spec.get(key) != before.get(key) for key in {*spec, *before} if key not in _SET_CHANGEABLE
    ):
        errors.append(forbidden("spec", _SET_MAY_CHANGE))
    return errors


def _retention(spec: Json) -> list[FieldError]:
    given, path = spec.get("persistentVolumeClaimRetentionPolicy") or {}, "spec.persistentVolumeClaimRetentionPolicy"
    return [
        not_supported(f"{path}.{field}", given.get(field) or "", ("Retain", "Delete"))
        for field in ("whenDeleted", "whenScaled")
        if given.get(field) not in ("Retain", "Delete")
    ]


def _set_strategy(given: Json, path: str) -> list[FieldError]:
    kind, rolling = given.get("type"), given.get("rollingUpdate")
    if kind == "RollingUpdate":
        where, missing = f"{path}.rollingUpdate", (rolling or {}).get("maxUnavailable")
        errors = meta.not_negative(rolling or {}, "partition", path=where)
        if missing is not None:
            errors += part(missing, f"{where}.maxUnavailable")
            errors += [invalid(f"{where}.maxUnavailable", missing, "cannot be 0")] if is_none(missing) else []
            errors += not_all(missing, f"{where}.maxUnavailable")
        return errors
    if kind != "OnDelete":
        return [
            invalid(path, prints.internal("StatefulSetUpdateStrategy", given), "must be 'RollingUpdate' or 'OnDelete'")
        ]
    why = "only allowed for updateStrategy 'RollingUpdate'"
    return (
        [invalid(f"{path}.rollingUpdate", prints.internal("RollingUpdateStatefulSetStrategy", rolling), why)]
        if rolling is not None
        else []
    )


def _set_template(spec: Json) -> list[FieldError]:
    """A set's pods get their names, and the volumes that are claimed for each. Their metadata is looked at twice."""
    template, path = spec["template"], "spec.template"
    inside = {key: value for key, value in (template.get("spec") or {}).items() if key not in ("hostname", "subdomain")}
    claimed = [(one.get("metadata") or {}).get("name") for one in spec.get("volumeClaimTemplates") or ()]
    volumes = [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in dict.fromkeys(claimed)]
    volumes += [one for one in inside.get("volumes") or () if one.get("name") not in claimed]
    whole = {**template, "spec": {**inside, "volumes": volumes}}
    metadata = template.get("metadata") or {}
    return pod_template({"template": whole}, path) + template_metadata(metadata, inside, path)

"""Node. Source: core/v1 validation of Kubernetes 1.36."""

from typing import Any

from netplane.api import addresses, names
from netplane.api.fields import FieldError, all_invalid, duplicate, forbidden, go_struct, invalid
from netplane.api.validation import meta
from netplane.api.validation.resources import amount

Json = dict[str, Any]

_MOST_CIDRS = 2
_ONCE = 'node updates may not change {} except from "" to valid'


def node(obj: Json, old: Json | None) -> list[FieldError]:
    """core/v1 Node: its CIDRs and provider are given once."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    # The real server looks for taints in metadata, where they once were.
    taints = _taints(spec.get("taints") or [], "metadata.taints")
    if old is None:
        return taints + _amounts(status) + _pod_cidrs(spec.get("podCIDRs") or [])
    before = old.get("spec") or {}
    errors = _amounts(status) + _addresses(status.get("addresses") or [])
    if before.get("podCIDRs") and before["podCIDRs"] != spec.get("podCIDRs"):
        errors.append(forbidden("spec.podCIDRs", _ONCE.format("podCIDR")))
    elif before.get("podCIDRs") != spec.get("podCIDRs"):
        errors += _pod_cidrs(spec.get("podCIDRs") or [])
    if before.get("providerID") and before["providerID"] != spec.get("providerID"):
        errors.append(forbidden("spec.providerID", _ONCE.format("providerID")))
    return errors + taints


def _taints(taints: list[Json], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for i, taint in enumerate(taints):
        where = f"{path}[{i}]"
        key, effect, value = (taint.get(one) or "" for one in ("key", "effect", "value"))
        errors += all_invalid(f"{where}.key", key, names.qualified_name(key))
        if bad := names.label_value(value):
            errors.append(invalid(f"{where}.value", value, ";".join(bad)))
        errors += meta.one_of(f"{where}.effect", effect, meta.EFFECTS)
        if (key, effect) in seen:
            shown = go_struct(
                taint, Key=("key", ""), Value=("value", ""), Effect=("effect", ""), TimeAdded=("timeAdded", None)
            )
            why = "taints must be unique by key and effect pair"
            errors.append(duplicate(where, shown)._replace(detail=why))
        seen.add((key, effect))
    return errors


def _amounts(status: Json) -> list[FieldError]:
    return [
        error
        for field in ("capacity", "allocatable")
        for name, value in (status.get(field) or {}).items()
        for error in amount(name, value, f"status.{field}.{name}")
    ]


def _pod_cidrs(given: list[str]) -> list[FieldError]:
    path = "spec.podCIDRs"
    errors = [e for i, one in enumerate(given) for e in all_invalid(f"{path}[{i}]", one, addresses.cidr(one))]
    versions = {":" in one for one in given}
    if len(given) > 1 and (len(given) > _MOST_CIDRS or len(versions) != len(given)):
        errors.append(invalid(path, given, "may specify no more than one CIDR for each IP family"))
    return errors + [duplicate(f"{path}[{i}]", one) for i, one in enumerate(given) if one in given[:i]]


def _addresses(given: list[Json]) -> list[FieldError]:
    return [
        duplicate(f"status.addresses[{i}]", go_struct(one, Type=("type", ""), Address=("address", "")))
        for i, one in enumerate(given)
        if one in given[:i]
    ]

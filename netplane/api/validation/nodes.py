"""Node. Source: core/v1 validation of Kubernetes 1.36.

A write of a node is looked at twice, as a new node and as a change of the old; a write of its status only as a change.
"""

import re
from collections.abc import Callable
from typing import Any

from netplane.api import addresses, names, prints
from netplane.api.fields import FieldError, all_invalid, duplicate, forbidden, internal, invalid, repeated, required
from netplane.api.validation import decoding, meta
from netplane.api.validation.resources import amount

Json = dict[str, Any]
Check = Callable[[Any, str], list[FieldError]]

_MOST_CIDRS = 2
_ONCE = 'node updates may not change {} except from "" to valid'
_FEATURE = re.compile(r"[A-Z][a-zA-Z0-9]*(/[a-zA-Z][a-zA-Z0-9]*)*")
_MOST_LETTERS = 253
_NO_FEATURE = (
    "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or "
    "MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
)
_TAINTS, _AVOID = "scheduler.alpha.kubernetes.io/taints", "scheduler.alpha.kubernetes.io/preferAvoidPods"


def node(obj: Json, old: Json | None) -> list[FieldError]:
    """core/v1 Node."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    errors = _annotations(obj) + _taints(spec.get("taints") or []) + _amounts(status)
    swap = ((status.get("nodeInfo") or {}).get("swap") or {}).get("capacity")
    if swap is not None and swap <= 0:
        errors.append(invalid("metadata.nodeSwapStatus.capacity", swap, "must be greater than zero"))
    errors += _features(status.get("declaredFeatures") or []) + _pod_cidrs(spec.get("podCIDRs") or [])
    return errors if old is None else errors + node_status(obj, old)


def node_status(obj: Json, old: Json | None) -> list[FieldError]:
    """A change of one: its CIDRs and provider are given once."""
    spec, status, before = obj.get("spec") or {}, obj.get("status") or {}, (old or {}).get("spec") or {}
    errors = _annotations(obj) + _amounts(status) + _features(status.get("declaredFeatures") or [])
    errors += _addresses(status.get("addresses") or [])
    had, have = before.get("podCIDRs") or [], spec.get("podCIDRs") or []
    changed = sum(one != other for one, other in zip(had, have, strict=True)) if len(had) == len(have) else 1
    if had:
        errors += [forbidden("spec.podCIDRs", _ONCE.format("podCIDR"))] * changed
    if before.get("providerID") and before["providerID"] != spec.get("providerID"):
        errors.append(forbidden("spec.providerID", _ONCE.format("providerID")))
    errors += _taints(spec.get("taints") or [])
    if (before.get("externalID") or "") != (spec.get("externalID") or ""):
        errors.append(forbidden("spec.externalID", "may not be updated"))
    return errors


def _annotations(obj: Json) -> list[FieldError]:
    """What fields say now was once said by annotations."""
    given = (obj.get("metadata") or {}).get("annotations") or {}
    return [
        error
        for name, where, wanted, check in _FORMER
        if (text := given.get(name))
        for error in _annotation(text, name, where, wanted, check)
    ]


def _annotation(text: str, name: str, where: str, wanted: decoding.Type, check: Check) -> list[FieldError]:
    try:
        value = decoding.loads(text.encode(), wanted)
    except ValueError as error:
        return [invalid(where, name, str(error))]
    return check(value, f"metadata.annotations.{name}")


def _avoided(avoid: Json, path: str) -> list[FieldError]:
    errors = []
    for i, entry in enumerate(avoid.get("preferAvoidPods") or ()):
        where, owner = f"{path}[{i}].PodSignature", (entry.get("podSignature") or {}).get("podController")
        if owner is None:
            errors.append(required(where))
        elif not owner.get("controller"):
            errors.append(invalid(f"{where}.PodController.Controller", False, "must point to a controller"))
    return errors


def _taints(taints: list[Json], path: str = "metadata.taints") -> list[FieldError]:
    """The real server looks for taints in metadata, where they once were."""
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
            why = "taints must be unique by key and effect pair"
            errors.append(duplicate(where, prints.internal("Taint", taint))._replace(detail=why))
        seen.add((key, effect))
    return errors


def _amounts(status: Json) -> list[FieldError]:
    return [
        error
        for field in ("capacity", "allocatable")
        for name, value in (status.get(field) or {}).items()
        for error in amount(name, value, f"status.{field}.{name}")
    ]


def _features(given: list[str]) -> list[FieldError]:
    """What its agent can do: names in order, each once."""
    path = "status.declaredFeatures"
    errors = []
    for i, one in enumerate(given):
        if i and one == given[i - 1]:
            errors.append(duplicate(f"{path}[{i}]", one))
        elif i and one < given[i - 1]:
            errors.append(invalid(f"{path}[{i}]", one, "list must be sorted alphabetically"))
        why = "must be no more than 253 characters" if len(one) > _MOST_LETTERS else _NO_FEATURE
        if len(one) > _MOST_LETTERS or not _FEATURE.fullmatch(one):
            errors.append(invalid(f"{path}[{i}]", one, f'invalid feature name "{one}": {why}'))
    return errors


def _pod_cidrs(given: list[str]) -> list[FieldError]:
    path = "spec.podCIDRs"
    wrong = [addresses.cidr(one) for one in given]
    errors = [e for i, one in enumerate(given) for e in all_invalid(f"{path}[{i}]", one, wrong[i])]
    if len(given) <= 1:
        return errors
    unread = next((i for i, one in enumerate(given) if addresses.network(one) is None), None)
    if unread is not None:
        why = f"invalid CIDR[{unread}]: <nil> (invalid CIDR address: {given[unread]})"
        errors.append(internal(path, f"invalid PodCIDRs. failed to check with dual stack with error:{why}"))
    both = {":" in one for one in given} == {True, False}
    if unread is not None or not both or len(given) > _MOST_CIDRS:
        errors.append(invalid(path, given, "may specify no more than one CIDR for each IP family"))
    return errors


def _addresses(given: list[Json]) -> list[FieldError]:
    again = repeated((one.get("type"), one.get("address")) for one in given)
    return [
        duplicate(f"status.addresses[{i}]", prints.internal("NodeAddress", one))
        for i, one in enumerate(given)
        if again[i]
    ]


_OWNER = decoding.struct(
    "v1.OwnerReference",
    **dict.fromkeys(("apiVersion", "kind", "name", "uid"), decoding.STRING),
    **dict.fromkeys(("controller", "blockOwnerDeletion"), decoding.BOOL),
)
_ENTRY = decoding.struct(
    "v1.PreferAvoidPodsEntry",
    podSignature=decoding.struct("v1.PodSignature", podController=_OWNER),
    evictionTime=decoding.TIME,
    **dict.fromkeys(("reason", "message"), decoding.STRING),
)
_AVOIDED = decoding.struct("v1.AvoidPods", preferAvoidPods=decoding.list_of(_ENTRY))
_TAINT = decoding.struct(
    "core.Taint",
    **dict.fromkeys(("Key", "Value"), decoding.STRING),
    Effect=decoding.STRING._replace(go="core.TaintEffect"),
    TimeAdded=decoding.TIME,
)


def _former_taints(taints: list[Json], path: str) -> list[FieldError]:
    """The internal type has no names for JSON: its fields are as Go calls them."""
    return _taints([{name[0].lower() + name[1:]: value for name, value in one.items()} for one in taints], path)


_FORMER: tuple[tuple[str, str, decoding.Type, Check], ...] = (
    (_TAINTS, "metadata.annotations", decoding.list_of(_TAINT), _former_taints),
    (_AVOID, "metadata.annotations.AvoidPods", _AVOIDED, _avoided),
)
"""(annotation, where it is told that it cannot be read, its type, what is wrong with what it says)"""

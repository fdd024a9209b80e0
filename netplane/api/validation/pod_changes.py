"""How little of a pod may change: images, deadlines, what is tolerated; and what a gated pod may still be told.

Source: core/v1 validation of Kubernetes 1.36.
"""

import copy
from typing import Any

from netplane.api import addresses, names
from netplane.api.fields import FieldError, all_invalid, duplicate, forbidden, invalid, required
from netplane.api.pod_refs import MIRROR
from netplane.api.validation import meta

Json = dict[str, Any]

MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_LISTS = ("containers", "initContainers")


def metadata(obj: Json, old: Json) -> list[FieldError]:
    """Whose mirror a pod is, it is from the start."""
    now, was = ((one["metadata"].get("annotations") or {}).get(MIRROR) for one in (obj, old))
    if now == was:
        return []
    word = "add" if was is None else "remove or update"
    return [forbidden(f"metadata.annotations[{MIRROR}]", f"may not {word} mirror pod annotation")]


def changes(obj: Json, old: Json) -> list[FieldError]:
    """What is wrong with a change of a pod's spec."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    errors = metadata(obj, old)
    for field in _LISTS:
        if len(spec.get(field) or ()) != len(before.get(field) or ()):
            return [*errors, forbidden(f"spec.{field}", "pod updates may not add or remove containers")]
        for i, container in enumerate(spec.get(field) or ()):
            errors += [] if container.get("image") else [required(f"spec.{field}[{i}].image")]
    if late := _deadline(spec, before):
        return errors + late
    errors += _only_more_tolerated(spec, before) + _only_fewer_gates(spec, before)
    if before.get("schedulingGates"):
        errors += _selector(spec, before) + _node_affinity(spec, before)
    if _fixed(spec, before) != _fixed(before, before) and not _only_bound(spec, before):
        errors.append(forbidden("spec", MAY_CHANGE))
    return errors


def _deadline(spec: Json, before: Json) -> list[FieldError]:
    """A deadline comes, or comes earlier."""
    path = "spec.activeDeadlineSeconds"
    now, was = (each.get("activeDeadlineSeconds") for each in (spec, before))
    if now is None:
        why = "must not update from a positive integer to nil value"
        return [] if was is None else [invalid(path, None, why)]
    if bad := names.in_range(now, 0, 2**31 - 1):
        return all_invalid(path, now, bad)
    late = was is not None and was < now
    return [invalid(path, now, "must be less than or equal to previous value")] if late else []


def _only_more_tolerated(spec: Json, before: Json) -> list[FieldError]:
    have, had = ([_untimed(one) for one in each.get("tolerations") or ()] for each in (spec, before))
    if all(one in have for one in had):
        return []
    why = "existing toleration can not be modified except its tolerationSeconds"
    return [forbidden("spec.tolerations", why)]


def _untimed(toleration: Json) -> Json:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


def _only_fewer_gates(spec: Json, before: Json) -> list[FieldError]:
    had = [one.get("name") for one in before.get("schedulingGates") or ()]
    why = "only deletion is allowed, but found new scheduling gate '{}'"
    return [
        forbidden(f"spec.schedulingGates[{i}].name", why.format(one.get("name")))
        for i, one in enumerate(spec.get("schedulingGates") or ())
        if one.get("name") not in had
    ]


def _selector(spec: Json, before: Json) -> list[FieldError]:
    now, was = spec.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
    kept = all(now.get(key) == value for key, value in was.items())
    return [] if kept else [invalid("spec.nodeSelector", now, why)]


def _node_affinity(spec: Json, before: Json) -> list[FieldError]:
    now, was = (_terms(each) for each in (spec, before))
    path = f"spec.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms"
    if not was:
        return []
    if len(now) != len(was):
        return [invalid(path, now, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")]
    why = "only additions are allowed (no mutations or deletions)"
    changed = [i for i, pair in enumerate(zip(now, was, strict=True)) if not _more(*pair)]
    return [invalid(f"{path}[{i}]", now[i], why) for i in changed]


def _terms(spec: Json) -> list[Json]:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return (affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or []


def _more(new: Json, old: Json) -> bool:
    """Whether a term says all it said, and perhaps more; one that said nothing still does."""
    pairs = [(new.get(field) or [], old.get(field) or []) for field in ("matchExpressions", "matchFields")]
    if not any(had for _, had in pairs):
        return not any(have for have, _ in pairs)
    return all(have[: len(had)] == had for have, had in pairs)


def _only_bound(spec: Json, before: Json) -> bool:
    """The one other change a pod sees: its binding gives it a node."""
    if before.get("nodeName"):
        return False
    return _fixed({**spec, "nodeName": ""}, before) == _fixed({**before, "nodeName": ""}, before)


def _fixed(spec: Json, before: Json) -> Json:
    """The part of a spec that does not change, in the state that the pod was in `before`."""
    fixed = copy.deepcopy({key: value for key, value in spec.items() if value not in (None, "", [], {})})
    for field in _LISTS:
        for container in fixed.get(field) or ():
            container.pop("image", None)
    gated = bool(before.get("schedulingGates"))
    for field in ("activeDeadlineSeconds", "tolerations", "ephemeralContainers", "schedulingGates"):
        fixed.pop(field, None)
    if (before.get("terminationGracePeriodSeconds") or 0) < 0 and fixed.get("terminationGracePeriodSeconds") == 1:
        fixed["terminationGracePeriodSeconds"] = before["terminationGracePeriodSeconds"]
    if gated:
        fixed.pop("nodeSelector", None)
        (fixed.get("affinity") or {}).pop("nodeAffinity", None)
        fixed["affinity"] = fixed.get("affinity") or {}
    return fixed


def status(obj: Json, old: Json) -> list[FieldError]:
    """What a status may not say, and how it may not change."""
    now, was = obj.get("status") or {}, old.get("status") or {}
    node = now.get("nominatedNodeName") or ""
    errors = meta.immutable("status.qosClass", now.get("qosClass"), was.get("qosClass"))
    if node and node != was.get("nominatedNodeName"):
        errors += all_invalid("status.nominatedNodeName", node, names.dns_subdomain(node))
    for i, one in enumerate(now.get("conditions") or ()):
        kind = one.get("type") or ""
        errors += all_invalid(f"metadata.conditions[{i}].Type", kind, names.qualified_name(kind))
    errors += _states(now, was, (old.get("spec") or {}).get("restartPolicy") or "")
    for field in ("podIPs", "hostIPs"):
        errors += _ips([one.get("ip") or "" for one in now.get(field) or ()], f"status.{field}")
    return errors


def _states(now: Json, was: Json, policy: str) -> list[FieldError]:
    """What has ended for good does not run again."""
    if policy == "Always":
        return []
    path, why = "status.containerStatuses", "may not be transitioned to non-terminated state"
    state = {one.get("name"): (one.get("state") or {}).get("terminated") for one in now.get("containerStatuses") or ()}
    errors: list[FieldError] = []
    for i, one in enumerate(was.get("containerStatuses") or ()):
        ended = (one.get("state") or {}).get("terminated")
        again = ended is not None and bool(ended.get("exitCode")) and policy == "OnFailure"
        if ended is not None and not again and one.get("name") in state and state[one["name"]] is None:
            errors.append(forbidden(f"{path}[{i}].state", why))
    return errors


def _ips(ips: list[str], path: str) -> list[FieldError]:
    errors = [error for i, ip in enumerate(ips) for error in all_invalid(f"{path}[{i}]", ip, addresses.ip(ip))]
    if len(ips) > 1 and len({":" in ip for ip in ips}) != len(ips):
        why = "may specify no more than one IP for each IP family"
        errors.append(invalid(path, [{"IP": ip} for ip in ips], why))
    return errors + [duplicate(f"{path}[{i}]", {"IP": ip}) for i, ip in enumerate(ips) if ip in ips[:i]]

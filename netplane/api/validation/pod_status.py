"""What a pod's status may not say, and how it may not change. Source: core/v1 validation of Kubernetes 1.36."""

from collections.abc import Iterator
from typing import Any

from netplane.api import addresses, names
from netplane.api.fields import (
    FieldError,
    all_invalid,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    repeated,
    required,
)
from netplane.api.validation import meta, pod_changes

Json = dict[str, Any]

_SYSTEM_CONDITIONS = frozenset({"PodScheduled", "Ready", "Initialized"})
_HEALTH = frozenset({"Healthy", "Unhealthy", "Unknown"})
_LISTS = (
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", ""),
)
_NOT_NEGATIVE = "must be a non-negative integer"


def update(obj: Json, old: Json) -> list[FieldError]:
    """A write of the status."""
    now, was, spec = obj.get("status") or {}, old.get("status") or {}, old.get("spec") or {}
    errors = pod_changes.metadata(obj, old) + _conditions(now.get("conditions") or [])
    errors += _nominated(now, was, spec)
    if (now.get("observedGeneration") or 0) < 0:
        errors.append(invalid("status.observedGeneration", now["observedGeneration"], _NOT_NEGATIVE))
    errors += meta.immutable("status.qosClass", now.get("qosClass"), was.get("qosClass"))
    for field, of in _LISTS:
        errors += _states(now.get(field) or [], was.get(field) or [], f"status.{field}", spec, of)
    errors += _claims(now.get("resourceClaimStatuses") or [], spec)
    errors += _ips(now, was, "podIPs") + _ips(now, was, "hostIPs")
    for field, _ in _LISTS:
        errors += _users(now.get(field) or [], f"status.{field}", spec)
    for field, of in _LISTS:
        errors += _allocated(now.get(field) or [], f"status.{field}", spec.get(of) or [] if of else None)
    return errors


def _conditions(given: list[Json]) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, one in enumerate(given):
        kind, generation = one.get("type") or "", one.get("observedGeneration") or 0
        where = f"status.conditions[{i}]"
        errors += [invalid(f"{where}.observedGeneration", generation, _NOT_NEGATIVE)] if generation < 0 else []
        if kind not in _SYSTEM_CONDITIONS:
            errors += all_invalid(f"{where}.Type", kind, names.qualified_name(kind))
    return errors


def _nominated(now: Json, was: Json, spec: Json) -> list[FieldError]:
    node, path = now.get("nominatedNodeName") or "", "status.nominatedNodeName"
    if not node or node == was.get("nominatedNodeName"):
        return []
    errors = all_invalid(path, node, names.dns_subdomain(node))
    bound = "may not be set on pods that are already bound to a node"
    return errors + ([forbidden(path, bound)] if spec.get("nodeName") else [])


def _states(now: list[Json], was: list[Json], path: str, spec: Json, field: str) -> list[FieldError]:
    """What has ended for good does not run again."""
    if field and any(map(_restarts_all, (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())))):
        return []
    why = "may not be transitioned to non-terminated state"
    state = {one.get("name") or "": (one.get("state") or {}).get("terminated") for one in reversed(now)}
    errors: list[FieldError] = []
    for i, one in enumerate(was):
        ended, name = (one.get("state") or {}).get("terminated"), one.get("name") or ""
        if ended is None or name not in state or state[name] is not None:
            continue
        if not field or not _restarts(name, ended.get("exitCode") or 0, spec, field):
            errors.append(forbidden(f"{path}[{i}].state", why))
    return errors


def _restarts_all(container: Json) -> bool:
    return any(rule.get("action") == "RestartAllContainers" for rule in container.get("restartPolicyRules") or ())


def _restarts(name: str, code: int, spec: Json, field: str) -> bool:
    """Whether a container that ended with `code` starts again."""
    container = next((one for one in spec.get(field) or () if one.get("name") == name), None)
    if container is None:
        return False
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        among = code in (codes.get("values") or ())
        if rule.get("exitCodes") is not None and among is (codes.get("operator") == "In"):
            return True
    policy = container.get("restartPolicy") or spec.get("restartPolicy")
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _claims(given: list[Json], spec: Json) -> list[FieldError]:
    path, known = "status.resourceClaimStatuses", {one.get("name") for one in spec.get("resourceClaims") or ()}
    errors: list[FieldError] = []
    listed = [one.get("name") or "" for one in given]
    again = repeated(listed)
    for i, one in enumerate(given):
        where, name, claim = f"{path}[{i}]", listed[i], one.get("resourceClaimName")
        if name not in known:
            errors.append(invalid(f"{where}.name", name, "must match the name of an entry in `spec.resourceClaims`"))
        errors += [duplicate(f"{where}.name", name)] if again[i] else []
        if claim is not None:
            errors += all_invalid(f"{where}.resourceClaimName", claim, names.dns_subdomain(claim))
    return errors


def _ips(now: Json, was: Json, field: str) -> list[FieldError]:
    """Addresses of the pod or its node; what was there before may stay."""
    given, path = [one.get("ip") or "" for one in now.get(field) or ()], f"status.{field}"
    had = {one.get("ip") for one in was.get(field) or ()}
    errors = []
    if field == "hostIPs" and given and given[0] != now.get("hostIP"):
        errors.append(invalid(f"{path}[0].ip", given[0], "must be equal to `hostIP`"))
    for i, ip in enumerate(given):
        errors += [] if ip in had else all_invalid(f"{path}[{i}]", ip, addresses.ip(ip))
    versions = {":" in ip for ip in given}
    if len(given) > 1 and (len(given) > len(versions) or len(given) > 2):
        shown = [{"IP": ip} for ip in given]
        errors.append(invalid(path, shown, "may specify no more than one IP for each IP family"))
    return errors


def _users(given: list[Json], path: str, spec: Json) -> list[FieldError]:
    system = (spec.get("os") or {}).get("name") or "linux"
    errors: list[FieldError] = []
    for i, one in enumerate(given):
        user, where = (one.get("user") or {}).get("linux"), f"{path}[{i}].user.linux"
        if user is not None and system == "windows":
            errors.append(forbidden(where, "cannot be set for a windows pod"))
        elif user is not None:
            errors += _ids(user, where)
    return errors


def _ids(user: Json, path: str) -> list[FieldError]:
    given = [(f"{path}.{field}", user.get(field) or 0) for field in ("uid", "gid")]
    given += [(f"{path}.supplementalGroups[{i}]", one) for i, one in enumerate(user.get("supplementalGroups") or ())]
    return [error for at, one in given for error in all_invalid(at, one, names.in_range(one, 0, 2**31 - 1))]


def _allocated(given: list[Json], path: str, containers: list[Json] | None) -> list[FieldError]:
    """Devices that a container has; None for containers that have none."""
    errors: list[FieldError] = []
    for i, one in enumerate(given):
        listed, where = one.get("allocatedResourcesStatus") or [], f"{path}[{i}].allocatedResourcesStatus"
        if containers is None:
            errors += [forbidden(where, "must not be specified in container status")] if listed else []
            continue
        container = next((each for each in containers if each.get("name") == one.get("name")), None)
        for j, resource in enumerate(listed):
            if container is not None:
                errors += _asked_for(resource.get("name") or "", container, f"{where}[{j}].name")
            errors += list(_healths(resource.get("resources") or [], f"{where}[{j}].resources"))
    return errors


def _asked_for(name: str, container: Json, path: str) -> list[FieldError]:
    resources = container.get("resources") or {}
    claims = {
        "/".join(["claim:" + (one.get("name") or ""), *([one["request"]] if one.get("request") else [])])
        for one in resources.get("claims") or ()
    }
    claimed = name.startswith("claim:")
    if name in (claims if claimed else resources.get("requests") or {}):
        return []
    how = "claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty"
    return [invalid(path, name, f"must match one of the container's resource {how if claimed else 'requests'}")]


def _healths(given: list[Json], path: str) -> Iterator[FieldError]:
    listed = [one.get("resourceID") or "" for one in given]
    again = repeated(listed)
    for k, one in enumerate(given):
        health, message = one.get("health") or "", one.get("message")
        if health not in _HEALTH:
            yield not_supported(f"{path}[{k}].health", health, _HEALTH)
        if message == "":
            yield required(f"{path}[{k}].message", "must be non-empty if specified")
        if again[k]:
            yield duplicate(f"{path}[{k}].resourceID", listed[k])

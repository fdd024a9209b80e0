"""A pod's spec, wherever it stands; and what is more of a Pod itself. Source: core/v1 validation of Kubernetes 1.36."""

from typing import Any

from netplane.api import addresses, names, prints
from netplane.api.fields import FieldError, all_invalid, duplicate, forbidden, invalid, repeated, required, too_long
from netplane.api.pod_refs import MIRROR, projected
from netplane.api.validation import (
    meta,
    pod_annotations,
    pod_changes,
    pod_resize,
    pod_status,
    resources,
    scheduling,
    security,
    windows,
)
from netplane.api.validation.containers import RESTART_POLICIES, Around, containers, no_spaces
from netplane.api.validation.environment import file_volumes
from netplane.api.validation.volumes import volumes

Json = dict[str, Any]

DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
PREEMPTION_POLICIES = ("PreemptLowerPriority", "Never")
MAX_NAMESERVERS, MAX_SEARCHES, MAX_SEARCH_CHARS = 3, 32, 2048
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def validate(obj: Json, old: Json | None) -> list[FieldError]:
    """Everything wrong with a pod, and with a change of it."""
    if old is None:
        return _pod(obj) + _new(obj)
    spec = obj.get("spec") or {}
    if spec == (old.get("spec") or {}):
        return annotations(obj["metadata"], spec, "metadata.annotations") + pod_changes.metadata(obj, old)
    return _pod(obj) + pod_changes.changes(obj, old)


def looked_at(obj: Json, old: Json | None) -> list[FieldError]:
    """Everything wrong with a pod that has other ephemeral containers than before."""
    return [] if old is None else pod_changes.looked_at(obj, old, _pod(obj))


def resized(obj: Json, old: Json | None) -> list[FieldError]:
    """Everything wrong with a pod that has other resources than before."""
    return [] if old is None else pod_resize.refused(old) or [*_pod(obj), *pod_resize.changes(obj, old)]


def status(obj: Json, old: Json | None) -> list[FieldError]:
    """Everything wrong with a pod's new status."""
    return [] if old is None else pod_status.update(obj, old)


def _pod(obj: Json) -> list[FieldError]:
    spec, metadata = obj.get("spec") or {}, obj.get("metadata") or {}
    errors = annotations(metadata, spec, "metadata.annotations")
    errors += validate_spec(
        spec, "spec", pod=metadata.get("name") or "", mirror=MIRROR in (metadata.get("annotations") or ())
    )
    if not spec.get("serviceAccountName"):
        errors += _tokens(spec)
    return [*errors, *no_spaces(spec, "spec", "containers", "initContainers")]


def _tokens(spec: Json) -> list[FieldError]:
    """Tokens are of an account."""
    why = "must not be specified when serviceAccountName is not set"
    return [
        forbidden(f"spec.volumes[{i}].projected.sources[{j}].serviceAccountToken", why)
        for i, volume in enumerate(spec.get("volumes") or ())
        for j, source in enumerate(projected(volume))
        if source.get("serviceAccountToken") is not None
    ]


def _new(obj: Json) -> list[FieldError]:
    spec, given = obj.get("spec") or {}, obj["metadata"].get("annotations") or {}
    errors: list[FieldError] = []
    if spec.get("ephemeralContainers"):
        errors.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        errors.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return errors + pod_annotations.contradicted(given, spec)


def annotations(metadata: Json, spec: Json, path: str) -> list[FieldError]:
    """Annotations that mean something for a pod."""
    given = metadata.get("annotations") or {}
    errors: list[FieldError] = []
    if MIRROR in given and not spec.get("nodeName"):
        why = "must set spec.nodeName if mirror pod annotation is set"
        errors.append(invalid(f"{path}[{MIRROR}]", given[MIRROR], why))
    cost = given.get(DELETION_COST)
    if cost is not None and not _is_int32(cost):
        errors.append(invalid(f"{path}[{DELETION_COST}]", cost, "must be a 32bit integer"))
    return errors + pod_annotations.profiles(given, spec, path)


def _is_int32(text: str) -> bool:
    sign, digits = (text[:1], text[1:]) if text[:1] == "-" else ("", text)
    well = digits.isascii() and digits.isdigit() and (digits == "0" or not digits.startswith("0"))
    return well and text != "-0" and -(2**31) <= int(sign + digits) < 2**31


def validate_spec(spec: Json, path: str, *, pod: str | None = None, mirror: bool = False) -> list[FieldError]:
    """A pod's spec. `pod` is the name of the Pod whose it is; None: it is a template's. `mirror`: of a static pod."""
    good, errors = volumes(spec.get("volumes") or [], f"{path}.volumes", pod)
    claims = {one.get("name") or "" for one in spec.get("resourceClaims") or ()} - {""}
    around = Around(good, claims, spec, pod is not None)
    return [
        *errors,
        *_claims(spec.get("resourceClaims") or [], f"{path}.resourceClaims", mirror=mirror),
        *containers(around, path),
        *resources.of_pod(spec, f"{path}.resources", claims),
        *_host_network(spec, path, is_pod=around.is_pod),
        *meta.one_of(f"{path}.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES),
        *meta.one_of(f"{path}.dnsPolicy", spec.get("dnsPolicy"), DNS_POLICIES),
        *meta.labels(spec.get("nodeSelector"), f"{path}.nodeSelector"),
        *security.of_pod(spec, path),
        *scheduling.affinity(spec.get("affinity") or {}, f"{path}.affinity"),
        *_dns(spec, path),
        *_conditions(spec.get("readinessGates") or [], f"{path}.readinessGates"),
        *scheduling.gates(spec.get("schedulingGates") or [], f"{path}.schedulingGates"),
        *scheduling.spread(spec.get("topologySpreadConstraints") or [], f"{path}.topologySpreadConstraints"),
        *windows.host_processes(spec, path),
        *security.host_users(spec, path),
        *_hostname(spec, path),
        *_named(spec, path, "serviceAccountName", "nodeName"),
        *_deadline(spec, path),
        *_named(spec, path, "hostname", "subdomain"),
        *scheduling.tolerations(spec.get("tolerations") or [], f"{path}.tolerations"),
        *_host_aliases(spec.get("hostAliases") or [], f"{path}.hostAliases"),
        *_named(spec, path, "priorityClassName"),
        *_runtime_class(spec, path),
        *_preemption(spec, path),
        *resources.overhead(spec.get("overhead") or {}, f"{path}.overhead"),
        *windows.system(spec, path),
        *file_volumes(spec, path),
    ]


_NAMES = {
    **dict.fromkeys(("serviceAccountName", "nodeName", "priorityClassName"), names.dns_subdomain),
    **dict.fromkeys(("hostname", "subdomain"), names.dns_label),
}
_MOST_HOSTNAME = 64


def _named(spec: Json, path: str, *fields: str) -> list[FieldError]:
    return [
        error
        for field in fields
        if (value := spec.get(field))
        for error in all_invalid(f"{path}.{field}", value, _NAMES[field](value))
    ]


def _runtime_class(spec: Json, path: str) -> list[FieldError]:
    name = spec.get("runtimeClassName")
    return [] if name is None else all_invalid(f"{path}.runtimeClassName", name, names.dns_subdomain(name))


def _hostname(spec: Json, path: str) -> list[FieldError]:
    """A name of the pod's own choice, which two other fields rule out."""
    given, path = spec.get("hostnameOverride"), f"{path}.hostnameOverride"
    if given is None:
        return []
    others = [one for one in ("setHostnameAsFQDN", "hostNetwork") if spec.get(one)]
    errors = [forbidden(path, f"may not be specified when {one} is true") for one in others]
    errors += [too_long(path, _MOST_HOSTNAME)] if len(given.encode()) > _MOST_HOSTNAME else []
    return errors + all_invalid(path, given, names.dns_subdomain(given))


def _claims(given: list[Json], path: str, *, mirror: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    if mirror:
        return [forbidden("", "static pods do not support resource claims") for _ in given]
    kinds = ("resourceClaimName", "resourceClaimTemplateName")
    listed = [one.get("name") or "" for one in given]
    again = repeated(listed)
    for i, one in enumerate(given):
        where, name, from_ = f"{path}[{i}]", listed[i], [kind for kind in kinds if one.get(kind) is not None]
        shown = prints.internal("PodResourceClaim", one)
        if name and again[i]:
            errors.append(duplicate(f"{where}.name", name))
        else:
            errors += all_invalid(f"{where}.name", name, names.dns_label(name)) if name else [required(f"{where}.name")]
        if len(from_) > 1:
            why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            errors.append(invalid(where, shown, why))
        if not from_:
            why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            errors.append(invalid(where, shown, why))
        for kind in from_:
            errors += all_invalid(f"{where}.{kind}", one[kind], names.dns_subdomain(one[kind]))
    return errors


def _deadline(spec: Json, path: str) -> list[FieldError]:
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is None:
        return []
    return all_invalid(f"{path}.activeDeadlineSeconds", deadline, names.in_range(deadline, 1, 2**31 - 1))


def _preemption(spec: Json, path: str) -> list[FieldError]:
    given = spec.get("preemptionPolicy")
    return [] if given is None else meta.one_of(f"{path}.preemptionPolicy", given, PREEMPTION_POLICIES)


def _host_aliases(aliases: list[Json], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, alias in enumerate(aliases):
        errors += all_invalid(f"{path}[{i}].ip", alias.get("ip") or "", addresses.ip(alias.get("ip") or ""))
        for j, host in enumerate(alias.get("hostnames") or ()):
            errors += all_invalid(f"{path}[{i}].hostnames[{j}]", host, names.dns_subdomain(host))
    return errors


def _conditions(gates: list[Json], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, gate in enumerate(gates):
        kind = gate.get("conditionType") or ""
        errors += all_invalid(f"{path}[{i}].conditionType", kind, names.qualified_name(kind))
    return errors


def _dns(spec: Json, path: str) -> list[FieldError]:
    given, path = spec.get("dnsConfig") or {}, f"{path}.dnsConfig"
    servers, searches = given.get("nameservers") or [], given.get("searches") or []
    if spec.get("dnsPolicy") == "None" and not servers:
        if spec.get("dnsConfig") is None:
            return [required(path, "must provide `dnsConfig` when `dnsPolicy` is None")]
        return [required(f"{path}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")]
    errors: list[FieldError] = []
    if len(servers) > MAX_NAMESERVERS:
        errors.append(invalid(f"{path}.nameservers", servers, f"must not have more than {MAX_NAMESERVERS} nameservers"))
    for i, one in enumerate(servers):
        errors += all_invalid(f"{path}.nameservers[{i}]", one, addresses.ip(one))
    errors += _searches(searches, f"{path}.searches")
    for i, option in enumerate(given.get("options") or ()):
        if not option.get("name"):
            errors.append(required(f"{path}.options[{i}]", "must not be empty"))
    return errors


def _searches(searches: list[str], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if len(searches) > MAX_SEARCHES:
        errors.append(invalid(path, searches, f"must not have more than {MAX_SEARCHES} search paths"))
    if len(" ".join(searches)) > MAX_SEARCH_CHARS:
        why = f"must not have more than {MAX_SEARCH_CHARS} characters (including spaces) in the search list"
        errors.append(invalid(path, searches, why))
    for i, one in enumerate(searches):
        name = one.removesuffix(".")
        errors += all_invalid(f"{path}[{i}]", name, names.search_domain(name)) if one != "." else []
    return errors


def _host_network(spec: Json, path: str, *, is_pod: bool) -> list[FieldError]:
    """On the node's network a port is the node's; a template may leave that to its pods' defaults."""
    if not spec.get("hostNetwork"):
        return []
    why = "must match `containerPort` when `hostNetwork` is true"
    return [
        invalid(f"{path}.containers[{i}].ports[{j}].hostPort", host, why)
        for i, container in enumerate(spec.get("containers") or ())
        for j, port in enumerate(container.get("ports") or ())
        if ((host := port.get("hostPort") or 0) or is_pod) and host != port.get("containerPort")
    ]

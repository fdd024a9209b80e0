"""Secret, ServiceAccount and RBAC. Source: core/v1 and rbac/v1 validation of Kubernetes 1.36."""

import base64
from typing import Any

from netplane.api import base64_text, names
from netplane.api.fields import FieldError, all_invalid, go_struct, invalid, not_supported, required, too_long
from netplane.api.validation import decoding, meta
from netplane.api.validation.selecting import label_selector

Json = dict[str, Any]

SECRET_BYTES = 1024 * 1024
_LOGIN, _SSH_KEY = ("username", "password"), "ssh-privatekey"
_JSON_KEYS = {"kubernetes.io/dockercfg": (".dockercfg",), "kubernetes.io/dockerconfigjson": (".dockerconfigjson",)}
_RBAC = "rbac.authorization.k8s.io"
_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
}


def secret(obj: Json, old: Json | None) -> list[FieldError]:
    """Keys are file names, values base64; some types need certain keys; an immutable one stays as it is."""
    data: Json = obj.get("data") or {}
    errors = _unchanged(obj, old) if old is not None else []
    size = 0
    for key in sorted(data):
        errors += all_invalid(f"data[{key}]", key, names.config_key(key))
        size += base64_text.size(data[key] or "")
    if size > SECRET_BYTES:
        errors.append(too_long("data", SECRET_BYTES))
    kind = obj.get("type") or ""
    errors += [required(f"data[{key}]") for key in _KEYS.get(kind, ()) if key not in data]
    if kind == "kubernetes.io/ssh-auth" and not data.get(_SSH_KEY):
        errors.append(required(f"data[{_SSH_KEY}]"))
    if kind == "kubernetes.io/basic-auth" and not data.keys() & set(_LOGIN):
        errors += [required(f"data[{key}]") for key in _LOGIN]
    errors += [e for key in _JSON_KEYS.get(kind, ()) if key in data for e in _json(data[key], f"data[{key}]")]
    if kind == "kubernetes.io/service-account-token":
        annotations = obj["metadata"].get("annotations") or {}
        if not annotations.get("kubernetes.io/service-account.name"):
            errors.append(required("metadata.annotations[kubernetes.io/service-account.name]"))
    return errors


def _json(value: str, path: str) -> list[FieldError]:
    """What should be a JSON object, or null; its text is nobody's business."""
    try:
        decoding.loads(base64.b64decode(value), decoding.MAP)
    except ValueError as error:
        return [invalid(path, "<secret contents redacted>", str(error))]
    return []


def _unchanged(obj: Json, old: Json) -> list[FieldError]:
    return meta.immutable("type", obj.get("type"), old.get("type")) + meta.sealed(obj, old, "data")


def role(obj: Json, old: Json | None) -> list[FieldError]:
    """rbac/v1 Role: rules about resources of its namespace."""
    del old
    return _rules(obj, namespaced=True)


def cluster_role(obj: Json, old: Json | None) -> list[FieldError]:
    """rbac/v1 ClusterRole: rules about resources and paths, or which roles it is made of."""
    del old
    errors, combined = _rules(obj, namespaced=False), obj.get("aggregationRule")
    if combined is None:
        return errors
    path, given = "aggregationRule.clusterRoleSelectors", combined.get("clusterRoleSelectors") or []
    if not given:
        why = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        return [*errors, required(path, why)]
    for i, one in enumerate(given):
        problems = label_selector(one, f"{path}[{i}]")
        errors += [*problems, invalid(f"{path}[{i}]", None, "invalid label selector.")] if problems else []
    return errors


def _rules(obj: Json, *, namespaced: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, rule in enumerate(obj.get("rules") or ()):
        path = f"rules[{i}]"
        if not rule.get("verbs"):
            errors.append(required(f"{path}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            if namespaced:
                why = "namespaced rules cannot apply to non-resource URLs"
                errors.append(invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], why))
            if any(rule.get(one) for one in ("apiGroups", "resources", "resourceNames")):
                why = "rules cannot apply to both regular resources and non-resource URLs"
                errors.append(invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], why))
            continue
        if not rule.get("apiGroups"):
            errors.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            errors.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return errors


def binding(obj: Json, old: Json | None) -> list[FieldError]:
    """rbac/v1 RoleBinding and ClusterRoleBinding: its role is given once."""
    ref = obj.get("roleRef") or {}
    namespaced = obj.get("kind") == "RoleBinding" or bool(obj["metadata"].get("namespace"))
    errors: list[FieldError] = []
    if ref.get("apiGroup") != _RBAC:
        errors.append(not_supported("roleRef.apiGroup", ref.get("apiGroup") or "", (_RBAC,)))
    allowed = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    if ref.get("kind") not in allowed:
        errors.append(not_supported("roleRef.kind", ref.get("kind") or "", allowed))
    if not ref.get("name"):
        errors.append(required("roleRef.name"))
    else:
        errors += all_invalid("roleRef.name", ref["name"], names.path_segment(ref["name"]))
    for i, subject in enumerate(obj.get("subjects") or ()):
        errors += _subject(subject, f"subjects[{i}]", namespaced=namespaced)
    if old is not None and ref != old.get("roleRef"):
        shown = go_struct(ref, APIGroup=("apiGroup", ""), Kind=("kind", ""), Name=("name", ""))
        errors.append(invalid("roleRef", shown, "cannot change roleRef"))
    return errors


def _subject(subject: Json, path: str, *, namespaced: bool) -> list[FieldError]:
    kind, group = subject.get("kind"), subject.get("apiGroup") or ""
    errors = [] if subject.get("name") else [required(f"{path}.name")]
    if kind == "ServiceAccount":
        if subject.get("name"):
            errors += all_invalid(f"{path}.name", subject["name"], names.dns_subdomain(subject["name"]))
        if group:
            errors.append(not_supported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            errors.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != _RBAC:
            errors.append(not_supported(f"{path}.apiGroup", group, (_RBAC,)))
    else:
        errors.append(not_supported(f"{path}.kind", kind or "", ("ServiceAccount", "User", "Group")))
    return errors


def revision(obj: Json, old: Json | None) -> list[FieldError]:
    """apps/v1 ControllerRevision: its data is given once, its number is not negative."""
    errors, data = meta.not_negative(obj, "revision", path=""), obj.get("data")
    if old is not None:
        return errors + meta.immutable("data", data, old.get("data"))
    if data is None:
        return [*errors, required("data", "data is mandatory")]
    return errors if isinstance(data, dict) else [*errors, required("data", "data must be a valid JSON object")]

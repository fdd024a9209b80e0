"""What access reviews may ask, and how their selectors are read. Source: authorization/v1 of Kubernetes 1.36."""

from typing import Any

from netplane.api import selectors
from netplane.api.errors import StatusError
from netplane.api.fields import FieldError, forbidden, go_struct, invalid, required
from netplane.api.validation import selecting

Json = dict[str, Any]

_ATTRIBUTES = "spec.resourceAttributes"
_OTHER = "spec.nonResourceAttributes"
_LISTED, _EXISTING = ("In", "NotIn"), ("Exists", "DoesNotExist")


def about_me(spec: Json) -> list[FieldError]:
    """spec of a SelfSubjectAccessReview: one question."""
    return _question(spec) + _selectors(spec)


def about(spec: Json) -> list[FieldError]:
    """spec of a SubjectAccessReview: one question, about somebody."""
    errors = _question(spec)
    if not spec.get("user") and not spec.get("groups"):
        errors.append(invalid("spec.user", "", "at least one of user or group must be specified"))
    return errors + _selectors(spec)


def local(spec: Json, namespace: str) -> list[FieldError]:
    """What a LocalSubjectAccessReview asks beside: about resources of its namespace."""
    errors: list[FieldError] = []
    inside = spec.get("resourceAttributes")
    if inside is not None and (inside.get("namespace") or "") != namespace:
        why = "must match metadata.namespace"
        errors.append(invalid(f"{_ATTRIBUTES}.namespace", inside.get("namespace") or "", why))
    if spec.get("nonResourceAttributes") is not None:
        errors.append(invalid(_OTHER, _path(spec), "disallowed on this kind of request"))
    return errors


def no_metadata(metadata: Json, *, namespaced: bool) -> list[FieldError]:
    """A review is no object: it has no metadata, but perhaps a namespace and who wrote it."""
    namespace = {"namespace"} if namespaced else set()
    if not metadata.keys() - {"managedFields"} - namespace:
        return []
    shown = {name: metadata[name] for name in _METADATA if name in metadata}
    return [invalid("metadata", shown, "must be empty except for namespace" if namespaced else "must be empty")]


_METADATA = (
    "name", "generateName", "namespace", "resourceVersion", "generation", "labels", "annotations", "ownerReferences",
    "finalizers", "managedFields",
)  # fmt: skip


def _question(spec: Json) -> list[FieldError]:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        return [invalid(_OTHER, _path(spec), "cannot be specified in combination with resourceAttributes")]
    if resource is None and path is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [invalid(_ATTRIBUTES, None, why)]
    return []


def _path(spec: Json) -> Json:
    return go_struct(spec["nonResourceAttributes"], Path=("path", ""), Verb=("verb", ""))


def _selectors(spec: Json) -> list[FieldError]:
    resource = spec.get("resourceAttributes") or {}
    errors: list[FieldError] = []
    for name, check in (("fieldSelector", _field), ("labelSelector", _label)):
        selector, path = resource.get(name), f"{_ATTRIBUTES}.{name}"
        if selector is None:
            continue
        raw, terms = selector.get("rawSelector"), selector.get("requirements") or []
        if raw and terms:
            errors.append(invalid(f"{path}.rawSelector", raw, "may not specified at the same time as requirements"))
        if not raw and not terms:
            why = f"when {path} is specified, requirements or rawSelector is required"
            errors.append(required(f"{path}.requirements", why))
        for i, one in enumerate(terms):
            errors += check(one, f"{path}.requirements[{i}]")
    return errors


def _field(one: Json, path: str) -> list[FieldError]:
    operator, values = one.get("operator"), one.get("values")
    errors = [] if one.get("key") else [required(f"{path}.key", "must be specified")]
    if operator in _LISTED and not values:
        errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    if operator in _EXISTING and values:
        why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        errors.append(forbidden(f"{path}.values", why))
    return errors


def _label(one: Json, path: str) -> list[FieldError]:
    return selecting.requirement(one, path, any_operator=True)


def unread(resource: Json) -> str:
    """What of a question's selectors cannot be understood and is left out, as status.evaluationError says it."""
    told = []
    for name, good in (("fieldSelector", _good_field), ("labelSelector", _good_label)):
        selector = resource.get(name) or {}
        terms = selector.get("requirements") or []
        kept = sum(good(one) for one in terms)
        raw = selector.get("rawSelector")
        if kept < len(terms) or (raw and not _parses(name, raw)):
            told.append(f"{_ATTRIBUTES}.{name} {'partially ' if kept else ''}ignored due to parse error")
    return "; ".join(told)


def _good_field(one: Json) -> bool:
    return one.get("operator") in _LISTED and len(one.get("values") or ()) == 1


def _good_label(one: Json) -> bool:
    return one.get("operator") in _LISTED + _EXISTING


def _parses(name: str, raw: str) -> bool:
    parse = selectors.parse_fields if name == "fieldSelector" else selectors.parse_labels
    try:
        parse(raw)
    except StatusError:
        return False
    return True


def fields_asked(resource: Json) -> str:
    """The field selector of a list or watch that is asked about, as a request would carry it."""
    given = resource.get("fieldSelector") or {}
    if given.get("rawSelector"):
        return str(given["rawSelector"])
    equal = [one for one in given.get("requirements") or () if one.get("operator") == "In" and _good_field(one)]
    return ",".join(f"{one['key']}={one['values'][0]}" for one in equal)

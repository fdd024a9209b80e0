"""Selectors of labels and of nodes. Source: meta/v1 and core/v1 validation of Kubernetes 1.36."""

from collections.abc import Callable
from typing import Any

from netplane.api import names
from netplane.api.fields import FieldError, all_invalid, forbidden, invalid, required
from netplane.api.validation import meta

Json = dict[str, Any]

_NOT_AN_OPERATOR = "not a valid selector operator"
_NEEDS_VALUES = "must be specified when `operator` is 'In' or 'NotIn'"
_NO_VALUES = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
_ONE_VALUE = "must be specified single value when `operator` is 'Lt' or 'Gt'"


def label_selector(selector: Json | None, path: str) -> list[FieldError]:
    """A LabelSelector; absent is fine."""
    selector = selector or {}
    errors = meta.labels(selector.get("matchLabels"), f"{path}.matchLabels")
    for i, one in enumerate(selector.get("matchExpressions") or ()):
        errors += requirement(one, f"{path}.matchExpressions[{i}]")
    return errors


def requirement(
    one: Json, path: str, *, compares: bool = False, any_value: bool = False, any_operator: bool = False
) -> list[FieldError]:
    """One term of a selector; `compares`: by Gt and Lt too, as nodes are."""
    operator, values, key = one.get("operator") or "", one.get("values") or [], one.get("key") or ""
    errors: list[FieldError] = []
    if operator in ("In", "NotIn"):
        errors += [] if values else [required(f"{path}.values", _NEEDS_VALUES)]
    elif operator in ("Exists", "DoesNotExist"):
        errors += [forbidden(f"{path}.values", _NO_VALUES)] if values else []
    elif compares and operator in ("Gt", "Lt"):
        errors += [] if len(values) == 1 else [required(f"{path}.values", _ONE_VALUE)]
    elif not any_operator:
        errors.append(invalid(f"{path}.operator", operator, _NOT_AN_OPERATOR))
    errors += all_invalid(f"{path}.key", key, names.qualified_name(key))
    if any_value:
        return errors
    return errors + _values(values, path, names.label_value)


def node_selector(selector: Json, path: str) -> list[FieldError]:
    """Which nodes will do: one term at least."""
    terms = selector.get("nodeSelectorTerms") or []
    if not terms:
        return [required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    return [e for i, term in enumerate(terms) for e in node_selector_term(term, f"{path}.nodeSelectorTerms[{i}]")]


def node_selector_term(term: Json, path: str, *, any_value: bool = False) -> list[FieldError]:
    """Requirements about a node's labels and fields; `any_value`: also values that no label can have."""
    errors: list[FieldError] = []
    for i, one in enumerate(term.get("matchExpressions") or ()):
        errors += requirement(one, f"{path}.matchExpressions[{i}]", compares=True, any_value=any_value)
    for i, one in enumerate(term.get("matchFields") or ()):
        errors += _node_field(one, f"{path}.matchFields[{i}]")
    return errors


def _node_field(one: Json, path: str) -> list[FieldError]:
    values, key, operator = one.get("values") or [], one.get("key") or "", one.get("operator") or ""
    errors: list[FieldError] = []
    if operator not in ("In", "NotIn"):
        errors.append(invalid(f"{path}.operator", operator, _NOT_AN_OPERATOR))
    elif len(values) != 1:
        why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.append(required(f"{path}.values", why))
    if key != "metadata.name":
        return [*errors, invalid(f"{path}.key", key, "not a valid field selector key")]
    return errors + _values(values, path, names.dns_subdomain)


def _values(values: list[str], path: str, check: Callable[[str], list[str]]) -> list[FieldError]:
    return [error for i, one in enumerate(values) for error in all_invalid(f"{path}.values[{i}]", one, check(one))]

"""Event, in its two forms: what core/v1 has always taken, and what events.k8s.io/v1 asks for.

Both look at the stored form, whose fields are those of core/v1. Source: core/v1 validation of Kubernetes 1.36.
"""

from typing import Any

from netplane.api import names, prints
from netplane.api.fields import FieldError, all_invalid, invalid, required
from netplane.api.validation import meta

Json = dict[str, Any]

_SYSTEM = frozenset({"default", "kube-system"})
_MOST = {"reportingInstance": 128, "action": 128, "reason": 128, "message": 1024}
_UNSET = ("firstTimestamp", "lastTimestamp", "count", "source")
_FIXED = (
    "involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "reason", "type",
    "eventTime", "action", "related", "reportingController", "reportingInstance",
)  # fmt: skip
_TYPES = {"involvedObject": "ObjectReference", "related": "ObjectReference", "source": "EventSource"}


def core_event(obj: Json, old: Json | None) -> list[FieldError]:
    """core/v1 Event. Of a new one the metadata is looked at last, and its name may be anything a path can hold."""
    errors = _any(obj, "reportingComponent")
    return errors if errors or old is not None else meta.create(obj["metadata"], True, meta.segment)


def event(obj: Json, old: Json | None) -> list[FieldError]:
    """events.k8s.io/v1 Event: nothing of the old form, and nothing but its series changes."""
    errors = _any(obj, "reportingController")
    if old is not None:
        errors += _series(obj) if obj.get("series") != old.get("series") else []
        return errors + [problem for field in _FIXED for problem in _fixed(field, obj, old)]
    errors += meta.create(obj["metadata"], True, meta.subdomain) + _series(obj)
    errors += [] if obj.get("eventTime") else [required("eventTime")]
    if obj.get("type") not in ("Normal", "Warning"):
        errors.append(invalid("type", "", f"has invalid value: {obj.get('type') or ''}"))
    return errors + [invalid(field, "", "needs to be unset") for field in _UNSET if obj.get(field)]


def _any(obj: Json, reporter: str) -> list[FieldError]:
    """An event lives where the object it is about does; one with an eventTime says who reports what.

    `reporter` is what the form calls the reporting controller.
    """
    about, namespace = obj.get("involvedObject") or {}, obj["metadata"].get("namespace") or ""
    of = about.get("namespace") or ""
    new = bool(obj.get("eventTime"))
    elsewhere = not of and namespace not in _SYSTEM if new else namespace != of and (of or namespace != "default")
    errors: list[FieldError] = []
    if elsewhere:
        errors.append(invalid("involvedObject.namespace", of, "does not match event.namespace"))
    errors += _reported(obj, reporter) if new else []
    return errors + all_invalid("namespace", namespace, names.dns_subdomain(namespace))


def _reported(obj: Json, reporter: str) -> list[FieldError]:
    controller = obj.get("reportingComponent") or ""
    errors = [] if controller else [required(reporter)]
    errors += all_invalid(reporter, controller, names.qualified_name(controller))
    for field, most in _MOST.items():
        given = obj.get(field) or ""
        errors += [required(field)] if not given and field != "message" else []
        if len(given.encode()) > most:
            errors.append(invalid(field, "", f"can have at most {most} characters"))
    return errors


def _series(obj: Json) -> list[FieldError]:
    given = obj.get("series")
    if given is None:
        return []
    errors = [invalid("series.count", "", "should be at least 2")] if (given.get("count") or 0) < 2 else []
    return errors + ([] if given.get("lastObservedTime") else [required("series.lastObservedTime")])


def _fixed(field: str, obj: Json, old: Json) -> list[FieldError]:
    key = "reportingComponent" if field == "reportingController" else field
    now, was = obj.get(key), old.get(key)
    if (now or None) == (was or None):
        return []
    empty: Any = 0 if field == "count" else None if field == "related" or "Time" in field else ""
    shown = (
        prints.internal(_TYPES[field], now or {})
        if field in _TYPES and (now is not None or field != "related")
        else now
    )
    return [invalid(field, empty if shown is None else shown, meta.IMMUTABLE)]

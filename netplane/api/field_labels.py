"""Which fields a field selector may name for each kind, and how they are read from an object.

Source: the field label conversions and selectable fields of Kubernetes 1.36. A kind that is not listed has
metadata.name and metadata.namespace.
"""

from collections.abc import Mapping
from typing import Any

from netplane.api.errors import bad_request
from netplane.api.kinds import Kind
from netplane.api.selectors import Fields

_METADATA = ("metadata.name", "metadata.namespace")
_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EXTRA: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "Service"): ("spec.clusterIP", "spec.type"),
    ("", "Pod"): (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
        "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
    ),
    ("", "Node"): ("spec.unschedulable",),
    ("", "Namespace"): ("status.phase",),
    ("", "Secret"): ("type",),
    ("", "Event"): (
        *(f"involvedObject.{part}" for part in _INVOLVED),
        "reason", "reportingComponent", "source", "type",
    ),
    ("events.k8s.io", "Event"): (
        *(f"regarding.{part}" for part in _INVOLVED),
        "reason", "reportingController", "type",
    ),
    ("", "ReplicationController"): ("status.replicas",),
    ("resource.k8s.io", "ResourceSlice"): ("spec.nodeName", "spec.driver"),
    ("batch", "Job"): ("status.successful",),
}  # fmt: skip


def supported(kind: Kind) -> tuple[str, ...]:
    """The fields that a selector may name."""
    named = ("metadata.name",) if (kind.group, kind.kind) in _NO_NAMESPACE else _METADATA
    return named + _EXTRA.get((kind.group, kind.kind), ())


_NO_NAMESPACE = frozenset({("", "Node"), ("", "Namespace")})


def check(kind: Kind, selector: Fields) -> None:
    """Refuse a selector that names another field. Raises StatusError (400)."""
    for field, _, _ in selector.terms:
        if field not in supported(kind):
            if (kind.group, kind.kind) in _EXTRA:
                which = f" for {kind.api_version}, Kind={kind.kind}" if kind.group == "resource.k8s.io" else ""
                raise bad_request(f"field label not supported{which}: {field}")
            only = ", ".join(f'"{name}"' for name in _METADATA)
            raise bad_request(f'"{field}" is not a known field selector: only {only}')


def matches(kind: Kind, selector: Fields, obj: Mapping[str, Any]) -> bool:
    """Whether an object has the fields that a (checked) selector asks for."""
    return all((read(kind, obj, field) == value) is equal for field, equal, value in selector.terms)


def read(kind: Kind, obj: Mapping[str, Any], field: str) -> str:
    """One selectable field as a string; false and 0 where it is absent and not a string."""
    if kind.kind == "Event" and field == "source":
        return str(_dig(obj, "source.component") or obj.get("reportingComponent") or "")
    if kind.stored_in is not None:  # objects come as they are stored
        head, dot, rest = field.partition(".")
        field = _AS_STORED.get(head, head) + dot + rest
    if field == "name":
        field = "metadata.name"
    value = _dig(obj, field)
    if field in ("spec.unschedulable", "spec.hostNetwork"):
        return "true" if value else "false"
    if field == "status.podIPs":
        return ""  # a name that may be asked for, and says nothing
    if field in ("status.replicas", "status.successful"):
        return str(value or 0)
    return "" if value is None else str(value)


_AS_STORED = {"regarding": "involvedObject", "reportingController": "reportingComponent"}


def _dig(obj: Any, path: str) -> Any:
    for part in path.split("."):
        obj = obj.get(part) if isinstance(obj, Mapping) else None
    return obj

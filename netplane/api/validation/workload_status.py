"""The status of what runs pods: counts that fit each other. Source: apps/v1 validation of Kubernetes 1.36."""

from typing import Any

from netplane.api.fields import FieldError, invalid
from netplane.api.validation import meta

Json = dict[str, Any]

_REPLICAS = ("updatedReplicas", "readyReplicas", "availableReplicas")
_WHOLE = "cannot be greater than status.replicas"


def _counts(status: Json, fields: tuple[str, ...], parts: tuple[str, ...], ready: str) -> list[FieldError]:
    """Counts of pods: none negative, no part greater than the whole; `ready` is what messages call readyReplicas."""
    errors = meta.not_negative(status, *fields, path="status")
    whole = status.get("replicas") or 0
    given = [(one, status.get(one) or 0) for one in parts]
    errors += [invalid(f"status.{one}", count, _WHOLE) for one, count in given if count > whole]
    available = status.get("availableReplicas") or 0
    if available > (status.get("readyReplicas") or 0):
        errors.append(invalid("status.availableReplicas", available, f"cannot be greater than {ready}"))
    return errors


def _collisions(obj: Json, old: Json | None) -> list[FieldError]:
    before, now = (((each or {}).get("status") or {}).get("collisionCount") for each in (old, obj))
    decremented = before is not None and (now is None or now < before)
    return [invalid("status.collisionCount", now or 0, "cannot be decremented")] if decremented else []


def deployment(obj: Json, old: Json | None) -> list[FieldError]:
    """The status of a Deployment."""
    fields = ("observedGeneration", "replicas", *_REPLICAS, "unavailableReplicas", "terminatingReplicas")
    errors = _counts(obj.get("status") or {}, (*fields, "collisionCount"), _REPLICAS, "readyReplicas")
    return errors + _collisions(obj, old)


def replica_set(obj: Json, old: Json | None) -> list[FieldError]:
    """The status of a ReplicaSet or ReplicationController."""
    del old
    parts = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    fields = ("replicas", *parts, "observedGeneration", "terminatingReplicas")
    return _counts(obj.get("status") or {}, fields, parts, "readyReplicas")


def stateful_set(obj: Json, old: Json | None) -> list[FieldError]:
    """The status of a StatefulSet."""
    parts = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    fields = ("replicas", *parts, "observedGeneration", "collisionCount")
    return _counts(obj.get("status") or {}, fields, parts, "status.readyReplicas") + _collisions(obj, old)


def daemon_set(obj: Json, old: Json | None) -> list[FieldError]:
    """The status of a DaemonSet."""
    fields = (
        "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "observedGeneration",
        "updatedNumberScheduled", "numberAvailable", "numberUnavailable", "collisionCount",
    )  # fmt: skip
    return meta.not_negative(obj.get("status") or {}, *fields, path="status") + _collisions(obj, old)

"""Conditions in a status that the server itself writes."""

from typing import Any

from netplane.apiserver import cluster as cl

Json = dict[str, Any]


def tell(status: Json, condition: Json) -> None:
    """Put a condition in the place of the one of its type, or at the end; its time is when its status changed."""
    conditions = status.setdefault("conditions", [])
    at = next((i for i, one in enumerate(conditions) if one.get("type") == condition["type"]), len(conditions))
    old: Json = conditions[at] if at < len(conditions) else {}
    same = old.get("status") == condition["status"]
    since = old.get("lastTransitionTime") if same else cl.stamp()
    conditions[at : at + 1] = [{**condition, "lastTransitionTime": since}]

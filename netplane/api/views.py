"""One stored object, served in two API groups: events.k8s.io/v1 Event is core/v1 Event under other names (pure).

`shown` turns the stored form into the form of a kind that is stored in another group, `stored` the other way.
Source: the conversions of events.k8s.io/v1 in Kubernetes 1.36.
"""

from typing import Any

Json = dict[str, Any]

# core/v1 → events.k8s.io/v1
_EVENT = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_EVENT_BACK = {new: old for old, new in _EVENT.items()}
_NOT_WHEN_EMPTY = frozenset({"reportingController", "reportingInstance"})


def shown(obj: Json) -> Json:
    """A stored core/v1 Event as events.k8s.io/v1 has it."""
    out = {_EVENT.get(key, key): value for key, value in obj.items()}
    return {key: value for key, value in out.items() if value != "" or key not in _NOT_WHEN_EMPTY}


def stored(obj: Json) -> Json:
    """An events.k8s.io/v1 Event as it is stored; kind and version are core/v1's."""
    out = {_EVENT_BACK.get(key, key): value for key, value in obj.items()}
    return {**out, "kind": "Event", "apiVersion": "v1"}

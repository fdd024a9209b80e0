"""Events: what happened to an object."""

from netplane.api.objects.meta import Object, ObjectReference, Struct


class EventSource(Struct, frozen=True, kw_only=True):
    """source of an Event."""

    component: str = ""
    host: str = ""


class Event(Object, frozen=True, kw_only=True):
    """core/v1 Event. Times are RFC 3339; `type` is Normal or Warning."""

    involved_object: ObjectReference = ObjectReference()
    reason: str = ""
    message: str = ""
    type: str = ""
    count: int = 0
    source: EventSource | None = None
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    reporting_component: str = ""
    reporting_instance: str = ""

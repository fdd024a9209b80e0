"""Writes as values: what a plan returns and the runtime performs. `str()` is one line for a log."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from netplane.api import objects


class Create(msgspec.Struct, frozen=True):
    """A new object."""

    obj: objects.Object

    def __str__(self) -> str:
        meta = self.obj.metadata
        return f"create {_kind(type(self.obj))} {meta.namespace}/{meta.name or meta.generate_name}"


class Replace(msgspec.Struct, frozen=True):
    """A new state of an object, refused when it is no longer the one that was read."""

    obj: objects.Object

    def __str__(self) -> str:
        return f"replace {_kind(type(self.obj))} {self.obj.key}"


class Patch(msgspec.Struct, frozen=True):
    """Some fields of an object that others write too; a strategic merge patch unless said otherwise."""

    cls: type[objects.Object]
    namespace: str
    name: str
    patch: Mapping[str, Any]
    subresource: str = ""
    kind: Literal["merge", "strategic"] = "strategic"

    def __str__(self) -> str:
        what = f"{_kind(self.cls)}{'/' if self.subresource else ''}{self.subresource}"
        return f"patch {what} {self.namespace}/{self.name}".replace(" /", " ")


class Delete(msgspec.Struct, frozen=True):
    """One object less. Grace period 0 removes a pod without its node's word."""

    cls: type[objects.Object]
    namespace: str
    name: str
    grace_period_s: int | None = None

    def __str__(self) -> str:
        return f"delete {_kind(self.cls)} {self.namespace}/{self.name}"


class Bind(msgspec.Struct, frozen=True):
    """Give a pod its node."""

    namespace: str
    name: str
    node: str

    def __str__(self) -> str:
        return f"bind {self.namespace}/{self.name} to {self.node}"


Write = Create | Replace | Patch | Delete | Bind


class Plan(NamedTuple):
    """What to do now, and after how many seconds to look at this key again (None: when something changes).

    `note` is a remark for the log; `remember` is what the next plan of this key finds in `World.memory` once all of
    the writes are done (None: what it found this time; with `forget`: nothing). `reserve` is what the writes give to
    the key, noted before they begin: a write whose answer is lost may have been done.
    """

    writes: tuple[Write, ...] = ()
    again_s: float | None = None
    note: str = ""
    remember: Any = None
    forget: bool = False
    reserve: tuple[str, ...] = ()


NOTHING = Plan()


def event(obj: objects.Object, reason: str, message: str, *, now: str, kind: str = "Warning", by: str) -> Create:
    """An Event about an object. Events of cluster-scoped objects live in `default`."""
    meta = obj.metadata
    about = objects.ObjectReference(
        api_version=objects.KIND_OF[type(obj)].api_version,
        kind=_kind(type(obj)),
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
    )
    return Create(
        objects.Event(
            metadata=objects.ObjectMeta(generate_name=f"{meta.name}-", namespace=meta.namespace or "default"),
            involved_object=about,
            reason=reason,
            message=message,
            type=kind,
            count=1,
            source=objects.EventSource(component=by),
            first_timestamp=now,
            last_timestamp=now,
            reporting_component=by,
        )
    )


def is_event(write: Write) -> bool:
    """Whether the write only tells people something."""
    return isinstance(write, Create) and isinstance(write.obj, objects.Event)


def _kind(cls: type[objects.Object]) -> str:
    return objects.KIND_OF[cls].kind

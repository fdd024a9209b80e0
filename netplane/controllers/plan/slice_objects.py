"""EndpointSlice objects from drafts, and the writes that bring them about: shared by all that manage slices.

A slice to delete and one to create make one update. A family without any endpoint keeps one empty slice, so that
readers can tell "no endpoints" from "not known yet".
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from netplane.api.objects import Endpoint, EndpointSlice, ObjectMeta, OwnerReference
from netplane.controllers.plan.packing import Draft, EndpointKey, Ports, port_key
from netplane.controllers.plan.writes import Create, Delete, Replace, Write

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


class Template(NamedTuple):
    """What all slices of a family of a Service have in common. `trigger` is a time as the API writes it, or "".

    `going`: the owner is being deleted, and nothing that would outlive it is made. `annotations` are all that a slice
    has but for the trigger (None: what it has stays). `placeholder`: whether an empty slice stands for no endpoints.
    """

    namespace: str
    name: str
    owner: OwnerReference
    labels: Mapping[str, str]
    family: str
    annotations: Mapping[str, str] | None = None
    trigger: str = ""
    going: bool = False
    placeholder: bool = True

    def render(
        self, ports: Ports, endpoints: Mapping[EndpointKey, Endpoint], old: EndpointSlice | None = None
    ) -> EndpointSlice:
        """A new slice, or the next state of an old one."""
        meta = old.metadata if old is not None else self._meta()
        kept = (meta.annotations or {}) if self.annotations is None else self.annotations
        annotations = {name: value for name, value in kept.items() if name != TRIGGER_TIME}
        if self.trigger:
            annotations[TRIGGER_TIME] = self.trigger
        return EndpointSlice(
            metadata=msgspec.structs.replace(meta, labels=dict(self.labels), annotations=annotations or None),
            address_type=self.family,
            endpoints=list(endpoints.values()),
            ports=list(ports),
        )

    def _meta(self) -> ObjectMeta:
        return ObjectMeta(generate_name=f"{self.name}-", namespace=self.namespace, owner_references=[self.owner])


def owner_of(kind: str, meta: ObjectMeta) -> OwnerReference:
    """A reference to the controlling owner."""
    return OwnerReference(
        api_version="v1", kind=kind, name=meta.name, uid=meta.uid, controller=True, block_owner_deletion=True
    )


def is_owned(one: EndpointSlice, uid: str) -> bool:
    """Whether this very object controls the slice, not an earlier one of its name."""
    return any(owner.controller and owner.uid == uid for owner in one.metadata.owner_references or ())


def writes(
    template: Template, drafts: Iterable[tuple[Ports, Draft]], strangers: Iterable[EndpointSlice]
) -> list[Write]:
    """From drafts to writes. Strangers are slices of the same place that nobody keeps."""
    every = list(drafts)
    kept = [(ports, draft) for ports, draft in every if draft.endpoints]
    new = [template.render(ports, draft.endpoints) for ports, draft in kept if draft.old is None]
    empty = [draft.old for _, draft in every if draft.old is not None and not draft.endpoints]
    if not kept and template.placeholder:
        placeholder = template.render((), {})
        if len(empty) == 1 and same(empty[0], placeholder):
            empty = []
        else:
            new = [placeholder]
    changed = [
        template.render(ports, draft.endpoints, draft.old)
        for ports, draft in kept
        if draft.old is not None and draft.touched
    ]
    return finish(new, changed, empty, going=template.going) + [delete(one) for one in strangers]


def finish(
    new: Iterable[EndpointSlice], changed: Iterable[EndpointSlice], gone: Iterable[EndpointSlice], *, going: bool
) -> list[Write]:
    """Writes; what goes is used again for what comes, if it is of the same family. No new ones when `going`."""
    spare = list(gone)
    done: list[Write] = [Replace(one) for one in changed]
    for one in new:
        again = next((old for old in spare if old.address_type == one.address_type), None)
        if again is not None:
            spare.remove(again)
            meta = msgspec.structs.replace(
                again.metadata, labels=one.metadata.labels, annotations=one.metadata.annotations
            )
            done.append(Replace(msgspec.structs.replace(one, metadata=meta)))
        elif not going:
            done.append(Create(one))
    return done + [delete(one) for one in spare]


def same(one: EndpointSlice, placeholder: EndpointSlice) -> bool:
    """Whether it is that placeholder already, but for its name and times."""
    return (
        (one.metadata.labels or {}) == (placeholder.metadata.labels or {})
        and one.address_type == placeholder.address_type
        and not one.endpoints
        and not placeholder.endpoints
        and port_key(one.ports or ()) == port_key(placeholder.ports or ())
    )


def delete(one: EndpointSlice) -> Delete:
    """One slice less."""
    return Delete(EndpointSlice, one.metadata.namespace, one.metadata.name)


def in_order(done: Iterable[Write]) -> tuple[Write, ...]:
    """Endpoints appear in their new slice before they leave their old one."""
    return tuple(sorted(done, key=lambda write: isinstance(write, Delete)))

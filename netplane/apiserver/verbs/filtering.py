"""Label and field selectors of a list or watch, put together (pure).

Decoding 10,000 objects to find one takes 30 ms, searching their bytes 3: stored objects are encoded without spaces, and
labels need no escapes, so a label that is there shows as `"key":"value"`, and so does a field of text. What is not
there settles most requirements.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from netplane.api import field_labels, selectors
from netplane.api.kinds import Kind
from netplane.apiserver.wire.options import ListOptions
from netplane.store.protocol import KV

Json = dict[str, Any]


class Glance(NamedTuple):
    """Bytes that a label would show as, and whether a requirement holds where they are not."""

    needle: bytes
    without: bool


class Filter(NamedTuple):
    """Which objects a client wants. Without selectors it wants all, and nothing needs decoding.

    `name` is the one name that the field selector allows, "" when it does not say so.
    """

    kind: Kind
    labels: selectors.Labels | None = None
    fields: selectors.Fields | None = None
    name: str = ""
    glances: tuple[Glance, ...] = ()

    @property
    def all(self) -> bool:
        """Whether nothing is left out."""
        return self.labels is None and self.fields is None

    def wants(self, value: bytes) -> bool:
        """Whether the client wants the object of a stored value."""
        found = self.glance(value)
        return self.matches(orjson.loads(value)) if found is None else found

    def glance(self, value: bytes) -> bool | None:
        """The same, as far as it shows without decoding; None where it does not."""
        sure = self.fields is None
        for needle, without in self.glances:
            if needle in value:
                sure = False
            elif not without:
                return False
        return True if sure else None

    def perhaps(self, kvs: list[KV]) -> list[KV]:
        """Those of stored values that the client may want: of 10,000 nearly always a few."""
        for needle, without in self.glances:
            if not without:
                kvs = [kv for kv in kvs if needle in kv.value]
        return kvs

    def matches(self, obj: Json) -> bool:
        """Whether the client wants this object."""
        if self.labels is not None and not self.labels.matches(obj["metadata"].get("labels")):
            return False
        return self.fields is None or field_labels.matches(self.kind, self.fields, obj)


def of(kind: Kind, options: ListOptions, name: str = "") -> Filter:
    """The filter that options ask for. `name` is that of a single object on a watch path. Raises StatusError 400."""
    if not (options.labels or options.fields or name):
        return Filter(kind)
    labels = selectors.parse_labels(options.labels) if options.labels else None
    texts = [options.fields] if options.fields else []
    texts += [f"metadata.name={name}"] if name else []
    glances = tuple(_glances(labels)) if labels is not None else ()
    if not texts:
        return Filter(kind, labels, glances=glances)
    fields = selectors.parse_fields(",".join(texts))
    field_labels.check(kind, fields)
    glances += tuple(_field_glances(fields))
    return Filter(kind, labels, fields, fields.exact("metadata.name") or "", glances)


_OTHERWISE = frozenset({"source", "reportingController", "spec.hostNetwork", "spec.unschedulable", "status.podIPs"})
"""Fields that are not stored as a string under their own name."""


def _field_glances(fields: selectors.Fields) -> Iterator[Glance]:
    """A field that has a value shows as that value under its last name, whatever else does too."""
    for field, equal, value in fields.terms:
        if equal and value and field not in _OTHERWISE and not value.isdecimal():
            yield Glance(b'"%b":%b' % (field.rpartition(".")[2].encode(), orjson.dumps(value)), without=False)


def _glances(labels: selectors.Labels) -> Iterator[Glance]:
    for key, operator, values in labels.requirements:
        without = operator in ("!", "!=", "notin")
        exact = len(values) == 1 and operator in ("=", "in", "!=", "notin")
        yield Glance(f'"{key}":"{values[0]}"'.encode() if exact else f'"{key}":'.encode(), without)

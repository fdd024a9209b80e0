"""Label and field selectors of a list or watch, put together (pure)."""

from typing import Any, NamedTuple

from netplane.api import field_labels, selectors
from netplane.api.kinds import Kind
from netplane.apiserver.options import ListOptions

Json = dict[str, Any]


class Filter(NamedTuple):
    """Which objects a client wants. Without selectors it wants all, and nothing needs decoding.

    `name` is the one name that the field selector allows, "" when it does not say so.
    """

    kind: Kind
    labels: selectors.Labels | None = None
    fields: selectors.Fields | None = None
    name: str = ""

    @property
    def all(self) -> bool:
        """Whether nothing is left out."""
        return self.labels is None and self.fields is None

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
    if not texts:
        return Filter(kind, labels)
    fields = selectors.parse_fields(",".join(texts))
    field_labels.check(kind, fields)
    return Filter(kind, labels, fields, fields.exact("metadata.name") or "")

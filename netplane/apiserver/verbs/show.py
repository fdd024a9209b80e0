"""Stored values as answers: plain objects, tables or bare metadata; alone, in lists and in watches."""

import datetime
from collections.abc import Callable
from typing import Any

import orjson

from netplane.api import codec, errors, fields, table
from netplane.api.kinds import Kind
from netplane.api.managed import shape
from netplane.apiserver.wire.negotiate import Form
from netplane.store.protocol import KV

Json = dict[str, Any]
_LIST = "PartialObjectMetadataList"
_INCLUDED = frozenset({"", "None", "Metadata", "Object"})


class Shower:
    """How one client wants objects of one kind shown. `include` is includeObject of tables, `now` the clock.

    Raises StatusError 400 for an `include` that means nothing.
    """

    def __init__(self, kind: Kind, form: Form, include: str, now: Callable[[], datetime.datetime]) -> None:
        self.kind = kind
        self.form = form
        if form.is_table and include not in _INCLUDED:
            why = "must be 'Metadata', 'Object', 'None', or empty"
            problem = fields.invalid("includeObject", include, why)
            raise errors.bad_request(f"Unable to convert to Table as requested: {problem}")
        self.include = include or "Metadata"
        self.now = now

    def one(self, value: bytes, rev: int) -> bytes:
        """A single object. Raises StatusError 406."""
        if self.form is Form.OBJECT:
            return codec.object_bytes(self.kind, value, rev)
        if self.form.kind == _LIST:
            raise self._refused(f"not a list ({self._go_type})")
        obj = codec.decode(self.kind, value, rev)
        if self.form.is_table:
            return orjson.dumps(self._table([obj], {"resourceVersion": str(rev)}))
        return orjson.dumps(self._partial(obj["metadata"]))

    def many(self, kvs: list[KV], rev: int, token: str = "", remaining: int = 0) -> bytes:
        """A list read at `rev`. Raises StatusError 406."""
        if self.kind.stored_in is not None:
            kvs = [kv._replace(value=codec.viewed(kv.value)) for kv in kvs] if self.form is Form.OBJECT else kvs
        if self.form is Form.OBJECT:
            return codec.list_bytes(
                self.kind, [codec.item_bytes(kv.value, kv.mod_rev) for kv in kvs], rev, token, remaining
            )
        if self.form.kind == "PartialObjectMetadata":
            raise self._refused(f"a list ({self._go_type}List)")
        meta = codec.list_meta(rev, token, remaining)
        objects = [codec.decode(self.kind, kv.value, kv.mod_rev) for kv in kvs]
        if self.form.is_table:
            return orjson.dumps(self._table(objects, meta))
        items = [self._partial(obj["metadata"]) for obj in objects]
        return orjson.dumps({"kind": _LIST, "apiVersion": self.form.api_version, "metadata": meta, "items": items})

    def event(self, event_type: str, value: bytes, rev: int, *, first: bool) -> bytes:
        """One line of a watch; a table's columns go out with the first line only. No event is a list: nothing then."""
        if self.form.kind == _LIST:
            return b""
        if not self.form.is_table:
            return codec.event_bytes(event_type, self.one(value, rev))
        obj = codec.decode(self.kind, value, rev)
        document = self._table([obj], {"resourceVersion": str(rev)})
        if not first:
            document["columnDefinitions"] = None
        return codec.event_bytes(event_type, orjson.dumps(document))

    def bookmark(self, rev: int, *, initial_end: bool = False, first: bool = False) -> bytes:
        """A line that says how far a watch has come: an object in which nothing is set."""
        meta: Json = {"resourceVersion": str(rev)}
        if initial_end:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        if self.form.kind == _LIST:
            return b""
        blank = {name: None if value == [] else value for name, value in shape.empty(self.kind).items()}
        obj: Json = {"kind": self.kind.kind, "apiVersion": self.kind.api_version, **blank, "metadata": meta}
        if self.form.is_table:
            obj = self._table([obj], {"resourceVersion": str(rev)})
            if not first:
                obj["columnDefinitions"] = None
        elif self.form is not Form.OBJECT:
            obj = self._partial(meta)
        return codec.event_bytes("BOOKMARK", orjson.dumps(obj))

    def _table(self, objects: list[Json], meta: Json) -> Json:
        printer, now = table.printer(self.kind), self.now()
        rows = []
        for obj in objects:
            row: Json = {"cells": printer.cells(obj, now)}
            if conditions := printer.conditions(obj):
                row["conditions"] = conditions
            row["object"] = self._included(obj)
            rows.append(row)
        return {
            "kind": "Table",
            "apiVersion": self.form.api_version,
            "metadata": meta,
            "columnDefinitions": table.definitions(self.kind),
            "rows": rows,
        }

    def _included(self, obj: Json) -> Json | None:
        """What of an object goes along with its row."""
        if self.include == "Metadata":
            return self._partial(obj["metadata"])
        return obj if self.include == "Object" else None

    def _partial(self, metadata: Json) -> Json:
        """An object's metadata alone."""
        return {"kind": "PartialObjectMetadata", "apiVersion": self.form.api_version, "metadata": metadata}

    def _refused(self, what: str) -> errors.StatusError:
        why = f"you requested {self.form.kind}, but the requested object is {what}"
        return errors.StatusError(406, "NotAcceptable", why)

    @property
    def _go_type(self) -> str:
        """As the real server calls the kind in a refusal."""
        group = self.kind.group if self.kind.stored_in is None else self.kind.stored_in
        return f"*{group.partition('.')[0] or 'core'}.{self.kind.kind}"

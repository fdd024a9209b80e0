"""The state of the fake apiserver: objects as bytes, one revision per write, and the events since the last compaction.

It refuses what the real one refuses: a second object of a name, a stale resourceVersion, a watch from before the
compaction. It neither validates nor defaults.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from netplane.api import kinds, schema
from netplane.api import patch as patches
from netplane.api.errors import StatusError

Doc = dict[str, Any]
# Kinds whose status can only be written through the status subresource.
WITH_STATUS = {kind.plural for kind in kinds.KINDS if "status" in kind.subresources}
CREATED = "2026-01-01T00:00:00Z"


class Entry(NamedTuple):
    """One stored object: its JSON, its labels and namespace (for selecting without parsing), its revision."""

    body: bytes
    labels: Mapping[str, str]
    namespace: str
    revision: int


class Change(NamedTuple):
    """One event: `line` is the watch's line, without a newline. `before` is None for an addition."""

    revision: int
    type: str
    before: Entry | None
    entry: Entry
    line: bytes


Listener = Callable[[Change], None]


class FakeStore:
    """Collections by their path (`/api/v1/services`), each key → Entry."""

    def __init__(self) -> None:
        self.revision = 1
        self.compacted = 0
        self.collections: dict[str, dict[str, Entry]] = {}
        self.changes: dict[str, list[Change]] = {}
        self.listeners: dict[str, set[Listener]] = {}
        self._names = itertools.count(1)

    def load(self, kind: kinds.Kind, docs: Iterable[Doc]) -> int:
        """Many objects at once, without events: as if they had always been there. Returns how many."""
        collection = self.collections.setdefault(kind.path(), {})
        before = len(collection)
        for doc in docs:
            self.revision += 1
            entry = self._entry(kind, doc)
            collection[_key(doc)] = entry
        return len(collection) - before

    def put(self, kind: kinds.Kind, doc: Doc) -> Doc:
        """Create or overwrite, as an event. Returns what was stored."""
        collection = self.collections.setdefault(kind.path(), {})
        before = collection.get(_key(doc))
        self.revision += 1
        entry = self._entry(kind, doc)
        collection[_key(doc)] = entry
        self._publish(kind, "ADDED" if before is None else "MODIFIED", before, entry)
        return doc

    def remove(self, kind: kinds.Kind, key: str) -> None:
        """Delete, as an event that carries the last state at the new revision."""
        entry = self.collections.get(kind.path(), {}).pop(key, None)
        if entry is None:
            raise not_found(kind, key)
        self.revision += 1
        last = self._entry(kind, orjson.loads(entry.body))
        self._publish(kind, "DELETED", entry, last)

    def get(self, kind: kinds.Kind, key: str) -> Doc:
        """One object, parsed."""
        entry = self.collections.get(kind.path(), {}).get(key)
        if entry is None:
            raise not_found(kind, key)
        doc: Doc = orjson.loads(entry.body)
        return doc

    def create(self, kind: kinds.Kind, doc: Doc) -> Doc:
        """POST."""
        meta = doc.setdefault("metadata", {})
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = f"{meta['generateName']}{next(self._names):05d}"
        if _key(doc) in self.collections.get(kind.path(), {}):
            raise StatusError(409, "AlreadyExists", f'{kind.plural} "{meta["name"]}" already exists')
        meta.pop("resourceVersion", None)
        return self.put(kind, doc)

    def replace(self, kind: kinds.Kind, doc: Doc, subresource: str = "") -> Doc:
        """PUT: `Conflict` on a stale resourceVersion, no new revision when nothing changes."""
        old = self.get(kind, _key(doc))
        wanted = doc["metadata"].get("resourceVersion")
        if wanted and wanted != old["metadata"]["resourceVersion"]:
            raise StatusError(
                409, "Conflict", f'Operation cannot be fulfilled on {kind.plural} "{_key(doc)}": modified'
            )
        if subresource == "status":
            doc = {**old, "status": doc.get("status")}
        elif kind.plural in WITH_STATUS and "status" in old:
            doc = {**doc, "status": old["status"]}
        doc["metadata"] = {**doc["metadata"], **{k: old["metadata"][k] for k in ("resourceVersion", "uid")}}
        return old if doc == old else self.put(kind, doc)

    def patch(self, kind: kinds.Kind, key: str, patch: Doc, subresource: str = "", *, strategic: bool = False) -> Doc:
        """PATCH, as the real one patches: merge or strategic merge."""
        old = self.get(kind, key)
        if strategic:
            return self.replace(kind, patches.strategic(old, patch, schema.for_kind(kind)), subresource)
        return self.replace(kind, patches.merge(old, patch), subresource)

    def delete(self, kind: kinds.Kind, key: str, grace_period_s: int | None = None) -> Doc:
        """DELETE: a pod that has a node is only marked until its node deletes it with a grace period of 0."""
        doc = self.get(kind, key)
        if kind is kinds.POD and grace_period_s != 0 and doc.get("spec", {}).get("nodeName"):
            if not doc["metadata"].get("deletionTimestamp"):
                doc["metadata"]["deletionTimestamp"] = CREATED
                return self.put(kind, doc)
            return doc
        self.remove(kind, key)
        return doc

    def bind(self, key: str, node: str) -> None:
        """POST pods/binding."""
        pod = self.get(kinds.POD, key)
        if pod.setdefault("spec", {}).get("nodeName"):
            raise StatusError(409, "Conflict", f'pod "{key}" is already assigned to node "{pod["spec"]["nodeName"]}"')
        pod["spec"]["nodeName"] = node
        self.put(kinds.POD, pod)

    def compact(self) -> None:
        """Forget all events: watches from before now are Expired."""
        self.compacted = self.revision
        self.changes.clear()

    def since(self, kind: kinds.Kind, revision: int) -> list[Change]:
        """Events after `revision`; `Expired` when some of them are forgotten."""
        if revision < self.compacted:
            raise StatusError(410, "Expired", f"too old resource version: {revision} ({self.compacted})")
        return [change for change in self.changes.get(kind.path(), ()) if change.revision > revision]

    def _entry(self, kind: kinds.Kind, doc: Doc) -> Entry:
        """Stamp what every stored object has, and encode."""
        doc.setdefault("apiVersion", kind.api_version)
        doc.setdefault("kind", kind.kind)
        meta = doc["metadata"]
        meta.setdefault("uid", f"00000000-0000-0000-0000-{self.revision:012d}")
        meta.setdefault("creationTimestamp", CREATED)
        meta["resourceVersion"] = str(self.revision)
        return Entry(orjson.dumps(doc), meta.get("labels") or {}, meta.get("namespace", ""), self.revision)

    def _publish(self, kind: kinds.Kind, event: str, before: Entry | None, entry: Entry) -> None:
        line = b'{"type":"' + event.encode() + b'","object":' + entry.body + b"}"
        change = Change(self.revision, event, before, entry, line)
        self.changes.setdefault(kind.path(), []).append(change)
        for listener in list(self.listeners.get(kind.path(), ())):
            listener(change)


def not_found(kind: kinds.Kind, key: str) -> StatusError:
    """404."""
    return StatusError(404, "NotFound", f'{kind.plural} "{key.rpartition("/")[2]}" not found')


def _key(doc: Doc) -> str:
    meta = doc["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])

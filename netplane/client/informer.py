"""Keeps a local copy of every object of a kind, and says what changed.

    run():  Reflector says what to do ──► list: bytes → items ──► differences ──► on_change(old, new)
                    ▲                     watch: bytes → lines → events ──┘
                    └────────────── how it went

`on_change` is called in the event loop, in the order of resource versions, and must not block. After a list that
follows a lost watch, only objects that really differ are reported. One that raises is logged and does not stop the
others.
"""

import asyncio
import gc
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast, overload

import msgspec

from netplane.api.objects import KIND_OF, Object
from netplane.client import errors, reflector, wire
from netplane.client.api import Api, ObjectT, Params, selectors
from netplane.obs import logs

T = TypeVar("T")
log = logs.get("client.informer")

# Decoding this many objects takes a few milliseconds; then others get their turn.
YIELD_EVERY = 200
# Servers end watches themselves; this much later we do.
WATCH_GRACE_S = 15.0
# Each page of a list may be waited for this long: 100 MB from a busy server.
LIST_TIMEOUT_S = 60.0


class _Pauses:
    """The garbage collector rests while lists are decoded: none of it is garbage, and walking it costs a third."""

    def __init__(self) -> None:
        self._depth = 0
        self._was_on = False

    @contextmanager
    def collection(self) -> Iterator[None]:
        """Overlapping pauses end with the last of them; a collector that was off stays off."""
        if self._depth == 0:
            self._was_on = gc.isenabled()
            gc.disable()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0 and self._was_on:
                gc.enable()


_pauses = _Pauses()


class Informer(Generic[T]):
    """A watched copy of one kind.

    Args:
        api: where from.
        cls: the struct to decode into.
        namespace: "" watches all.
        label_selector: only objects with matching labels, judged by the server.
        field_selector: likewise by fields.
        on_change: `(old, new)`; old is None for an addition, new is None for a deletion.
        convert: keeps (and reports) a compact value instead of the decoded object.
    """

    @overload
    def __init__(
        self: "Informer[ObjectT]",
        api: Api,
        cls: type[ObjectT],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        on_change: Callable[[ObjectT | None, ObjectT | None], None] | None = None,
        backoff: reflector.Backoff | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        api: Api,
        cls: type[ObjectT],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        on_change: Callable[[T | None, T | None], None] | None = None,
        convert: Callable[[ObjectT], T],
        backoff: reflector.Backoff | None = None,
    ) -> None: ...

    def __init__(
        self,
        api: Api,
        cls: type[Any],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        on_change: Callable[[Any, Any], None] | None = None,
        convert: Callable[[Any], Any] | None = None,
        backoff: reflector.Backoff | None = None,
    ) -> None:
        self.synced = asyncio.Event()
        self.lists = 0
        self.watches = 0
        self.connected = False
        self._complained = False
        self._api = api
        self._kind = KIND_OF[cls]
        self._path = self._kind.path(namespace)
        self._params = selectors(label_selector, field_selector)
        self._decode: Callable[[msgspec.Raw], Object] = wire.decoder(cls).decode
        self._convert = convert
        self._on_change = on_change
        self._objects: dict[str, T] = {}
        self._versions: dict[str, str] = {}
        self._listed: set[str] = set()  # keys of the pages of a list that is under way
        self._reflector = reflector.Reflector(backoff)

    @property
    def objects(self) -> Mapping[str, T]:
        """Key (`namespace/name` or `name`) → object. A live view: read only, in the event loop."""
        return MappingProxyType(self._objects)

    @property
    def resource_version(self) -> str:
        """The version this copy stands at."""
        return self._reflector.resource_version

    def begin_with_newest(self) -> None:
        """Let the first list be of the newest state: who takes over from a writer must not miss its last writes."""
        self._reflector.first = ""

    async def run(self) -> None:
        """List, watch, resume, for ever. Cancel to stop."""
        request = self._reflector.start()
        while True:
            await asyncio.sleep(request.delay_s)
            began = asyncio.get_running_loop().time()
            outcome = await self._perform(request)
            self.connected = False
            if not isinstance(outcome, reflector.Listed):
                lived_s = asyncio.get_running_loop().time() - began
                outcome = msgspec.structs.replace(outcome, lived_s=lived_s)
            request = self._reflector.receive(outcome, random.random())

    def wrote(self, obj: Object) -> None:
        """Take what a write of ours answered into the copy now, not when its event arrives.

        Whoever decides from this copy then sees its own writes; older events of the object are ignored.
        """
        self._put(obj)

    def deleted(self, key: str) -> None:
        """Likewise for a deletion of ours that took effect at once."""
        self._remove(key)

    async def _perform(self, request: reflector.Request) -> reflector.Event:
        try:
            if isinstance(request, reflector.List):
                return await self._list(request)
            return await self._watch(request)
        except errors.ApiError as error:
            if error.code != reflector.GONE:
                self._complain(error.message)
            return reflector.Failed(error.code, retry_after_s=error.retry_after_s)
        except msgspec.DecodeError as error:
            log.error("unreadable answer", kind=self._kind.kind, error=str(error))
            return reflector.Failed(0)

    def _complain(self, error: str) -> None:
        """Once per outage: an apiserver that is away for minutes is one line, not hundreds."""
        level = log.debug if self._complained else log.warning
        level("cannot watch; trying again", kind=self._kind.kind, error=error)
        self._complained = True

    async def _list(self, request: reflector.List) -> reflector.Event:
        params: dict[str, str | int] = {**self._params, "resourceVersion": request.resource_version}
        if request.continue_token:
            params = {**self._params, "continue": request.continue_token}
        else:
            self._listed.clear()
        body = await self._api.request("GET", self._path, params=params, timeout_s=LIST_TIMEOUT_S)
        page = wire.decoder(wire.RawList).decode(body)
        self.lists += 1
        if _older(page.metadata.resource_version, self.resource_version):
            # The apiserver went back in time (restored from a backup): nothing we know of versions holds any more.
            self._versions = dict.fromkeys(self._versions, "")
        with _pauses.collection():
            await self._take(page.items or ())
        if not page.metadata.continue_:
            self._drop_unlisted(page.metadata.resource_version)
            self.synced.set()
        return reflector.Listed(page.metadata.resource_version, page.metadata.continue_)

    async def _take(self, items: Iterable[msgspec.Raw]) -> None:
        for count, raw in enumerate(items, 1):
            obj = self._read(raw)
            if obj is None:
                self._listed.add(_key(raw))  # unreadable: what we had of it stays
            else:
                self._listed.add(obj.key)
                self._put(obj)
            if count % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def _drop_unlisted(self, version: str) -> None:
        for key in self._objects.keys() - self._listed:
            if not _older(version, self._versions[key]):  # what we wrote after the list was taken is not gone
                self._remove(key)
        self._listed.clear()

    async def _watch(self, request: reflector.Watch) -> reflector.Event:
        params: Params = {
            **self._params,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": request.resource_version,
            "timeoutSeconds": request.timeout_s,
        }
        lines = wire.Lines()
        self.watches += 1
        async with self._api.stream(self._path, params, read_timeout_s=request.timeout_s + WATCH_GRACE_S) as chunks:
            self.connected = True
            if self._complained:
                self._complained = False
                log.info("watching again", kind=self._kind.kind)
            async for chunk in chunks:
                for line in lines.feed(chunk):
                    self._event(line)
        return reflector.Ended(0.0)

    def _event(self, line: bytes) -> None:
        event = wire.decoder(wire.WatchEvent).decode(line)
        if event.type == "ERROR":
            raise errors.from_status(wire.decoder(wire.Status).decode(event.object), asked=f"watch {self._path}")
        if event.type == "BOOKMARK":
            self._reflector.saw(_header(event.object).metadata.resource_version)
            return
        obj = self._read(event.object)
        if obj is None:
            self._reflector.saw(_header(event.object).metadata.resource_version)
            return
        if event.type == "DELETED":
            self._remove(obj.key)
        else:
            self._put(obj)
        self._reflector.saw(obj.metadata.resource_version)

    def _read(self, raw: msgspec.Raw) -> Object | None:
        """The object, or None when a field of it has the wrong type: it alone is left out."""
        try:
            return self._decode(raw)
        except msgspec.ValidationError as error:
            log.error(
                "object left out: a field is not as the API says", kind=self._kind.kind, key=_key(raw), error=str(error)
            )
            return None

    def _put(self, obj: Object) -> None:
        key = obj.key
        version = obj.metadata.resource_version
        known = self._versions.get(key, "")
        if known and (version == known or _older(version, known)):
            return
        old = self._objects.get(key)
        new = cast(T, obj if self._convert is None else self._convert(obj))
        self._objects[key] = new
        self._versions[key] = version
        self._report(old, new)

    def _remove(self, key: str) -> None:
        self._versions.pop(key, None)
        old = self._objects.pop(key, None)
        if old is not None:
            self._report(old, None)

    def _report(self, old: T | None, new: T | None) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change(old, new)
        except Exception:
            log.exception("on_change failed", kind=self._kind.kind)


def _older(version: str, than: str) -> bool:
    """Whether a version precedes another. They are opaque by contract, and integers everywhere; others never do."""
    return version.isdigit() and than.isdigit() and int(version) < int(than)


def _header(raw: msgspec.Raw) -> wire.Header:
    return wire.decoder(wire.Header).decode(raw)


def _key(raw: msgspec.Raw) -> str:
    return _header(raw).key

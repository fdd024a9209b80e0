"""Watches: a list's worth of synthetic events if asked for, then every change, until time, client or server ends it.

    pump        reads batches of events from the store's watch, writes lines to the client
    taker       while the pump waits for events and the client reads what it gets: what comes is written at once, as
                bytes that all watches of the same view share. It is asked by the store, in the pump's place, so nothing
                is written twice or out of order
    supervisor  waits for what ends the watch: its time is over, the client is gone, the server stops, the pump ended;
                between, it sends bookmarks when the pump is idle

The pump is cancelled only to end the watch for good, never to wake it up: so no event is lost between two reads.
A client that reads too slowly fills its buffer in the store's hub, which then ends the watch (WatchOverflow).
"""

import asyncio
import random
from collections.abc import Callable

import orjson

from netplane.api import codec, errors
from netplane.apiserver import cluster
from netplane.apiserver.verbs import filtering
from netplane.apiserver.verbs.reads import shower
from netplane.apiserver.verbs.shared import Json, Seen
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.options import ListOptions, list_options
from netplane.apiserver.wire.reply import Send, warning
from netplane.store.protocol import Compacted, Event, StoreError, Watch

BOOKMARK_S = 60.0
MIN_TIMEOUT_S = 1800
CHUNK_BYTES = 256 * 1024
TAKEN_EVENTS = 64
_HEADERS = [(b"content-type", b"application/json"), (b"cache-control", b"no-cache, private")]


async def watch(call: Call, send: Send) -> None:
    """Serve one watch to its end. Raises StatusError 400 or 422 before anything is sent."""
    options = list_options(call.query, watch=True)
    wanted = filtering.of(call.kind, options, call.target.name)
    if call.cluster.stopping:
        raise errors.unavailable("the server is shutting down")
    await Stream(call, options, wanted, send).run()


class Stream:
    """One client's watch."""

    def __init__(self, call: Call, options: ListOptions, wanted: filtering.Filter, send: Send) -> None:
        self._call = call
        self._options = options
        self._wanted = wanted
        self._transmit = send
        self._show = shower(call)
        self._shared = (call.kind.api_version, self._show.form, self._show.include)
        self._first = self._show.form.is_table  # its columns go out once
        self._busy = asyncio.Lock()
        self._pump_task: asyncio.Task[None] | None = None
        self._events: Watch | None = None
        namespace = call.target.namespace if call.kind.namespaced else ""
        self._prefix = cluster.prefix(call.kind, namespace)
        if wanted.name and (namespace or not call.kind.namespaced):
            self._prefix += wanted.name
        # Tables differ: in their first line, and in the ages of what they show.
        self._straight = None if self._show.form.is_table else call.straight
        asked = (self._prefix, self._shared, options.labels, options.fields, call.target.name)
        self._view = call.cluster.events.view(asked)

    def close(self) -> None:
        """End the watch; the client sees a complete answer."""
        if self._pump_task is not None:
            self._pump_task.cancel()

    async def run(self) -> None:
        """Open, send, end."""
        told = [warning(self._call.kind.warning)] if self._call.kind.warning else []
        await self._transmit({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *told]})
        loop = asyncio.get_running_loop()
        timeout = self._options.timeout_s or random.uniform(MIN_TIMEOUT_S, 2 * MIN_TIMEOUT_S)
        gone = loop.create_task(_disconnected(self._call))
        self._pump_task = loop.create_task(self._pump())
        self._call.cluster.watches.add(self)
        try:
            await self._supervise(loop.time() + timeout, gone)
        finally:
            self._call.cluster.watches.discard(self)
            self._pump_task.cancel()
            gone.cancel()
            await asyncio.gather(self._pump_task, gone, return_exceptions=True)
            self._pump_task = None  # it knows this stream: together they would stay until a garbage collection
        await self._transmit({"type": "http.response.body", "body": b""})

    async def _supervise(self, deadline: float, gone: asyncio.Task[None]) -> None:
        assert self._pump_task is not None
        loop = asyncio.get_running_loop()
        watched = {self._pump_task, gone}
        while (left := deadline - loop.time()) > 0:
            done, _ = await asyncio.wait(watched, timeout=min(left, BOOKMARK_S), return_when=asyncio.FIRST_COMPLETED)
            if done:
                return
            await self._bookmark()

    async def _pump(self) -> None:
        try:
            rev = await self._begin()
            async with self._call.cluster.store.watch(self._prefix, rev) as events:
                self._events = events
                events.taker = self._take
                async for batch in events:
                    async with self._busy:
                        await self._write(self._lines(batch))
        except Compacted as error:
            await self._fail(errors.gone(self._options.rev or 0, error.rev))
        except errors.StatusError as error:
            await self._fail(error)
        except StoreError:
            return  # too slow, or the store is closing: the client resumes from what it saw

    async def _begin(self) -> int:
        """Send the synthetic events that are asked for; the first revision to watch."""
        options = self._options
        if options.rev and not options.initial_events:
            return options.rev + 1
        if options.initial_events is False:
            return 0 if not options.rev else options.rev + 1
        store = self._call.cluster.store
        found = await store.range(self._prefix)
        if options.rev and options.rev > found.rev:
            raise errors.too_large_resource_version(options.rev, found.rev)
        kvs = found.kvs if self._wanted.all else [kv for kv in found.kvs if self._wanted.wants(kv.value)]
        async with self._busy:
            await self._write([self._line("ADDED", kv.value, kv.mod_rev) for kv in kvs])
            if options.initial_events and options.bookmarks:
                await self._write([self._mark(found.rev, initial_end=True)])
        return found.rev + 1

    def _lines(self, batch: list[Event]) -> list[bytes]:
        get = self._call.cluster.events.get
        lines = [self._event_line(get(event)) for event in batch]
        return [line for line in lines if line]

    def _take(self, batch: list[Event]) -> bool:
        """Write a batch at once, while the pump waits; False when it must go through the pump.

        That is when a bookmark is on its way (nothing may overtake it), when the client is behind (the hub's buffer
        then fills up, and ends the watch), and when there is much to write.
        """
        if self._straight is None or len(batch) > TAKEN_EVENTS or self._busy.locked():
            return False
        framed = self._view.framed(batch, self._lines)
        return len(framed) <= CHUNK_BYTES and self._straight.write(framed)

    def _event_line(self, seen: Seen) -> bytes:
        """The line for one event; b"" when this client does not care."""
        event = seen.event
        had, has = event.prev is not None, not event.deleted
        if not self._wanted.all:
            had = had and event.prev is not None and self._wants(event.prev.value, seen.before)
            has = has and self._wants(event.kv.value, seen.after)
        if not had and not has:
            return b""
        kind = ("MODIFIED" if had else "ADDED") if has else "DELETED"
        kv = event.kv if has or event.deleted or event.prev is None else event.prev
        if self._first:
            return self._line(kind, kv.value, event.rev)
        line = seen.lines.get((kind, self._shared))
        if line is None:
            line = seen.lines[kind, self._shared] = self._line(kind, kv.value, event.rev)
        return line

    def _wants(self, value: bytes, decoded: Callable[[], Json]) -> bool:
        """As Filter.wants; what was decoded is shared by all watchers."""
        found = self._wanted.glance(value)
        return self._wanted.matches(decoded()) if found is None else found

    def _line(self, kind: str, value: bytes, rev: int) -> bytes:
        first, self._first = self._first, False
        return self._show.event(kind, value, rev, first=first)

    def _mark(self, rev: int, *, initial_end: bool = False) -> bytes:
        first, self._first = self._first, False
        return self._show.bookmark(rev, initial_end=initial_end, first=first)

    async def _bookmark(self) -> None:
        if not self._options.bookmarks or self._busy.locked() or self._events is None:
            return
        async with self._busy:
            await self._write([self._mark(self._events.progress)])

    async def _write(self, lines: list[bytes]) -> None:
        pending: list[bytes] = []
        size = 0
        for line in lines:
            pending.append(line)
            size += len(line)
            if size >= CHUNK_BYTES:
                await self._transmit({"type": "http.response.body", "body": b"".join(pending), "more_body": True})
                pending, size = [], 0
        if pending:
            await self._transmit({"type": "http.response.body", "body": b"".join(pending), "more_body": True})

    async def _fail(self, error: errors.StatusError) -> None:
        await self._write([codec.event_bytes("ERROR", orjson.dumps(error.status()))])


async def _disconnected(call: Call) -> None:
    while (await call.receive())["type"] != "http.disconnect":
        pass

"""A small apiserver for tests and benchmarks: every kind of the registry, list, watch and writes, over plain HTTP.

In a test:

    async with FakeApiserver() as fake:
        fake.store.load(kinds.SERVICE, [...])            # there from the start
        api = Api(Connection(fake.url))
        fake.store.put(kinds.SERVICE, {...})             # an event, now
        fake.drop(); fake.store.compact(); fake.fail(2)  # what happens to apiservers

As a process of its own, for benchmarks that must not share an interpreter with it:
`python -m netplane.client.fake --services 30000 --endpoints 10` prints its URL when it is ready. Change objects through
its API: a PATCH is an event.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson

from netplane.api import kinds, selectors
from netplane.api.errors import StatusError
from netplane.client.fake_store import Change, Entry, FakeStore

OK, CREATED = 200, 201
PIECE_BYTES = 2**18
WATCH_LIST_PIECE = 200
GONE = 410
REASONS = {200: "OK", 201: "Created", 409: "Conflict", 404: "Not Found", 410: "Gone"}
PATCHES = {"application/merge-patch+json": False, "application/strategic-merge-patch+json": True}  # strategic?
_BY_PATH = {kind.path(): kind for kind in kinds.KINDS}


class Asked(NamedTuple):
    """A parsed request."""

    method: str
    kind: kinds.Kind
    namespace: str
    name: str
    subresource: str
    query: dict[str, str]
    content_type: str
    body: bytes

    @property
    def key(self) -> str:
        """`namespace/name`, or `name`."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class FakeApiserver:
    """Serves a `FakeStore`. `store` outlives `stop` and `start`, as a real one's disk does.

    Args:
        port: 0 picks one; `url` tells which.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.store = FakeStore()
        self.requests: list[tuple[str, str]] = []
        self.delay_s = 0.0
        self.cut_bytes = 0  # send watch lines in pieces of so many bytes; 0 sends them whole
        self._host, self._port = host, port
        self._failures: list[int] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """http://host:port."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen; the second time on the same port as the first."""
        self._server = await asyncio.start_server(self._serve, self._host, self._port, limit=2**24)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener and every connection, as a kill -9 would."""
        assert self._server is not None, "start it first"
        self._server.close()
        self.drop()
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def drop(self) -> None:
        """Reset every connection, watches too."""
        for writer in list(self._writers):
            writer.transport.abort()

    def fail(self, times: int, code: int = 500) -> None:
        """Answer the next `times` requests with `code`."""
        self._failures += [code] * times

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._request(head, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client went away, or `stop`
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _request(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, target, _ = lines[0].split(" ")
        self.requests.append((method, target))
        await asyncio.sleep(self.delay_s)
        try:
            if self._failures:
                raise StatusError(self._failures.pop(0), "InternalError", "told to fail")
            asked = parse(method, target, headers.get("content-type", ""), body)
            if method == "GET" and asked.query.get("watch") in ("1", "true"):
                await self._watch(asked, writer)
                return
            code, answer = self._answer(asked)
        except StatusError as refused:
            code, answer = refused.code, orjson.dumps(refused.status())
        writer.write(_head(code, f"Content-Length: {len(answer)}"))
        for i in range(0, len(answer), PIECE_BYTES):  # a hundred megabytes in one write would be copied again and again
            writer.write(answer[i : i + PIECE_BYTES])
            await writer.drain()

    def _answer(self, asked: Asked) -> tuple[int, bytes]:
        match asked.method, asked.name:
            case "GET", "":
                return OK, self._list(asked)
            case "GET", _:
                return OK, orjson.dumps(self.store.get(asked.kind, asked.key))
            case _:
                code, doc = self._write(asked)
                return code, orjson.dumps(doc)

    def _write(self, asked: Asked) -> tuple[int, dict[str, Any]]:
        store, kind = self.store, asked.kind
        if asked.method == "DELETE":
            grace = asked.query.get("gracePeriodSeconds")
            return OK, store.delete(kind, asked.key, int(grace) if grace else None)
        doc = orjson.loads(asked.body)
        if asked.method == "PATCH":
            strategic = PATCHES.get(asked.content_type)
            if strategic is None:
                raise StatusError(415, "UnsupportedMediaType", f"the fake knows {', '.join(PATCHES)}")
            return OK, store.patch(kind, asked.key, doc, asked.subresource, strategic=strategic)
        if asked.subresource == "binding":
            store.bind(asked.key, doc["target"]["name"])
            return CREATED, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        if asked.namespace:
            doc.setdefault("metadata", {})["namespace"] = asked.namespace
        if asked.method == "POST":
            return CREATED, store.create(kind, doc)
        return OK, store.replace(kind, doc, asked.subresource)

    def _list(self, asked: Asked) -> bytes:
        items = [entry.body for entry in _selected(self.store, asked)]
        head = (
            f'{{"kind":"{asked.kind.kind}List","apiVersion":"{asked.kind.api_version}",'
            f'"metadata":{{"resourceVersion":"{self.store.revision}"}},"items":['
        )
        return head.encode() + b",".join(items) + b"]}"

    async def _watch(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        revision = int(asked.query.get("resourceVersion") or 0)
        timeout_s = float(asked.query.get("timeoutSeconds") or 3600)
        queue: asyncio.Queue[Change] = asyncio.Queue()
        listeners = self.store.listeners.setdefault(asked.kind.path(), set())
        listeners.add(queue.put_nowait)
        writer.write(_head(OK, "Transfer-Encoding: chunked"))
        try:
            async with asyncio.timeout(timeout_s):
                if asked.query.get("sendInitialEvents") == "true":
                    revision = self.store.revision
                    for piece in _initial_events(self.store, asked, revision):
                        await self._chunk(writer, piece)
                async for line in _lines(self.store, asked, revision, queue):
                    await self._chunk(writer, line + b"\n")
        except StatusError as refused:
            await self._chunk(writer, b'{"type":"ERROR","object":' + orjson.dumps(refused.status()) + b"}\n")
        except TimeoutError:
            pass  # timeoutSeconds is how watches end
        finally:
            listeners.discard(queue.put_nowait)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _chunk(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        size = self.cut_bytes or len(data)
        for i in range(0, len(data), size):
            piece = data[i : i + size]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            if self.cut_bytes:
                await asyncio.sleep(0)


def _initial_events(store: FakeStore, asked: Asked, revision: int) -> Iterator[bytes]:
    """What is there now, at this revision, as events, some hundred at a time; and the bookmark that ends them."""
    entries = _selected(store, asked)
    for i in range(0, len(entries), WATCH_LIST_PIECE):
        piece = entries[i : i + WATCH_LIST_PIECE]
        yield b"".join(_added(entry) + b"\n" for entry in piece)
    end = {
        "kind": asked.kind.kind,
        "apiVersion": asked.kind.api_version,
        "metadata": {
            "resourceVersion": str(revision),
            "annotations": {"k8s.io/initial-events-end": "true"},
            "creationTimestamp": None,
        },
    }
    yield orjson.dumps({"type": "BOOKMARK", "object": end}) + b"\n"


async def _lines(store: FakeStore, asked: Asked, revision: int, queue: asyncio.Queue[Change]) -> AsyncIterator[bytes]:
    """Past events, then new ones, for this watch: a change may enter or leave what its selector sees."""
    wanted = _filter(asked)
    for change in store.since(asked.kind, revision):
        if line := _seen(change, wanted):
            yield line
        revision = change.revision
    while True:
        change = await queue.get()
        if change.revision > revision and (line := _seen(change, wanted)):
            yield line


def _seen(change: Change, wanted: Callable[[Entry], bool]) -> bytes:
    before = change.before is not None and wanted(change.before)
    now = change.type != "DELETED" and wanted(change.entry)
    if before == now:
        return change.line if now else b""
    return _added(change.entry) if now else _left(change)


def _added(entry: Entry) -> bytes:
    return b'{"type":"ADDED","object":' + entry.body + b"}"


def _left(change: Change) -> bytes:
    """An object that a selector does not see any more goes as it was seen last, at the new revision."""
    assert change.before is not None, "it was seen"
    last = orjson.loads(change.before.body)
    last["metadata"]["resourceVersion"] = str(change.revision)
    return orjson.dumps({"type": "DELETED", "object": last})


def _selected(store: FakeStore, asked: Asked) -> list[Entry]:
    """What is there now of what is asked for."""
    wanted = _filter(asked)
    return [entry for entry in store.collections.get(asked.kind.path(), {}).values() if wanted(entry)]


def _filter(asked: Asked) -> Callable[[Entry], bool]:
    label_text, field_text = asked.query.get("labelSelector", ""), asked.query.get("fieldSelector", "")
    if not (label_text or field_text):
        return lambda entry: not asked.namespace or entry.namespace == asked.namespace
    labels, fields = selectors.parse_labels(label_text), selectors.parse_fields(field_text)

    def wanted(entry: Entry) -> bool:
        if asked.namespace and entry.namespace != asked.namespace:
            return False
        return labels.matches(entry.labels) and (not field_text or fields.matches(_fields(entry)))

    return wanted


def _fields(entry: Entry) -> dict[str, str]:
    doc = orjson.loads(entry.body)
    return {
        "metadata.name": doc["metadata"]["name"],
        "metadata.namespace": entry.namespace,
        "spec.nodeName": doc.get("spec", {}).get("nodeName", ""),
    }


def parse(method: str, target: str, content_type: str, body: bytes) -> Asked:
    """A request line → what it asks for; `StatusError` 404 when no kind lives there."""
    url = urlsplit(target)
    parts = [unquote(part) for part in url.path.split("/") if part]
    size = 2 if parts[:1] == ["api"] else 3
    root, rest = "/".join(parts[:size]), parts[size:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces" and f"/{root}/{rest[2]}" in _BY_PATH:
        namespace, rest = rest[1], rest[2:]
    kind = _BY_PATH.get(f"/{root}/{rest[0]}") if rest else None
    if kind is None:
        raise StatusError(404, "NotFound", "the server could not find the requested resource")
    name, subresource = (*rest[1:], "", "")[:2]
    return Asked(method, kind, namespace, name, subresource, dict(parse_qsl(url.query)), content_type, body)


def _head(code: int, header: str) -> bytes:
    return (
        f"HTTP/1.1 {code} {REASONS.get(code, 'Status')}\r\nContent-Type: application/json\r\n{header}\r\n\r\n".encode()
    )


def main() -> None:
    """`python -m netplane.client.fake`."""
    import click  # noqa: PLC0415 - only the program needs it

    from netplane.client import fake_cluster  # noqa: PLC0415 - likewise

    @click.command()
    @click.option("--host", default="127.0.0.1", show_default=True)
    @click.option("--port", default=0, help="0 picks a free one.")
    @click.option("--services", default=0, help="Services to make, with one EndpointSlice each.")
    @click.option("--endpoints", default=10, show_default=True, help="Endpoints per slice.")
    @click.option("--nodes", default=3, show_default=True, help="Nodes to make.")
    def command(host: str, port: int, services: int, endpoints: int, nodes: int) -> None:
        """Serve a made-up cluster over plain HTTP until interrupted."""
        fake = FakeApiserver(host=host, port=port)
        fake_cluster.fill(fake.store, services=services, endpoints=endpoints, nodes=nodes)

        async def serve() -> None:
            async with fake:
                click.echo(fake.url)
                await asyncio.Event().wait()

        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve())

    command()


if __name__ == "__main__":
    main()

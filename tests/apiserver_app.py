"""The apiserver's application in this process, without sockets: requests go straight in, answers come straight out."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from netplane.api import kinds
from netplane.apiserver import app, bootstrap
from netplane.apiserver.access.jwt import Key
from netplane.apiserver.access.policies import Policies
from netplane.apiserver.access.service_tokens import Issuer
from netplane.apiserver.access.tokens import AUTHENTICATED, MASTERS, User
from netplane.apiserver.admission.allocation import Allocator
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.limits.levels import Limits
from netplane.apiserver.process.settings import Listener, PortRange, Settings
from netplane.store.memory import MemoryStore
from netplane.store.protocol import FIRST_REV, Put

ADMIN, READER = "admin-token", "reader-token"
USERS = {
    ADMIN: User("admin", "1", (MASTERS, AUTHENTICATED)),
    READER: User("reader", "2", ("people", AUTHENTICATED)),
}
PEOPLE = {
    "metadata": {"name": "people"},
    "roleRef": {"kind": "ClusterRole", "name": "view"},
    "subjects": [{"kind": "Group", "name": "people"}],
}
PATCH_TYPE = {"merge": "merge-patch+json", "strategic": "strategic-merge-patch+json", "json": "json-patch+json"}


def settings(networks: str = "10.96.0.0/24", ports: tuple[int, int] = (30000, 30099)) -> Settings:
    """Small ranges, so that they can be filled."""
    return Settings(
        Path("/nowhere"),
        (Listener(ipaddress.ip_address("127.0.0.1"), 6443),),
        tuple(ipaddress.ip_network(one) for one in networks.split(",")),
        PortRange(*ports),
        ipaddress.ip_address("192.0.2.10"),
    )


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        """The body as lines of JSON."""
        return [orjson.loads(line) for line in self.body.splitlines()]


class Server:
    """One application on a memory store."""

    def __init__(self, cluster: Cluster, store: MemoryStore) -> None:
        self.cluster = cluster
        self.store = store
        self.app = app.build(cluster)

    async def __call__(self, method: str, path: str, body: Any = None, *, token: str = ADMIN, **headers: str) -> Answer:
        """One whole request; header names use underscores."""
        sent: list[dict[str, Any]] = []
        await self.open(method, path, body, sent, token=token, headers=headers)
        return Answer(sent[0]["status"], _headers(sent[0]), b"".join(one.get("body", b"") for one in sent[1:]))

    async def open(
        self,
        method: str,
        path: str,
        body: Any,
        sent: list[dict[str, Any]],
        *,
        token: str = ADMIN,
        gone: asyncio.Event | None = None,
        hold: asyncio.Event | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Serve a request; what is sent is added to `sent` as it comes.

        The client hangs up when `gone` is set; with `hold`, it reads nothing of the body until that is set.
        """
        raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        messages = [{"type": "http.request", "body": raw, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await (gone or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if hold is not None and message["type"] == "http.response.body":
                await hold.wait()
            sent.append(message)

        given = {"authorization": f"Bearer {token}"} if token else {}
        given |= {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        where, _, query = path.partition("?")
        scope = {
            "type": "http", "method": method, "path": where, "raw_path": where.encode(), "root_path": "",
            "query_string": query.encode(), "headers": [(k.encode(), v.encode()) for k, v in given.items()],
            "server": ("127.0.0.1", 6443), "client": ("127.0.0.1", 1), "scheme": "https", "http_version": "1.1",
        }  # fmt: skip
        await self.app(scope, receive, send)

    async def create(self, path: str, obj: Any) -> Any:
        """POST that must succeed; the object."""
        answer = await self("POST", path, obj)
        assert answer.status == 201, answer.body
        return answer.json

    async def patch(self, path: str, patch: Any, way: str = "merge") -> Answer:
        """PATCH of one of the three kinds."""
        return await self("PATCH", path, patch, content_type=f"application/{PATCH_TYPE[way]}")


def _headers(start: dict[str, Any]) -> dict[str, str]:
    return {name.decode().lower(): value.decode() for name, value in start["headers"]}


@asynccontextmanager
async def serving(
    given: Settings | None = None, store: MemoryStore | None = None, limits: Limits | None = None
) -> AsyncIterator[Server]:
    """A cluster that is ready, as after the program's start."""
    given = given or settings()
    if store is None:
        if given not in _WRITTEN:
            _WRITTEN[given] = await _first_start(given)
        store = MemoryStore()
        for ops in _WRITTEN[given]:
            await store.txn([], ops)
        cluster = await _cluster(store, given, limits)
    else:
        cluster = await _cluster(store, given, limits)
        await _bootstrap(cluster)
    yield Server(cluster, store)
    cluster.stop()
    await store.close()


_WRITTEN: dict[Settings, list[list[Put]]] = {}
"""What the first start writes, transaction by transaction: new stores have it at once, at the same revisions."""


async def _first_start(given: Settings) -> list[list[Put]]:
    store = MemoryStore()
    cluster = await _cluster(store, given, None)
    await _bootstrap(cluster)
    async with store.watch("", FIRST_REV + 1) as watch:
        events = await anext(watch)
    cluster.stop()
    await store.close()
    return [[Put(one.kv.key, one.kv.value) for one in group] for _, group in groupby(events, lambda one: one.rev)]


async def _cluster(store: MemoryStore, given: Settings, limits: Limits | None) -> Cluster:
    allocator = await Allocator.load(store, given)
    return Cluster(store, given, USERS, allocator, Issuer(Key.make(), store), Policies(store), limits)


async def _bootstrap(cluster: Cluster) -> None:
    await bootstrap.run(cluster, 6443)
    await bootstrap.ensure(cluster, kinds.CLUSTER_ROLE_BINDING, "", PEOPLE, ())


class Watching:
    """A watch that runs while the test goes on."""

    def __init__(self, ask: Server, path: str, *, token: str = ADMIN, **headers: str) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        opened = ask.open("GET", path, None, self.sent, token=token, gone=self.gone, headers=headers)
        self.task = asyncio.create_task(opened)

    @property
    def lines(self) -> list[Any]:
        text = b"".join(message.get("body", b"") for message in self.sent[1:])
        return [orjson.loads(line) for line in text.splitlines()]

    async def until(self, count: int) -> list[Any]:
        """The first `count` lines, once they are there."""
        async with asyncio.timeout(10):
            while len(self.lines) < count:
                await asyncio.sleep(0)
        return self.lines

    async def end(self) -> None:
        self.gone.set()
        await self.task


def run(test: Callable[[Server], Awaitable[None]], **options: Any) -> None:
    """A test against a server of its own, made with `serving`'s options."""

    async def body() -> None:
        async with serving(**options) as server:
            await test(server)

    asyncio.run(body())


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}, **spec}}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x"}], **spec}}


def claim(name: str, **spec: Any) -> dict[str, Any]:
    """A PersistentVolumeClaim of 1Gi."""
    resources = {"requests": {"storage": "1Gi"}}
    return {"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources, **spec}}


def config(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": data}


async def fill(ask: Server, count: int, namespace: str = "default") -> list[Any]:
    """ConfigMaps c000, c001, … with the labels n and even."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    labels = [{"n": str(i), "even": str(i % 2 == 0)} for i in range(count)]
    return [await ask.create(path, {"metadata": {"name": f"c{i:03}", "labels": one}}) for i, one in enumerate(labels)]


def seen(lines: list[Any]) -> list[tuple[str, str]]:
    """What a watch's lines tell, and of whom."""
    return [(line["type"], line["object"]["metadata"].get("name", "")) for line in lines]

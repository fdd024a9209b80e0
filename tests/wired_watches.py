"""Watches on connections as uvicorn makes them, over a transport that keeps what is written and can be slow."""

import asyncio
import logging
from typing import Any

import orjson
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from tests.apiserver_app import ADMIN, Server

_LOG = logging.getLogger("tests.wired")


class Transport(asyncio.Transport):
    """What a connection writes; it has room for everything, and says so when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.writes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        self.writes += bool(data)

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...


class Wired:
    """One watch. `stop_reading` and `read_on` are what its client does."""

    def __init__(self, server: Server, path: str, *, method: str = "GET", accept: str = "application/json") -> None:
        where, _, query = path.partition("?")
        headers = [(b"authorization", f"Bearer {ADMIN}".encode()), (b"accept", accept.encode())]
        scope: Any = {
            "type": "http", "method": method, "path": where, "raw_path": where.encode(), "root_path": "",
            "query_string": query.encode(), "headers": headers, "server": ("127.0.0.1", 6443),
            "client": ("127.0.0.1", 1), "scheme": "https", "http_version": "1.1",
        }  # fmt: skip
        self.transport = Transport()
        self.flow = FlowControl(self.transport)
        self._more = asyncio.Event()
        self.cycle = RequestResponseCycle(
            scope, self.transport, self.flow, _LOG, _LOG, False, [], self._more, False, True, lambda: None
        )
        self.cycle.more_body = False
        self._more.set()  # the request's empty body
        app: Any = server.app  # uvicorn and Starlette name the same types differently
        self.task = asyncio.create_task(app(scope, self.cycle.receive, self.cycle.send))

    def stop_reading(self) -> None:
        self.flow.pause_writing()

    def read_on(self) -> None:
        self.flow.resume_writing()

    def hang_up(self) -> None:
        self.cycle.disconnected = True
        self._more.set()
        self.flow.resume_writing()

    @property
    def body(self) -> bytes:
        """The answer's body so far, out of its chunks, which must be whole."""
        _, _, rest = bytes(self.transport.written).partition(b"\r\n\r\n")
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            assert rest[length : length + 2] == b"\r\n"
            body, rest = body + rest[:length], rest[length + 2 :]
            assert length or not rest, "an empty chunk is the end"
        return body

    @property
    def events(self) -> list[tuple[str, str, int]]:
        """(type, name, revision) of each line."""
        lines = [orjson.loads(line) for line in self.body.splitlines()]
        meta = [(line["type"], line["object"]["metadata"]) for line in lines]
        return [(kind, one.get("name", ""), int(one["resourceVersion"])) for kind, one in meta]

    async def until(self, count: int) -> list[tuple[str, str, int]]:
        """The events, once there are `count`."""
        async with asyncio.timeout(10):
            while len(self.events) < count:
                await asyncio.sleep(0)
        return self.events


async def settled(server: Server) -> None:
    """Whatever is on its way to watchers has arrived, or waits for a slow one."""
    for _ in range(30 + len(server.cluster.watches) // 10):
        await asyncio.sleep(0)

"""An HTTP client that costs as little as possible, so that what is measured is the server: one request at a time on a
connection, answers as bytes, watches as a stream of whole lines.
"""

import asyncio
import ssl
import zlib
from collections.abc import Callable
from typing import NamedTuple, Self, cast

JSON = "application/json"
Lines = Callable[[bytes], None]


class Answer(NamedTuple):
    status: int
    body: bytes


class Wire(asyncio.Protocol):
    """One connection. `lines` gets what a chunked answer brings, as it comes; others are answered whole."""

    def __init__(self, head: str) -> None:
        self._head = head
        self._buffer = bytearray()
        self._left: int | None = None  # bytes of the body still to come; -1: chunked
        self._status = 0
        self._waiting: asyncio.Future[Answer] | None = None
        self._lines: Lines | None = None
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.ended.set()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def send(self, method: str, path: str, body: bytes = b"", media: str = JSON) -> "asyncio.Future[Answer]":
        """Send a request; the future is its whole answer."""
        assert self.transport is not None
        more = f"Content-Type: {media}\r\nContent-Length: {len(body)}\r\n" if body else ""
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(f"{method} {path} HTTP/1.1\r\n{self._head}{more}\r\n".encode() + body)
        return self._waiting

    def watch(self, path: str, lines: Lines) -> "asyncio.Future[Answer]":
        """Send a request whose answer has no end; the future is done when its head is there."""
        self._lines = lines
        return self.send("GET", path)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._left is None and not self._read_head():
            return
        if self._left == -1:
            self._read_chunks()
        elif self._left is not None and len(self._buffer) >= self._left:
            self._answer(bytes(self._buffer))

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._buffer[:end]).lower()
        del self._buffer[: end + 4]
        self._status = int(head[9:12])
        at = head.find(b"content-length:")
        self._left = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else -1
        if self._left == -1 and self._waiting is not None:
            self._waiting.set_result(Answer(self._status, b""))
        return True

    def _read_chunks(self) -> None:
        buffer, at, found = self._buffer, 0, []
        while (end := buffer.find(b"\r\n", at)) >= 0:
            size = int(buffer[at:end], 16)
            if size == 0:
                self.ended.set()
                break
            if len(buffer) < end + size + 4:
                break
            found.append(bytes(buffer[end + 2 : end + 2 + size]))
            at = end + size + 4
        if at:
            del buffer[:at]
        if found and self._lines is not None:
            self._lines(b"".join(found))

    def _answer(self, body: bytes) -> None:
        self._buffer.clear()
        self._left = None
        if self._waiting is not None:
            self._waiting.set_result(Answer(self._status, body))

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


class Target(NamedTuple):
    """Where a server is, and how it is spoken to."""

    host: str
    port: int
    token: str
    tls: ssl.SSLContext

    async def wire(self) -> Wire:
        fields = {"Host": self.host, "Accept": JSON, "User-Agent": "bench", "Authorization": f"Bearer {self.token}"}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(lambda: Wire(head), self.host, self.port, ssl=self.tls)
        return made

    async def wires(self, count: int, at_once: int = 32) -> list[Wire]:
        """Many connections, some at a time: a listening socket's queue is short."""
        made: list[Wire] = []
        while len(made) < count:
            made += await asyncio.gather(*(self.wire() for _ in range(min(at_once, count - len(made)))))
        return made


class Watchers:
    """Many watches of the same objects. What each saw is counted and summed up: equal sums are equal streams."""

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self.sums: list[int] = []
        self.sizes: list[int] = []

    @classmethod
    async def open(
        cls, target: Target, path: str, count: int, seen: Callable[[int, bytes], None] | None = None
    ) -> Self:
        """`seen` is called with a watcher's number and the lines that it just got."""
        self = cls()
        self.wires = await target.wires(count)
        self.sums, self.sizes = [0] * count, [0] * count

        def sink(number: int) -> Lines:
            def add(lines: bytes) -> None:
                self.sums[number] = zlib.crc32(lines, self.sums[number])
                self.sizes[number] += len(lines)
                if seen is not None:
                    seen(number, lines)

            return add

        answers = await asyncio.gather(*(wire.watch(path, sink(i)) for i, wire in enumerate(self.wires)))
        assert all(one.status == 200 for one in answers), answers[0]
        return self

    def close(self) -> None:
        for wire in self.wires:
            wire.close()

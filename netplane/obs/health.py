"""A small HTTP server inside a program: /healthz, /livez, /readyz, /metrics, and what else is asked of it.

Routes are callables, asked at each request, that return (status, headers, body), or something to await that does. They
run in the program's own event loop, so that a program that hangs also stops being healthy. GET and HEAD only.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from netplane.errors import UsageError

Answer = tuple[int, Mapping[str, str], bytes]
Route = Callable[[], Answer | Awaitable[Answer]]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TEXT = {"Content-Type": "text/plain; charset=utf-8"}
JSON = {"Content-Type": "application/json"}


class Check(msgspec.Struct, frozen=True):
    """One named condition; `failing` says in words what is wrong, "" when nothing is."""

    name: str
    failing: Callable[[], str]


def checks(*conditions: Check) -> Callable[[], Answer]:
    """A route that is 200 `ok` while every condition holds, else 500 with the ones that do not."""

    def answer() -> Answer:
        wrong = [(check.name, reason) for check in conditions if (reason := check.failing())]
        if not wrong:
            return 200, TEXT, b"ok"
        return 500, TEXT, "".join(f"[-]{name} failed: {reason}\n" for name, reason in wrong).encode()

    return answer


def alive() -> Answer:
    """For /livez: the event loop answers, and that is all it says."""
    return 200, TEXT, b"ok"


def not_found() -> Answer:
    """For every path that nobody registered."""
    return 404, TEXT, b"404 page not found\n"


class App:
    """An ASGI application over a table of routes, path → callable."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self.routes = dict(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        answer = self._answer(scope["method"], scope["path"])
        status, headers, body = answer if isinstance(answer, tuple) else await answer
        named = {**headers, "Content-Length": str(len(body)), "X-Content-Type-Options": "nosniff"}
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _answer(self, method: str, path: str) -> Answer | Awaitable[Answer]:
        if method not in ("GET", "HEAD"):
            return 405, {**TEXT, "Allow": "GET, HEAD"}, b"405 method not allowed\n"
        return self.routes.get(path.rstrip("/") or "/", not_found)()


def parse_bind(text: str, flag: str, *, default_port: int) -> tuple[str, int]:
    """`host:port`, `[v6]:port`, `:port` or a bare host → (host, port). The flag's name is for the error."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = text, ""
    if port and not (port.isdigit() and int(port) < 2**16):
        raise UsageError(f"{flag} is {text!r}", hint="give host:port with a port from 0 to 65535")
    return host.strip("[]") or "0.0.0.0", int(port) if port else default_port  # noqa: S104 - ":port" means every address


def listen(host: str, port: int, flag: str) -> socket.socket:
    """A listening TCP socket; fails at once and by the flag's name when the address cannot be had.

    0.0.0.0 and :: mean every address of both families, as for programs in Go.
    """
    every = host in ("0.0.0.0", "::")  # noqa: S104 - what the operator asked for
    both = every and socket.has_dualstack_ipv6()
    sock = socket.socket(socket.AF_INET6 if both or ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if both:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::" if both else host, port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise UsageError(f"{flag}: cannot listen on {host}:{port}: {error.strerror}", hint="choose another") from error
    return sock


@asynccontextmanager
async def serve(routes: Mapping[str, Route], sock: socket.socket) -> AsyncIterator[int]:
    """Serve routes on a listening socket while the context lasts; yields the port. Takes no signals."""
    import uvicorn  # noqa: PLC0415 - slow to import, and not every program serves

    config = uvicorn.Config(App(routes), lifespan="off", log_level="error", access_log=False, ws="none")
    server = uvicorn.Server(config)
    # The program's own signal handlers stay: uvicorn would put its own in their place and raise the signal again.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]  # how one opts out
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        yield sock.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        sock.close()

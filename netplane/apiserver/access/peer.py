"""The user of a client certificate: read once for each connection, handed to every request on it."""

import asyncio
import fcntl
import hashlib
import ssl
import sys
import termios
from typing import Any
from urllib.parse import unquote

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from netplane.apiserver.access.tokens import AUTHENTICATED, CREDENTIAL, User
from netplane.apiserver.wire.heads import BODY, Heads, Request

KEY = "netplane.peer"
HEAD_S = 32.0
MOST_OF_A_HEAD = (1 << 20) + 4096
"""Bytes, as in Go's net/http; the parser itself knows no bound."""
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\n\r\n431 Request Header Fields Too Large"
)
LOOK_EVERY_S = 5.0
GOODBYE_S = 0.1
_heads = Heads()


def user_of(certificate: dict[str, Any], der: bytes = b"") -> User | None:
    """The last CN is the name, each O a group (Kubernetes' reading of X.509); None without a CN, or with an empty one.

    `certificate` as ssl.SSLSocket.getpeercert gives it: verified, or empty; `der` is the whole of it.
    """
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    names = [value for key, value in subject if key == "commonName"]
    groups = [value for key, value in subject if key == "organizationName"]
    if not names or not names[-1]:
        return None
    extra = ((CREDENTIAL, (f"X509SHA256={hashlib.sha256(der).hexdigest()}",)),) if der else ()
    return User(names[-1], "", (*groups, AUTHENTICATED), extra)


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which also tells whose certificate the connection showed, and knows heads again.

    `head_since` is when (in the loop's seconds) a request's head, or the first byte of it, began to be waited for; None
    while there is nothing to wait for. `idle_since` is when the last answer was given; None while there is one to give.
    """

    _peer: User | None = None
    _began = 0  # requests that the parser saw the beginning of, and those it saw the end of
    _ended = 0
    head_since: float | None = None
    idle_since: float | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Read the certificate, if any: TLS has verified it."""
        super().connection_made(transport)
        asgi = {"version": self.asgi_version, "spec_version": "2.3"}
        self._scope: dict[str, Any] = {
            "type": "http", "asgi": asgi, "http_version": "1.1", "server": self.server, "client": self.client,
            "scheme": self.scheme, "root_path": "",
        }  # fmt: skip
        self.head_since = self.loop.time()
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None and (shown := tls.getpeercert()):
            self._peer = user_of(dict(shown), tls.getpeercert(binary_form=True) or b"")

        if self._peer is not None:
            self._scope[KEY] = self._peer

    def data_received(self, data: bytes) -> None:
        """What came, as long as a request's head ends somewhere."""
        self._take(data)
        if self.head_since is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_OF_A_HEAD and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    def _take(self, data: bytes) -> None:
        """Requests that are known but for their first line and body pass by the parser; the others are learned from."""
        cycle: RequestResponseCycle | None = self.cycle
        if self._began != self._ended or (cycle is not None and not cycle.response_complete):
            super().data_received(data)
            return
        found = _heads.request(data)
        if found is not None:
            self._quick(found)
            return
        begun = self._began
        super().data_received(data)
        whole = self._ended == self._began == begun + 1 and self.cycle is not cycle
        if whole and self.cycle.keep_alive and self.scope["http_version"] == "1.1" and self.parser is not None:
            _heads.learn(data, self.headers)

    def _quick(self, request: Request) -> None:
        """As the parser's callbacks do it."""
        self.head_since = self.idle_since = None
        path = request.path.decode("ascii")
        scope: Any = {
            **self._scope, "headers": request.fields, "state": {}, "method": request.method.decode("ascii"),
            "path": unquote(path) if "%" in path else path, "raw_path": request.path, "query_string": request.query,
            BODY: request.body,
        }  # fmt: skip
        self.cycle = RequestResponseCycle(
            scope, self.transport, self.flow, self.logger, self.access_logger, False,
            self.server_state.default_headers, asyncio.Event(), False, True, self.on_response_complete,
        )  # fmt: skip
        self.cycle.body += request.body
        self.cycle.more_body = False
        self.cycle.message_event.set()
        self._start_asgi_task(self.cycle, self.app)

    def on_response_complete(self) -> None:
        """The next request is waited for; `close_slow` sees to it that this ends: a timer for each costs 2 us."""
        if self.pipeline:
            super().on_response_complete()
            return
        self.idle_since = self.loop.time()
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def on_message_complete(self) -> None:
        """All of a request is there."""
        self._ended += 1
        super().on_message_complete()

    def on_message_begin(self) -> None:
        """A request begins: its scope says who."""
        super().on_message_begin()
        self._began += 1
        self.idle_since = None
        self.head_since = self.loop.time()
        if self._peer is not None:
            self.scope[KEY] = self._peer  # type: ignore[literal-required]  # ours, beside ASGI's

    def on_headers_complete(self) -> None:
        """The head is there."""
        self.head_since = self.idle_since = None  # the answer before may have been given while the head came
        self._head_bytes = 0
        super().on_headers_complete()

    def waits_too_long(self, now: float) -> bool:
        """Whether nothing came for longer than it may take."""
        if self.head_since is not None:
            return self.head_since < now - HEAD_S
        return self.idle_since is not None and self.idle_since < now - self.timeout_keep_alive

    def shutdown(self) -> None:
        """The server ends: what is being answered is answered, then the connection closes."""
        super().shutdown()
        self.loop.call_later(GOODBYE_S, self._hang_up, False)

    def _hang_up(self, was_done: bool) -> None:
        """Not wait for the client's part of TLS's goodbye: one that just keeps its connection never looks for ours.

        It has all we sent when nothing was left to send twice in a row: once may be just before more is handed down.
        """
        done = self.transport.is_closing() and not self._unsent()
        if done and was_done:
            self.transport.abort()
        else:
            self.loop.call_later(GOODBYE_S, self._hang_up, done)

    def _unsent(self) -> int:
        """Bytes that the client's system has not acknowledged; of a socket that is closed, none."""
        sock = self.transport.get_extra_info("socket")
        try:
            queued = fcntl.ioctl(sock.fileno() if sock is not None else -1, termios.TIOCOUTQ, bytes(4))
        except (OSError, ValueError):
            return 0
        return int.from_bytes(queued, sys.byteorder) + self.transport.get_write_buffer_size()


async def close_slow(server: uvicorn.Server) -> None:
    """Close connections that wait too long, until cancelled: they cost a socket each.

    That is HEAD_S for the head of a request that began, and uvicorn's timeout between requests.
    """
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        now = loop.time()
        for one in list(server.server_state.connections):
            if isinstance(one, Protocol) and one.waits_too_long(now):
                one.transport.close()

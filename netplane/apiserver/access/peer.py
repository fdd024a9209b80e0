"""The user of a client certificate: read once for each connection, handed to every request on it."""

import asyncio
import fcntl
import ssl
import sys
import termios
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from netplane.apiserver.access.tokens import AUTHENTICATED, User

KEY = "netplane.peer"
HEAD_S = 32.0
LOOK_EVERY_S = 5.0
GOODBYE_S = 0.1


def user_of(certificate: dict[str, Any]) -> User | None:
    """CN is the name, each O a group (Kubernetes' reading of X.509); None without a CN.

    `certificate` as ssl.SSLSocket.getpeercert gives it: verified, or empty.
    """
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    names = [value for key, value in subject if key == "commonName"]
    groups = [value for key, value in subject if key == "organizationName"]
    return User(names[0], "", (*groups, AUTHENTICATED)) if names else None


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which also tells whose certificate the connection showed.

    `head_since` is when (in the loop's seconds) a request's head, or the first byte of it, began to be waited for; None
    while there is nothing to wait for.
    """

    _peer: User | None = None
    head_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Read the certificate, if any: TLS has verified it."""
        super().connection_made(transport)
        self.head_since = self.loop.time()
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        self._peer = user_of(dict(tls.getpeercert() or {})) if tls is not None else None

    def on_message_begin(self) -> None:
        """A request begins: its scope says who."""
        super().on_message_begin()
        self.head_since = self.loop.time()
        if self._peer is not None:
            self.scope[KEY] = self._peer  # type: ignore[literal-required]  # ours, beside ASGI's

    def on_headers_complete(self) -> None:
        """The head is there."""
        self.head_since = None
        super().on_headers_complete()

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
    """Close connections whose request's head takes longer than HEAD_S, until cancelled: they cost a socket each."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        before = loop.time() - HEAD_S
        for one in list(server.server_state.connections):
            if isinstance(one, Protocol) and one.head_since is not None and one.head_since < before:
                one.transport.close()

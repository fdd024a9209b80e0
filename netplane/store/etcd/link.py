"""Requests to an etcd cluster: one endpoint at a time, the next one when it fails, until the time is up.

What can be said after a failure decides what may be done about it:

    Refused         etcd answered that it will not: nothing happened
    Unavailable     no connection came about: nothing happened; others are tried first
    OutcomeUnknown  the connection or the leader was lost on the way: it happened, or will, or not
"""

import asyncio
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C core writes to stderr by itself; errors come as exceptions

import grpc
from grpc import StatusCode
from grpc.aio import AioRpcError

from netplane.obs import logs
from netplane.store.etcd.messages import Method
from netplane.store.protocol import OutcomeUnknown, StoreError, Unavailable

log = logs.get("store.etcd")

REQUEST_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
# A member that lost its leader says so instead of keeping quiet.
_NEEDS_LEADER = grpc.aio.Metadata(("hasleader", "true"))
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # a page of the largest objects, or a long catch-up
    ("grpc.max_send_message_length", -1),  # etcd says what it takes (--max-request-bytes)
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.enable_retries", 0),  # what is repeated is decided here
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
_LOST = {
    StatusCode.UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.CANCELLED,
    StatusCode.INTERNAL,
    StatusCode.UNKNOWN,
}
_NOT_SENT = ("failed to connect", "connections to all backends failing", "name resolution", "dns resolution")


class Tls(NamedTuple):
    """PEM files; without `ca` the system's authorities are believed."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def credentials(self) -> Any:
        """For gRPC. Raises StoreError naming a file that cannot be read."""
        return grpc.ssl_channel_credentials(*(_read(path) for path in (self.ca, self.key, self.cert)))


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}", hint="check the --etcd-… files") from error


class Refused(StoreError):
    """etcd's own no. `code` and `detail` are gRPC's."""

    def __init__(self, code: StatusCode, detail: str) -> None:
        super().__init__(f"etcd refused: {detail}", hint=_hint(code, detail))
        self.code, self.detail = code, detail


class Link:
    """Channels to the members of one cluster; `call` and `stream` use the one that worked last."""

    def __init__(self, servers: Sequence[str], tls: Tls | None = None) -> None:
        self._servers = [server.rstrip("/") for server in servers]
        credentials = (tls or Tls()).credentials() if any(s.startswith("https://") for s in self._servers) else None
        self._channels = [_channel(server, credentials) for server in self._servers]
        self._at = random.randrange(len(self._channels))
        self._methods: dict[tuple[int, str], Any] = {}

    @property
    def server(self) -> str:
        """Whom the next request goes to."""
        return self._servers[self._at]

    def _rpc(self, method: Method, kind: str) -> Any:
        known = self._methods.get((self._at, method.path))
        if known is None:
            make = getattr(self._channels[self._at], kind)
            known = make(method.path, method.request.SerializeToString, method.response.FromString)
            self._methods[self._at, method.path] = known
        return known

    async def once(self, method: Method, request: Any, timeout_s: float) -> Any:
        """Ask one member, once. Raises Refused; Unavailable, OutcomeUnknown: then it is the next's turn."""
        at = self._at
        try:
            return await self._rpc(method, "unary_unary")(request, timeout=timeout_s, metadata=_NEEDS_LEADER)
        except AioRpcError as error:
            raise self.failed(error, at) from error

    async def call(self, method: Method, request: Any, timeout_s: float = REQUEST_S) -> Any:
        """Ask, and ask again while etcd cannot be reached: for reads, and what may happen twice."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        pause = Pause()
        while (left := deadline - asyncio.get_running_loop().time()) > 0 or not pause.taken:
            try:
                return await self.once(method, request, max(left, 0.1))
            except Unavailable as error:
                last = error
                await pause()
        raise last

    def stream(self, method: Method) -> tuple[int, Any]:
        """(which member, an open stream). Its errors go through `failed`."""
        return self._at, self._rpc(method, "stream_stream")(metadata=_NEEDS_LEADER)

    def failed(self, error: AioRpcError, at: int) -> StoreError:
        """gRPC's error in our words; if member `at` is the trouble, the next one is asked from now on."""
        code, detail = error.code(), error.details() or error.code().name
        if code not in _LOST:
            return Refused(code, detail)
        if at == self._at:
            self._at = (at + 1) % len(self._channels)
        server = self._servers[at]
        if code is StatusCode.UNAVAILABLE and any(words in detail.lower() for words in _NOT_SENT):
            return Unavailable(
                f"cannot reach etcd at {server}: {detail}", hint="is it running, and are the TLS flags right?"
            )
        return OutcomeUnknown(f"lost etcd at {server}: {detail}", hint="try again")

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(channel.close() for channel in self._channels))


class Pause:
    """Longer each time, and never the same for all who wait."""

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S
        self.taken = 0

    async def __call__(self) -> None:
        """Wait."""
        self.taken += 1
        await asyncio.sleep(self._next_s * random.uniform(0.5, 1.0))
        self._next_s = min(self._next_s * 2, LONGEST_PAUSE_S)


def _channel(server: str, credentials: Any) -> Any:
    address = server.removeprefix("https://").removeprefix("http://")
    if server.startswith("https://"):
        return grpc.aio.secure_channel(address, credentials, options=_OPTIONS)
    return grpc.aio.insecure_channel(address, options=_OPTIONS)


def _hint(code: StatusCode, detail: str) -> str:
    if "space exceeded" in detail:
        return "etcd is full: compact and defragment it, raise --quota-backend-bytes, then `etcdctl alarm disarm`"
    if code in (StatusCode.PERMISSION_DENIED, StatusCode.UNAUTHENTICATED):
        return "give --etcd-certfile and --etcd-keyfile of a user who may read and write under --etcd-prefix"
    if "too large" in detail or "too many operations" in detail:
        return "raise etcd's --max-request-bytes or --max-txn-ops"
    return "see etcd's log"

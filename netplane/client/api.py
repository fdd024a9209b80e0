"""Talks to one apiserver: structs of `netplane.api.objects` in and out, refusals as exceptions.

Structs carry only the fields Netplane reads, so `replace` is for kinds whose every field they carry (EndpointSlice,
Endpoints, Lease); change a Node, Pod or Service with `patch`.
"""

import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Generic, Literal, Self, TypeVar

import httpx2
import msgspec
from lightkube.core.exceptions import ConfigError

from netplane import __version__
from netplane.api import objects
from netplane.client import errors, wire
from netplane.client.config import Connection
from netplane.errors import UsageError

T = TypeVar("T")
ObjectT = TypeVar("ObjectT", bound=objects.Object)
Params = Mapping[str, str | int]

JSON = "application/json"
PATCH_TYPES = {"merge": "application/merge-patch+json", "strategic": "application/strategic-merge-patch+json"}

# A node that vanishes sends no FIN: probe idle watches after 15 s, give up on unanswered bytes after 30 s.
SOCKET_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)
TIMEOUT = httpx2.Timeout(30.0, connect=5.0, pool=None)
# Shorter than the 5 s after which uvicorn closes idle connections, so that we never write into a closing one.
LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=4.0)


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A list: its items, and the resource version it was taken at."""

    items: list[T]
    resource_version: str = ""


class Api:
    """An async context manager; safe for any number of concurrent tasks of one event loop.

    Args:
        connection: from `config.load`, or `Connection("http://127.0.0.1:8080")` for a fake.
        agent: what the apiserver's logs should call this program.
        on_answer: called with the method, the host, the status and the seconds to the head of every answer.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        agent: str = "netplane",
        on_answer: Callable[[str, str, int, float], None] | None = None,
    ) -> None:
        self.connection = connection
        # The process environment's proxies are not for us: packets to the apiserver may be what we are here to route.
        transport = httpx2.AsyncHTTPTransport(
            verify=connection.tls or False,
            trust_env=False,
            limits=LIMITS,
            proxy=connection.proxy or None,
            socket_options=SOCKET_OPTIONS,
        )
        self._http = httpx2.AsyncClient(
            transport=transport,
            auth=connection.auth,
            timeout=TIMEOUT,
            trust_env=False,
            # Compressing costs an apiserver more than a local network saves.
            headers={"Accept": JSON, "Accept-Encoding": "identity", "User-Agent": f"{agent}/{__version__}"},
        )
        if on_answer is not None:
            self._http.event_hooks = _timed(on_answer)
        name = connection.tls_server_name
        self._extensions: dict[str, Any] = {"sni_hostname": name} if name else {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; running watches end."""
        await self._http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: object = None,
        content_type: str = JSON,
        timeout_s: float | None = None,
    ) -> bytes:
        """One request → the body of a 2xx answer; anything else raises `ApiError`.

        `body` is bytes, or anything msgspec can encode. `timeout_s` replaces the 30 s without a byte.
        """
        headers = {"Content-Type": content_type} if body is not None else None
        content = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        with self._translated(f"{method} {path}"):
            response = await self._http.request(
                method,
                self.connection.server + path,
                params=params,
                content=content,
                headers=headers,
                timeout=TIMEOUT if timeout_s is None else timeout_s,
                extensions=self._extensions,
            )
        if response.is_success:
            return response.content
        retry_after = response.headers.get("Retry-After", "")
        raise errors.from_answer(
            response.status_code, response.content, asked=f"{method} {path}", retry_after=retry_after
        )

    @asynccontextmanager
    async def stream(self, path: str, params: Params, *, read_timeout_s: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """GET an answer of unknown length: yields an iterator of chunks, as they arrive.

        Silence for longer than `read_timeout_s`, or a broken connection, raises `Unreachable`.
        """
        asked = f"GET {path}"
        timeout = httpx2.Timeout(read_timeout_s, connect=5.0, pool=None)
        url = self.connection.server + path
        with self._translated(asked):
            async with self._http.stream(
                "GET", url, params=params, timeout=timeout, extensions=self._extensions
            ) as response:
                if not response.is_success:
                    body = await response.aread()
                    retry_after = response.headers.get("Retry-After", "")
                    raise errors.from_answer(response.status_code, body, asked=asked, retry_after=retry_after)
                yield response.aiter_raw()

    async def get(self, cls: type[ObjectT], name: str, namespace: str = "") -> ObjectT:
        """One object by name."""
        path = objects.KIND_OF[cls].path(namespace, name)
        return wire.decoder(cls).decode(await self.request("GET", path))

    async def list(
        self, cls: type[ObjectT], namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> Page[ObjectT]:
        """All objects of a kind, in one namespace or ("") in all."""
        params = selectors(label_selector, field_selector)
        body = await self.request("GET", objects.KIND_OF[cls].path(namespace), params=params)
        page = wire.decoder(wire.RawList).decode(body)
        decode = wire.decoder(cls).decode
        return Page([decode(raw) for raw in page.items or []], page.metadata.resource_version)

    async def create(self, obj: ObjectT) -> ObjectT:
        """Create; a `generateName` gets its name from the server. Returns the stored object."""
        kind = objects.KIND_OF[type(obj)]
        return await self._write("POST", kind.path(obj.metadata.namespace), obj)

    async def replace(self, obj: ObjectT) -> ObjectT:
        """Overwrite; `Conflict` when the object's resourceVersion is no longer the stored one."""
        kind = objects.KIND_OF[type(obj)]
        return await self._write("PUT", kind.path(obj.metadata.namespace, obj.metadata.name), obj)

    async def patch(
        self,
        cls: type[ObjectT],
        name: str,
        namespace: str,
        patch: Mapping[str, Any],
        *,
        kind: Literal["merge", "strategic"] = "merge",
        subresource: str = "",
    ) -> ObjectT:
        """Change the fields that `patch` names. A metadata.resourceVersion in it makes a stale patch a `Conflict`."""
        path = objects.KIND_OF[cls].path(namespace, name, subresource)
        answer = await self.request("PATCH", path, body=patch, content_type=PATCH_TYPES[kind])
        return wire.decoder(cls).decode(answer)

    async def delete(
        self, cls: type[objects.Object], name: str, namespace: str = "", *, grace_period_s: int | None = None
    ) -> None:
        """Delete; `grace_period_s` 0 removes a pod at once, without its node's word."""
        path = objects.KIND_OF[cls].path(namespace, name)
        params: Params = {} if grace_period_s is None else {"gracePeriodSeconds": grace_period_s}
        await self.request("DELETE", path, params=params)

    async def bind(self, pod_namespace: str, pod_name: str, node: str) -> None:
        """Give a pending pod its node; `Conflict` when it has one."""
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod_name, "namespace": pod_namespace},
            "target": target,
        }
        await self.request("POST", objects.KIND_OF[objects.Pod].path(pod_namespace, pod_name, "binding"), body=body)

    @contextmanager
    def _translated(self, asked: str) -> Iterator[None]:
        """What goes wrong below HTTP, in our words: the network, or credentials that cannot be had."""
        try:
            yield
        except (httpx2.TransportError, httpx2.InvalidURL, OSError) as error:
            reason = str(error) or type(error).__name__
            raise errors.Unreachable(f"{asked}: no answer from {self.connection.server}: {reason}") from error
        except (UsageError, ConfigError) as error:
            raise errors.Unauthorized(f"{asked}: no credentials: {error}") from error

    async def _write(self, method: str, path: str, obj: ObjectT) -> ObjectT:
        kind = objects.KIND_OF[type(obj)]
        named = msgspec.structs.replace(obj, api_version=kind.api_version, kind=kind.kind)
        return wire.decoder(type(obj)).decode(await self.request(method, path, body=named))


def _timed(tell: Callable[[str, str, int, float], None]) -> dict[str, list[Callable[..., Awaitable[None]]]]:
    """Hooks that tell of every answer, and how long its head took."""

    async def asked(request: httpx2.Request) -> None:
        request.extensions["asked"] = time.monotonic()

    async def answered(response: httpx2.Response) -> None:
        request = response.request
        took_s = time.monotonic() - request.extensions["asked"]
        tell(request.method, request.url.netloc.decode(), response.status_code, took_s)

    return {"request": [asked], "response": [answered]}


def selectors(label_selector: str, field_selector: str) -> dict[str, str | int]:
    """Query parameters for the selectors that are given."""
    pairs = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {name: value for name, value in pairs.items() if value}

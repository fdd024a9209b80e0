"""What the proxy says of itself: /healthz, /livez, /metrics, /proxyMode, /configz, and every healthCheckNodePort.

Load balancers ask /healthz whether to send new connections to this node, and a service's healthCheckNodePort whether
it has endpoints here. A node that is about to go (deleted, or tainted by the autoscaler) stays alive but says no.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime

import msgspec

from netplane.api.objects import Node
from netplane.errors import NetplaneError
from netplane.obs import health, logs
from netplane.obs.health import Answer
from proxy import metrics
from proxy.plan.model import Health

log = logs.get("proxy.health")

TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"


class State:
    """Whether the proxy keeps up. `now` gives seconds of the event loop's clock.

    Healthy means: nothing has waited longer than `patience_s` to reach the kernel.
    """

    def __init__(self, now: Callable[[], float], patience_s: float = 60.0) -> None:
        self._now = now
        self._patience_s = patience_s
        self._waiting_since: float | None = now()
        self.node: Node | None = None
        self.updated: datetime | None = None

    def changed(self) -> None:
        """Something is to be written to the kernel."""
        if self._waiting_since is None:
            self._waiting_since = self._now()

    def synced(self) -> None:
        """The kernel has everything."""
        self._waiting_since, self.updated = None, datetime.now(UTC)

    @property
    def healthy(self) -> bool:
        """Whether the proxy keeps up."""
        return self._waiting_since is None or self._now() - self._waiting_since < self._patience_s

    @property
    def eligible(self) -> bool:
        """Whether the node should get new connections."""
        if self.node is None:
            return True
        taints = self.node.spec.taints or ()
        return self.node.metadata.deletion_timestamp is None and all(taint.key != TO_BE_DELETED for taint in taints)

    def healthz(self) -> Answer:
        """For /healthz: keeps up, and the node is to stay."""
        return self._answer(self.healthy and self.eligible)

    def livez(self) -> Answer:
        """For /livez: keeps up."""
        return self._answer(self.healthy)

    def _answer(self, good: bool) -> Answer:
        body = {
            "lastUpdated": str(self.updated or ""),
            "currentTime": str(datetime.now(UTC)),
            "nodeEligible": self.eligible,
        }
        return (200 if good else 503), health.JSON, msgspec.json.encode(body)


def routes(state: State, config: bytes) -> dict[str, health.Route]:
    """The routes of the health server."""
    return {
        "/healthz": state.healthz,
        "/livez": state.livez,
        "/proxyMode": lambda: (200, health.TEXT, b"nftables"),
        "/configz": lambda: (200, health.JSON, config),
    }


def metric_routes(state: State, stats: metrics.Stats, config: bytes) -> dict[str, health.Route]:
    """The routes of the metrics server, which answers all the others too."""
    return {**routes(state, config), "/metrics": metrics.route(stats)}


class NodePortChecks:
    """One listener per healthCheckNodePort, opened and closed as services come and go.

    Answers 200 while this node has ready endpoints of the service and the proxy keeps up, else 503.
    """

    def __init__(self, state: State, host: str = "") -> None:
        self._state = state
        self._host = host
        self._wanted: dict[str, Health] = {}
        self._servers: dict[int, asyncio.Server] = {}

    async def update(self, wanted: Mapping[str, Health]) -> None:
        """Open and close listeners so that each service in `wanted` is answered for on its port."""
        self._wanted = dict(wanted)
        ports = {check.port for check in self._wanted.values()}
        for port in self._servers.keys() - ports:
            self._servers.pop(port).close()
        for port in ports - self._servers.keys():
            with contextlib.suppress(NetplaneError):
                await self._open(port)

    async def close(self) -> None:
        """Close every listener."""
        await self.update({})

    async def _open(self, port: int) -> None:
        try:
            self._servers[port] = await asyncio.start_server(self._serve, self._host or None, port)
        except OSError as error:
            log.error("healthCheckNodePort cannot be opened", port=port, error=error.strerror)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        try:
            async with asyncio.timeout(10):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(self.answer(port, head=request.startswith(b"HEAD ")))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the asker went away or never asked: nobody is left to tell
        finally:
            writer.close()

    def answer(self, port: int, *, head: bool = False) -> bytes:
        """A whole HTTP answer for a port."""
        check = next((check for check in self._wanted.values() if check.port == port), None)
        if check is None:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        namespace, _, name = check.service.partition("/")
        good = check.local_endpoints > 0 and self._state.healthy
        body = msgspec.json.encode(
            {
                "service": {"namespace": namespace, "name": name},
                "localEndpoints": check.local_endpoints,
                "serviceProxyHealthy": self._state.healthy,
            }
        )
        lines = (
            f"HTTP/1.1 {'200 OK' if good else '503 Service Unavailable'}",
            "Content-Type: application/json",
            "X-Content-Type-Options: nosniff",
            f"X-Load-Balancing-Endpoint-Weight: {check.local_endpoints}",
            f"Content-Length: {len(body)}",
            "Connection: close",
            "\r\n",
        )
        return "\r\n".join(lines).encode() + (b"" if head else body)


@contextlib.asynccontextmanager
async def serving(
    state: State,
    stats: metrics.Stats,
    config: bytes,
    health_socket: socket.socket | None,
    metrics_socket: socket.socket | None,
) -> AsyncIterator[None]:
    """Serve on the sockets that are given, while the context lasts."""
    async with contextlib.AsyncExitStack() as stack:
        if health_socket is not None:
            await stack.enter_async_context(health.serve(routes(state, config), health_socket))
        if metrics_socket is not None:
            await stack.enter_async_context(health.serve(metric_routes(state, stats, config), metrics_socket))
        yield

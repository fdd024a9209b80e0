"""What the proxy says of itself: /healthz, /livez, /metrics, /proxyMode, /configz, and every healthCheckNodePort.

Load balancers ask /healthz whether to send new connections to this node, and a service's healthCheckNodePort whether
it has endpoints here. A node that is about to go (deleted, or tainted by the autoscaler) stays alive but says no.
"""

import asyncio
import contextlib
import json
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from netplane.api.objects import Node
from netplane.errors import UsageError
from netplane.obs import health, logs
from netplane.obs.health import Answer
from proxy import metrics
from proxy.plan.model import Health

log = logs.get("proxy.health")

DOOR_RETRY_S = 5.0
TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"


class State:
    """Whether the proxy keeps up. `now` gives seconds of the event loop's clock.

    Healthy means: nothing has waited longer than `patience_s` to reach the kernel. `families` are those whose rules
    are kept; one run writes all, so they are told alike. `node` is what the node's object said last.
    """

    def __init__(
        self, now: Callable[[], float], patience_s: float = 60.0, families: Iterable[str] = ("IPv4", "IPv6")
    ) -> None:
        self._now = now
        self._patience_s = patience_s
        self._families = tuple(families)
        self._waiting_since: float | None = now()
        self.node: Node | None = None
        self.updated: datetime | None = None
        self._started = datetime.now(UTC)

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
        """Whether the node should get new connections: it is there, and is to stay."""
        if self.node is None:
            return False
        taints = self.node.spec.taints or ()
        return self.node.metadata.deletion_timestamp is None and all(taint.key != TO_BE_DELETED for taint in taints)

    def healthz(self) -> Answer:
        """For /healthz: keeps up, and the node is to stay."""
        return self._answer(self.healthy and self.eligible, {"nodeEligible": self.eligible})

    def livez(self) -> Answer:
        """For /livez: keeps up. An apiserver that cannot be reached is no reason to start this program again."""
        return self._answer(self.healthy or self.updated is None, {})

    def _answer(self, good: bool, more: Mapping[str, bool]) -> Answer:
        """As in the reference: while it is well, it was updated right now; else, when it last was."""
        now, updated = datetime.now(UTC), self.updated or self._started
        of_family = {"lastUpdated": _go_time(updated), "healthy": self.healthy}
        body = {
            "lastUpdated": _go_time(now if good else updated),
            "currentTime": _go_time(now),
            **more,
            "healthy": self.healthy,
            "status": dict.fromkeys(self._families, of_family),
        }
        return (200 if good else 503), health.JSON, msgspec.json.encode(body)


def _go_time(when: datetime) -> str:
    """As Go writes a time into JSON: `2006-01-02T15:04:05.999999Z`."""
    text = when.replace(tzinfo=None).isoformat()
    return f"{text.rstrip('0') if '.' in text else text}Z"


def routes(state: State, stats: metrics.Stats, config: bytes) -> dict[str, health.Route]:
    """The routes of the health server."""
    return {
        "/healthz": _counting(state.healthz, stats.healthz_answers),
        "/livez": _counting(state.livez, stats.livez_answers),
        "/proxyMode": lambda: (200, health.TEXT, b"nftables"),
        "/configz": lambda: (200, health.JSON, config),
    }


def _counting(route: Callable[[], Answer], answers: Counter[int]) -> health.Route:
    def answer() -> Answer:
        found = route()
        answers[found[0]] += 1
        return found

    return answer


def metric_routes(state: State, stats: metrics.Stats, config: bytes) -> dict[str, health.Route]:
    """The routes of the metrics server, which answers the others too; its own /healthz says that it answers."""
    return {**routes(state, stats, config), "/healthz": health.alive, "/metrics": metrics.route(stats)}


class NodePortChecks:
    """A listener per healthCheckNodePort and address of the node, opened and closed as services come and go.

    Answers 200 while this node has ready endpoints of the service and the proxy keeps up, else 503.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._wanted: dict[str, Health] = {}
        self._servers: dict[tuple[str, int], asyncio.Server] = {}
        self._refused: set[tuple[str, int]] = set()

    async def update(self, wanted: Mapping[str, Health], hosts: Iterable[str] = ("",)) -> None:
        """Open and close listeners so that each service in `wanted` is answered for on its port at `hosts`."""
        self._wanted = dict(wanted)
        places = {(host, check.port) for check in self._wanted.values() for host in hosts}
        for place in self._servers.keys() - places:
            self._servers.pop(place).close()
        self._refused &= places
        for place in sorted(places - self._servers.keys()):
            await self._open(*place)

    async def close(self) -> None:
        """Close every listener."""
        await self.update({})

    async def _open(self, host: str, port: int) -> None:
        try:
            self._servers[host, port] = await asyncio.start_server(self._serve, host or None, port)
            self._refused.discard((host, port))
        except OSError as error:
            # It is tried again at every sync, of which there may be hundreds in a second: said once.
            if (host, port) not in self._refused:
                log.error("healthCheckNodePort cannot be opened", port=port, address=host, error=error.strerror)
            self._refused.add((host, port))

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
        said = {
            "service": {"namespace": namespace, "name": name},
            "localEndpoints": check.local_endpoints,
            "serviceProxyHealthy": self._state.healthy,
        }
        body = json.dumps(said, indent="\t").encode()
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


class Door:
    """A listening socket, opened at once. Where its address is taken it is tried again until it is free: nobody's
    connections should wait for a port of metrics. `hard` makes that an error instead.

    Args:
        address: host:port, or "" for no socket at all.
        field: of the configuration, for errors.

    Raises:
        UsageError: when the address cannot be read; with `hard`, also when it cannot be had.
    """

    def __init__(self, address: str, field: str, default_port: int, *, hard: bool) -> None:
        self._place = health.parse_bind(address, field, default_port=default_port) if address else None
        self._field = field
        self._socket: socket.socket | None = None
        try:
            self._open()
        except UsageError as error:
            if hard:
                raise
            log.error("nothing is served there; it is tried again and again", why=error.message)

    def _open(self) -> None:
        if self._place is not None:
            self._socket = health.listen(*self._place, self._field)

    async def serve(self, routes: Mapping[str, health.Route], retry_s: float = DOOR_RETRY_S) -> None:
        """Answer until cancelled."""
        while self._place is not None and self._socket is None:
            await asyncio.sleep(retry_s)
            with contextlib.suppress(UsageError):
                self._open()
        if self._socket is not None:
            async with health.serve(routes, self._socket):
                await asyncio.Event().wait()

    def close(self) -> None:
        """Close the socket, also when nobody came to serve on it."""
        if self._socket is not None:
            self._socket.close()

"""What became of connections, service by service: read from the sets that rules count in, whenever somebody asks.

    services, ext-services …         each element counts the packets it led to a balancer           connections
    rejects, local-drops …           sets to which rules add the frontends they refuse              the rest
    `Counters.gather`                one dump per map or set, added up by service port              only when scraped

Only the first packet of a connection passes the rules, so packets are connections. A map's element is replaced when its
service gets another number of endpoints; the plane lets the new one count on from there.
"""

import asyncio
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import NamedTuple

from netplane.kernel.nft import Counted, Nft, NftError
from netplane.nft import types
from netplane.nft.elements import Change, Transaction
from netplane.obs import logs
from proxy.plan.changes import Tracker
from proxy.plan.model import Port, frontend_key
from proxy.plan.skeleton import REFUSALS, VERDICT_MAPS, is_balancer
from proxy.plane import Plane

log = logs.get("proxy.counters")

STEP_ELEMENTS = 300


class ServicePort(NamedTuple):
    """Whose connections: `port` is its name, or its number where it has none; `protocol` as tcp, udp, sctp."""

    namespace: str
    service: str
    port: str
    protocol: str


class Count(NamedTuple):
    """Since the proxy started, or earlier: the kernel counts on while there is no proxy.

    `rejects` had no endpoints; `local_drops` had none on this node, under a Local policy; `source_drops` came from
    outside of loadBalancerSourceRanges. `endpoints` are those that the ClusterIP leads to now.
    """

    connections: int = 0
    rejects: int = 0
    local_drops: int = 0
    source_drops: int = 0
    endpoints: int = 0


class Counters:
    """Reads the counters of planes, through a socket of its own: a dump that pauses must not meet other answers.

    At 10,000 services a reading takes tens of milliseconds, so it goes in steps of about one: whoever runs them in an
    event loop lets changes through in between.
    """

    def __init__(self, nft: Nft, planes: Iterable[Plane], tracker: Tracker) -> None:
        self._nft = nft
        self._planes = tuple(planes)
        self._tracker = tracker
        self._seen: dict[tuple[str, str], dict[bytes, int]] = {}
        self._totals: dict[ServicePort, Counter[str]] = {}
        self._reading = asyncio.Lock()

    def read(self) -> dict[ServicePort, Count]:
        """Every service port that anybody asked for. Numbers only grow, until the service goes."""
        found: dict[ServicePort, Count] = {}
        for _ in self._steps(found):
            pass
        return found

    async def gather(self) -> dict[ServicePort, Count]:
        """The same, with pauses for everybody else in this event loop."""
        found: dict[ServicePort, Count] = {}
        async with self._reading:
            for _ in self._steps(found):
                await asyncio.sleep(0)
        return found

    def _steps(self, found: dict[ServicePort, Count]) -> Iterator[None]:
        for plane in self._planes:
            try:
                yield from self._read(plane)
            except NftError as error:
                log.warning("counters cannot be read", table=plane.table.spec, why=error.message)
        known = self._tracker.services
        gone = [port for port in self._totals if f"{port.namespace}/{port.service}" not in known]
        for port in gone:
            del self._totals[port]
        for number, (port, total) in enumerate(self._totals.items()):
            found[port] = Count(**total, endpoints=self._endpoints(port))  # a total's keys are fields
            if number % STEP_ELEMENTS == 0:
                yield

    def _endpoints(self, port: ServicePort) -> int:
        """Of the family that has more: those of dual-stack services are the same pods."""
        served = self._tracker.service(f"{port.namespace}/{port.service}")
        found = 0
        for plane in self._planes:
            view = served.view(plane.family) if served else None
            for one in view.ports if view else ():
                key = frontend_key(view.cluster_ip, one.protocol, one.port) if view else b""
                frontend = plane.ledger.frontend(key)
                if frontend is not None and _named(port, one):
                    found = max(found, len(frontend.rows) // plane.ledger.width)
        return found

    def _read(self, plane: Plane) -> Iterator[None]:
        for name in VERDICT_MAPS:
            counted = yield from self._dump(plane, name)
            now = {key: n for key, (verdict, n) in counted.items() if n and is_balancer(verdict.removeprefix("goto "))}
            yield from self._add(plane, name, "connections", now)
        for name in REFUSALS:
            counted = yield from self._dump(plane, name)
            now = {key: packets for key, (_, packets) in counted.items()}
            yield from self._add(plane, name, name.replace("-", "_"), now)
            strays = [key for key in now if self._port(plane, key) is None]
            if strays:
                self._nft.commit(Transaction(plane.table, (Change(plane.table.set(name), strays),)))

    def _dump(self, plane: Plane, name: str) -> Generator[None, None, dict[bytes, Counted]]:
        found: dict[bytes, Counted] = {}
        parts = self._nft.list_counters(plane.table, plane.table.set(name))
        try:
            for part in parts:
                found |= part
                yield
        finally:
            for _ in parts:  # left half-way, the socket would answer the next question with the rest
                pass
        return found

    def _add(self, plane: Plane, name: str, field: str, now: Mapping[bytes, int]) -> Iterator[None]:
        """Add what was counted since the last time."""
        before = self._seen.get((plane.table.spec, name), {})
        for number, (key, packets) in enumerate(now.items()):
            seen = before.get(key, 0)
            # Fewer than before: the table was made anew in between.
            more = packets - seen if packets >= seen else packets
            port = self._port(plane, key) if more else None
            if port is not None:
                self._totals.setdefault(port, Counter())[field] += more
            if number % STEP_ELEMENTS == 0:
                yield
        # A frontend without endpoints has no element that counts, and goes on from the same number when it has again.
        kept = {key: n for key, n in before.items() if key not in now and plane.ledger.frontend(key) is not None}
        self._seen[plane.table.spec, name] = {**kept, **now}

    def _port(self, plane: Plane, key: bytes) -> ServicePort | None:
        service = plane.ledger.owner(key)
        served = self._tracker.service(service) if service else None
        view = served.view(plane.family) if served else None
        if view is None:
            return None
        slot = plane.family.address.slot
        protocol, number = key[slot], int.from_bytes(key[slot + 4 : slot + 6], "big")
        ports = (p for p in view.ports if p.protocol == protocol and number in (p.port, p.node_port))
        found = next(ports, None)
        if found is None:
            return None
        namespace, _, name = service.partition("/")
        return ServicePort(namespace, name, *_labels(found))


def _labels(port: Port) -> tuple[str, str]:
    return port.name or str(port.port), types.INET_PROTO.text(bytes((port.protocol, 0, 0, 0)))


def _named(label: ServicePort, port: Port) -> bool:
    return (label.port, label.protocol) == _labels(port)

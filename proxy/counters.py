"""What became of connections, service by service: read from the sets that rules count in, whenever somebody asks.

    services, ext-services …         each element counts the packets it led to a balancer           connections
    rejects, local-drops …           sets to which rules add the frontends they refuse              the rest
    `Counters.read`                  one dump per map or set, added up by service port              only when scraped

Only the first packet of a connection passes the rules, so packets are connections. A map's element is replaced when its
service gets another number of endpoints; the plane keeps what it had counted.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from netplane.kernel.nft import Nft, NftError
from netplane.nft import types
from netplane.nft.elements import Change, Transaction
from netplane.obs import logs
from proxy.plan.changes import Tracker
from proxy.plan.model import Port, frontend_key
from proxy.plan.skeleton import REFUSALS, VERDICT_MAPS, is_balancer
from proxy.plane import Plane

log = logs.get("proxy.counters")


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
    """Reads the counters of planes. To be used by the thread that their Nft belongs to."""

    def __init__(self, nft: Nft, planes: Iterable[Plane], tracker: Tracker) -> None:
        self._nft = nft
        self._planes = tuple(planes)
        self._tracker = tracker
        self._seen: dict[tuple[str, str], dict[bytes, int]] = {}
        self._totals: dict[ServicePort, Counter[str]] = {}

    def read(self) -> dict[ServicePort, Count]:
        """Every service port that anybody asked for. Numbers only grow, until the service goes."""
        for plane in self._planes:
            try:
                self._read(plane)
            except NftError as error:
                log.warning("counters cannot be read", table=plane.table.spec, why=error.message)
        known = self._tracker.services
        gone = [port for port in self._totals if f"{port.namespace}/{port.service}" not in known]
        for port in gone:
            del self._totals[port]
        return {
            port: Count(**total, endpoints=self._endpoints(port))  # a total's keys are fields
            for port, total in self._totals.items()
        }

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

    def _read(self, plane: Plane) -> None:
        carried, plane.carried = plane.carried, {}
        for name in VERDICT_MAPS:
            counted = self._nft.list_counters(plane.table, plane.table.set(name))
            now = {key: n for key, (verdict, n) in counted.items() if n and is_balancer(verdict.removeprefix("goto "))}
            before = {key: packets for (owner, key), packets in carried.items() if owner == name}
            self._add(plane, name, "connections", now, before)
        for name in REFUSALS:
            owner = plane.table.set(name)
            now = {key: packets for key, (_, packets) in self._nft.list_counters(plane.table, owner).items()}
            strays = self._add(plane, name, name.replace("-", "_"), now, {})
            if strays:
                self._nft.commit(Transaction(plane.table, (Change(owner, strays),)))

    def _add(
        self, plane: Plane, name: str, field: str, now: dict[bytes, int], carried: dict[bytes, int]
    ) -> list[bytes]:
        """Add what was counted since the last time; returns what belongs to no service."""
        before, strays = self._seen.get((plane.table.spec, name), {}), []
        for key in now.keys() | carried.keys():
            seen, packets = before.get(key, 0), now.get(key, 0)
            if key in carried:
                more = max(carried[key] - seen, 0) + packets
            else:
                # Fewer than before: the table was made anew in between.
                more = packets - seen if packets >= seen else packets
            port = self._port(plane, key)
            if port is None:
                strays.append(key)
            elif more:
                self._totals.setdefault(port, Counter())[field] += more
        self._seen[plane.table.spec, name] = now
        return strays

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

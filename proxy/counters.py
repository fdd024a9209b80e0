"""What became of connections, service by service: read from the sets that rules count in, whenever somebody asks.

    rules           connections, rejects, local-drops, source-drops: frontend → packets        (the kernel counts)
    `Counters.read` one dump per set, added up by service port                                  (only when scraped)

Only the first packet of a connection passes the rules, so packets are connections. Nothing is written when services
change: a set's element comes with the first connection it counts, and goes, here, after its frontend went.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from netplane.kernel.nft import Nft, NftError
from netplane.nft import types
from netplane.nft.elements import Change, Transaction
from netplane.obs import logs
from proxy.plan.changes import Tracker
from proxy.plan.skeleton import COUNTED
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
    outside of loadBalancerSourceRanges.
    """

    connections: int = 0
    rejects: int = 0
    local_drops: int = 0
    source_drops: int = 0


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
            for name in COUNTED:
                try:
                    self._add(plane, name)
                except NftError as error:
                    log.warning("counters cannot be read", table=plane.table.spec, set=name, why=error.message)
        known = self._tracker.services
        gone = [port for port in self._totals if f"{port.namespace}/{port.service}" not in known]
        for port in gone:
            del self._totals[port]
        return {port: Count(*(total[name] for name in COUNTED)) for port, total in self._totals.items()}

    def _add(self, plane: Plane, name: str) -> None:
        owner = plane.table.set(name)
        now = self._nft.list_counters(plane.table, owner)
        before = self._seen.get((plane.table.spec, name), {})
        strays: set[bytes] = set()
        for key, packets in now.items():
            port = self._port(plane, key)
            if port is None:
                strays.add(key)
                continue
            seen = before.get(key, 0)
            # Fewer than before: the table was made anew in between.
            self._totals.setdefault(port, Counter())[name] += packets - seen if packets >= seen else packets
        if strays:
            self._nft.commit(Transaction(plane.table, (Change(owner, list(strays)),)))
        self._seen[plane.table.spec, name] = {key: packets for key, packets in now.items() if key not in strays}

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
        return ServicePort(namespace, name, found.name or str(found.port), types.INET_PROTO.text(key[slot : slot + 4]))

"""Which tracked flows are stale: they would go on to an endpoint that answers no more.

UDP has no end, so a flow lives as long as its client keeps talking. It is stale when its endpoint is not one that its
service still serves from (ready, or terminating and serving; policies and hints do not matter here), or when it was
never translated although it could be now. With no endpoints left all of them are stale: the next datagram is then
refused. A TCP connection ends by itself, so only those to endpoints that are in no slice any more are ended: their next
segment is answered with a reset instead of with silence. SCTP is left alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from netplane.nft.types import PROTOCOLS
from proxy.plan.model import Frontend

TCP, UDP = PROTOCOLS["tcp"], PROTOCOLS["udp"]


class Seen(NamedTuple):
    """A tracked flow as the plan sees it: register forms of where it was sent and who answers."""

    frontend: bytes
    endpoint: bytes
    translated: bool


class Expected(NamedTuple):
    """A frontend's endpoints (address . port): those that serve, and those that are in a slice at all."""

    serving: frozenset[bytes]
    known: frozenset[bytes]

    def with_(self, other: "Expected") -> "Expected":
        """Both: where two ports of a service cannot be told apart by number, a flow of either is kept."""
        return Expected(self.serving | other.serving, self.known | other.known)


GONE = Expected(frozenset(), frozenset())
"""A frontend that is no more."""


Flows = Mapping[bytes, Expected]
"""What is expected of each frontend's flows."""

F = TypeVar("F")


def stale(flows: Iterable[tuple[F, Seen]], protocol: int, expected: Flows) -> Iterator[F]:
    """The flows to delete, of one protocol. Frontends that `expected` does not name are none of ours."""
    for flow, seen in flows:
        wanted = expected.get(seen.frontend)
        if wanted is not None and _ended(protocol, seen, wanted):
            yield flow


def _ended(protocol: int, seen: Seen, wanted: Expected) -> bool:
    if protocol == UDP:
        return seen.endpoint not in wanted.serving
    return protocol == TCP and seen.translated and seen.endpoint not in wanted.known


def candidates(
    before: Mapping[bytes, Frontend | None], after: Mapping[bytes, Frontend | None], width: int
) -> set[bytes]:
    """Frontends whose flows are worth a look: UDP ones that changed at all, TCP ones that lost an endpoint."""
    found = set()
    for key, old in before.items():
        new = after.get(key)
        protocol = protocol_of(key)
        if (protocol == UDP and old != new) or (protocol == TCP and old is not None and _lost(old, new, width)):
            found.add(key)
    return found


def protocol_of(frontend: bytes) -> int:
    """The protocol number in a frontend's key."""
    return frontend[-8]


def _lost(old: Frontend, new: Frontend | None, width: int) -> bool:
    return any(
        not _rows(before, width) <= _rows(after, width)
        for before, after in (
            (old.rows, new.rows if new else b""),
            (old.short_rows, new.short_rows if new else b""),
        )
    )


def _rows(rows: bytes, width: int) -> set[bytes]:
    return {rows[offset : offset + width] for offset in range(0, len(rows), width)}

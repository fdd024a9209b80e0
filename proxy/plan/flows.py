"""Which tracked flows are stale: they would go on to an endpoint that answers no more.

UDP has no end, so a flow lives as long as its client keeps talking. It is stale when its endpoint is not one that its
service still serves from (ready, or terminating and serving; policies and hints do not matter here), or when it was
never translated although it could be now. With no endpoints left all of them are stale: the next datagram is then
refused. A TCP connection ends by itself, so only those to endpoints that are in no slice any more are ended: their next
segment is answered with a reset instead of with silence. SCTP is left alone.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from netplane.nft.types import PROTOCOLS

TCP, UDP = PROTOCOLS["tcp"], PROTOCOLS["udp"]


class Seen(NamedTuple):
    """A tracked flow as the plan sees it: register forms of where it was sent and who answers."""

    frontend: bytes
    endpoint: bytes
    translated: bool


class Expected(NamedTuple):
    """A frontend's endpoints (address . port): those that serve, and those that are in a slice at all."""

    serving: Collection[bytes]
    known: Collection[bytes]


F = TypeVar("F")


def stale(flows: Iterable[tuple[F, Seen]], protocol: int, expected: Mapping[bytes, Expected]) -> Iterator[F]:
    """The flows to delete, of one protocol. Frontends that `expected` does not name are none of ours."""
    for flow, seen in flows:
        wanted = expected.get(seen.frontend)
        if wanted is not None and _ended(protocol, seen, wanted):
            yield flow


def _ended(protocol: int, seen: Seen, wanted: Expected) -> bool:
    if protocol == UDP:
        return seen.endpoint not in wanted.serving
    return protocol == TCP and seen.translated and seen.endpoint not in wanted.known

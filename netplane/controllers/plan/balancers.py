"""Who holds which load balancer address. The Services' status is the record; this is its index.

    span 192.0.2.10-192.0.2.20:   .10   .11   .12  ...
                holders           a     b,c    -           b and c share: same namespace, same key, other ports

An address is held by the Service whose status carries it, or for which it was reserved before it was written: a write
whose answer is lost may have been done. Pure data; one Service costs the same in a pool of any size.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netplane.api.objects import Service

CLASS = "netplane.io/pool"
SHARE = "netplane.io/share-address"
LOAD_BALANCER = "LoadBalancer"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Span(NamedTuple):
    """Addresses of one family from first to last, both included."""

    first: Address
    last: Address

    @property
    def family(self) -> str:
        """IPv4 or IPv6."""
        return f"IPv{self.first.version}"

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address):
            return False
        return address.version == self.first.version and int(self.first) <= int(address) <= int(self.last)


class Claim(NamedTuple):
    """What decides whether a Service may share an address. `rank`: of two that may not, the lower keeps it."""

    rank: tuple[str, str]
    namespace: str
    share: str
    ports: frozenset[tuple[str, int]]
    local: bool
    selector: frozenset[tuple[str, str]]

    def agrees(self, other: "Claim") -> bool:
        """Same namespace and sharing key, no port twice; and with externalTrafficPolicy Local the same pods."""
        together = bool(self.share) and (self.namespace, self.share) == (other.namespace, other.share)
        same_pods = not (self.local or other.local) or self.selector == other.selector
        return together and same_pods and not self.ports & other.ports


class Balancers:
    """The spans, and the holders of their addresses."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self.spans = tuple(spans)
        self.wanting: set[str] = set()  # Services of ours that lack an address
        self._from = [int(span.first) for span in self.spans]  # every address below is held
        self._holders: dict[Address, dict[str, None]] = {}
        self._held: dict[str, tuple[Address, ...]] = {}
        self._claims: dict[str, Claim] = {}
        self._shared: dict[tuple[str, str], dict[str, None]] = {}  # namespace and sharing key → Services

    def see(self, key: str, service: Service | None) -> None:
        """A Service is now like this (None: gone). What its status carries replaces what was reserved for it."""
        before = self._claims.pop(key, None)
        if before is not None and before.share:
            self._shared.get((before.namespace, before.share), {}).pop(key, None)
        carried = ingress(service) if service else ()
        ours = service is not None and is_ours(service)
        if service is not None:
            claim = self._claims[key] = claim_of(service)
            if claim.share and ours:
                self._shared.setdefault((claim.namespace, claim.share), {})[key] = None
        if carried or not ours:
            self.hold(key, carried)
        (self.wanting.add if ours and not carried else self.wanting.discard)(key)

    def hold(self, key: str, addresses: Iterable[Address]) -> None:
        """The Service holds these now, and no others. What no span has is passed over."""
        now = tuple(one for one in addresses if one in self)  # others are somebody else's business
        for one in self._held.pop(key, ()):
            self._release(one, key)
        if now:
            self._held[key] = now
        for one in now:
            self._holders.setdefault(one, {})[key] = None

    def held(self, key: str) -> tuple[Address, ...]:
        """What the Service holds."""
        return self._held.get(key, ())

    def __contains__(self, address: Address) -> bool:
        return any(address in span for span in self.spans)

    def may_have(self, key: str, address: Address) -> bool:
        """Whether the Service can take this one: nobody holds it, or all who do agree."""
        mine = self._claims[key]
        others = [self._claims[other] for other in self._holders.get(address, ()) if other != key]
        return address in self and all(mine.agrees(other) for other in others)

    def may_keep(self, key: str, address: Address) -> bool:
        """Whether the Service, which holds it, can go on: those who do not agree came later."""
        mine = self._claims[key]
        others = [self._claims[other] for other in self._holders.get(address, ()) if other != key]
        return address in self and all(mine.agrees(other) or mine.rank < other.rank for other in others)

    def find(self, key: str, family: str) -> Address | None:
        """An address for the Service: one that it can share, or the lowest free one."""
        for one in self._shareable(key):
            if f"IPv{one.version}" == family and self.may_have(key, one):
                return one
        found = (self._lowest_free(i) for i, span in enumerate(self.spans) if span.family == family)
        return next((one for one in found if one is not None), None)

    def families(self) -> frozenset[str]:
        """Those that there are addresses of."""
        return frozenset(span.family for span in self.spans)

    def _shareable(self, key: str) -> Iterator[Address]:
        claim = self._claims[key]
        for other in sorted(self._shared.get((claim.namespace, claim.share), {})):
            yield from self._held.get(other, ())

    def _lowest_free(self, number: int) -> Address | None:
        span, value = self.spans[number], self._from[number]
        kind = type(span.first)
        while value <= int(span.last) and kind(value) in self._holders:
            value += 1
        self._from[number] = value
        return kind(value) if value <= int(span.last) else None

    def _release(self, address: Address, key: str) -> None:
        holders = self._holders.get(address, {})
        holders.pop(key, None)
        if holders:
            return
        self._holders.pop(address, None)
        for i, span in enumerate(self.spans):
            if address in span:
                self._from[i] = min(self._from[i], int(address))


def is_ours(service: Service) -> bool:
    """Whether the pool is asked: a LoadBalancer of no class, or of ours."""
    return service.spec.type == LOAD_BALANCER and (service.spec.load_balancer_class or CLASS) == CLASS


def ingress(service: Service) -> tuple[Address, ...]:
    """The addresses in its status."""
    balancer = service.status.load_balancer if service.status else None
    texts = [one.ip for one in (balancer.ingress if balancer else None) or () if one.ip]
    return tuple(found for text in texts if (found := parse(text)) is not None)


def parse(text: str) -> Address | None:
    """An address; None when it is none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def address(text: str) -> Address:
    """An address; ValueError when it is none."""
    return ipaddress.ip_address(text)


def claim_of(service: Service) -> Claim:
    """What counts for sharing."""
    meta, spec = service.metadata, service.spec
    return Claim(
        (meta.creation_timestamp or "", service.key),
        meta.namespace,
        (meta.annotations or {}).get(SHARE, ""),
        frozenset((port.protocol, port.port) for port in spec.ports or ()),
        spec.external_traffic_policy == "Local",
        frozenset((spec.selector or {}).items()),
    )

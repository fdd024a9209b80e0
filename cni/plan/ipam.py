"""Which address a pod gets: the next one after the last that was given, round robin, so that an address that was just
freed comes back as late as possible. Gateways, network and broadcast addresses are never given.
"""

from collections.abc import Iterator, Sequence

import msgspec

from netplane.rtnl import IP, Network


class Range(msgspec.Struct, frozen=True):
    """Addresses `first` to `last`, both included, of a subnet; `gateway` is left out even when it lies inside."""

    subnet: Network
    first: IP
    last: IP
    gateway: IP

    @classmethod
    def of(cls, subnet: Network, first: IP | None = None, last: IP | None = None, gateway: IP | None = None) -> "Range":
        """Fill in what is not said: the gateway is the subnet's first address, the range all the others.

        Raises:
            ValueError: naming what does not fit together.
        """
        if subnet.prefixlen > subnet.max_prefixlen - 2:
            raise ValueError(f"subnet {subnet} is too small: it must hold a gateway and at least one pod")
        bounds = first or subnet.network_address + 1, last or _last(subnet)
        for name, address in (("rangeStart", bounds[0]), ("rangeEnd", bounds[1])):
            if address not in subnet:
                raise ValueError(f"{name} {address} is outside the subnet {subnet}")
        if int(bounds[0]) > int(bounds[1]):
            raise ValueError(f"rangeStart {bounds[0]} is after rangeEnd {bounds[1]}")
        return cls(subnet, bounds[0], bounds[1], gateway or subnet.network_address + 1)

    def __contains__(self, address: IP) -> bool:
        same = address.version == self.subnet.version
        return same and int(self.first) <= int(address) <= int(self.last) and address != self.gateway

    def overlaps(self, other: "Range") -> bool:
        """Whether an address lies in both."""
        same = self.subnet.version == other.subnet.version
        return same and int(self.first) <= int(other.last) and int(other.first) <= int(self.last)

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


# One address is taken from each set: a second set is how dual stack asks for a second family.
RangeSet = tuple[Range, ...]


def _last(subnet: Network) -> IP:
    return subnet.broadcast_address - (1 if subnet.version == 4 else 0)


def candidates(ranges: RangeSet, after: IP | None) -> Iterator[IP]:
    """Every address of the set once, from the one after `after` on, and round to `after` itself."""
    start = next((i for i, r in enumerate(ranges) if after is not None and _spans(r, after)), None)
    if start is None or after is None:
        for r in ranges:
            yield from _run(r, int(r.first), int(r.last))
        return
    here = ranges[start]
    yield from _run(here, int(after) + 1, int(here.last))
    for r in (*ranges[start + 1 :], *ranges[:start]):
        yield from _run(r, int(r.first), int(r.last))
    yield from _run(here, int(here.first), int(after))


def _spans(r: Range, address: IP) -> bool:
    return address.version == r.subnet.version and int(r.first) <= int(address) <= int(r.last)


def _run(r: Range, first: int, last: int) -> Iterator[IP]:
    kind = type(r.first)
    for number in range(first, last + 1):
        address = kind(number)
        if address != r.gateway:
            yield address


def range_of(ranges: RangeSet, address: IP) -> Range | None:
    """The range of a set that an address may be given from."""
    return next((r for r in ranges if address in r), None)


def capacity(ranges: RangeSet) -> int:
    """How many pods a set can serve."""
    return sum(int(r.last) - int(r.first) + 1 - int(_spans(r, r.gateway)) for r in ranges)


def describe(ranges: Sequence[Range]) -> str:
    """`10.244.1.1-10.244.1.254`, for errors."""
    return ", ".join(map(str, ranges))

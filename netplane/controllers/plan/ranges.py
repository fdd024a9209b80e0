"""Which parts of the cluster's ranges nodes hold. One node costs the same in a cluster of 5 and of 5,000.

    pool 10.244.0.0/16, parts of /24:   part 0   part 1   part 2 ...   part 255
                          holders         1        1        0             0
                                                            └── lowest free: a search from where the last one ended

A holder is set as a whole and may hold anything: what does not lie in a pool is passed over, what is larger or smaller
than a part counts for every part that it touches. Two holders of one part (made by hand) count twice.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Pool(NamedTuple):
    """A cluster range and the prefix length of a node's part of it."""

    network: Network
    node_prefix: int

    @property
    def size(self) -> int:
        """How many parts there are."""
        return 1 << (self.node_prefix - self.network.prefixlen)

    def part(self, number: int) -> Network:
        """Part 0 is the lowest."""
        step = 1 << (self.network.max_prefixlen - self.node_prefix)
        return type(self.network)((int(self.network.network_address) + number * step, self.node_prefix))

    def touched(self, one: Network) -> range:
        """The numbers of the parts that overlap a range of any size."""
        if one.version != self.network.version or not one.overlaps(self.network):
            return range(0)
        bits = self.network.max_prefixlen - self.node_prefix
        first = int(self.network.network_address)
        low = max(int(one.network_address) - first, 0) >> bits
        high = min(int(one.broadcast_address) - first, int(self.network.broadcast_address) - first) >> bits
        return range(low, high + 1)


class _Parts:
    """How many hold each part of one pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._used = bytearray(pool.size)
        self._more: dict[int, int] = {}  # part → holders beyond the first
        self._from = 0  # every part below is used

    def add(self, networks: Iterable[Network]) -> None:
        """One more holder of each touched part."""
        for number in self._numbers(networks):
            if self._used[number]:
                self._more[number] = self._more.get(number, 0) + 1
            self._used[number] = 1

    def remove(self, networks: Iterable[Network]) -> None:
        """One holder less."""
        for number in self._numbers(networks):
            if self._more.get(number):
                self._more[number] -= 1
            else:
                self._more.pop(number, None)
                self._used[number] = 0
                self._from = min(self._from, number)

    def lowest_free(self) -> Network | None:
        """None: all are held."""
        number = self._used.find(0, self._from)
        self._from = number if number >= 0 else self.pool.size
        return self.pool.part(number) if number >= 0 else None

    def _numbers(self, networks: Iterable[Network]) -> Iterator[int]:
        for one in networks:
            yield from self.pool.touched(one)


class Ranges:
    """The pools, at most one per family, and who holds what of them."""

    def __init__(self, pools: Iterable[Pool] = ()) -> None:
        self._parts = [_Parts(pool) for pool in pools]
        self._held: dict[str, tuple[Network, ...]] = {}

    def held(self, owner: str) -> tuple[Network, ...]:
        """What the owner holds."""
        return self._held.get(owner, ())

    def hold(self, owner: str, texts: Iterable[str]) -> None:
        """The owner holds these now, and nothing else; what is no range is passed over."""
        networks = tuple(found for text in texts if (found := parse(text)) is not None)
        before = self._held.pop(owner, ())
        if networks:
            self._held[owner] = networks
        if networks != before:
            for parts in self._parts:
                parts.remove(before)
                parts.add(networks)

    def lowest_free(self) -> list[tuple[Pool, Network | None]]:
        """The lowest free part of each pool."""
        return [(parts.pool, parts.lowest_free()) for parts in self._parts]


@lru_cache(maxsize=2**16)
def parse(text: str) -> Network | None:
    """A range; None when it is none. Host bits are dropped."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None

"""Who holds which address and which port: pools of numbered slots, with a band kept for those who choose themselves.

    slot   0 ........ band ........................ size
           static     dynamic: first choice
           (dynamic only when the rest is full)

A number given by the user is free more often if what the server picks lies elsewhere (KEP-3070 for ClusterIPs, KEP-3682
for node ports). Picks start at a place drawn from a seed and go on to the next free slot, so equal seeds and equal
histories give equal picks. Nothing here rolls dice or keeps time.
"""

import ipaddress
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import chain
from typing import Generic, TypeVar

from netplane.errors import NetplaneError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
T = TypeVar("T")

PICKED_SLOTS = 1 << 20
"""As many slots of a pool, its lowest, are picked from and cost a byte each. Those above are given when asked for."""

MAX_HOST_BITS = {4: 20, 6: 64}
"""Of a cluster's first ranges, by IP version."""

_MASK = (1 << 64) - 1


class AllocationError(NetplaneError):
    """It cannot be had; the message is Kubernetes'."""


class Full(AllocationError):
    """Nothing is free."""

    def __init__(self) -> None:
        super().__init__("range is full")


class Taken(AllocationError):
    """Somebody has it."""


class OutOfRange(AllocationError):
    """It is not ours to give."""


class Pool:
    """`size` slots; `band` of them, the lowest, are picked last, and those from PICKED_SLOTS on never."""

    def __init__(self, size: int, band: int, seed: int = 0) -> None:
        self.size, self.band, self.free = size, band, size
        self._used = bytearray(min(size, PICKED_SLOTS))
        self._far: set[int] = set()
        self._seed = seed & _MASK

    def __contains__(self, slot: int) -> bool:
        return bool(self._used[slot]) if slot < len(self._used) else slot in self._far

    def __iter__(self) -> Iterator[int]:
        near = (slot for slot, used in enumerate(self._used) if used)
        return chain(near, sorted(self._far))

    def take(self, slot: int) -> bool:
        """Take this slot; False when it is taken."""
        if slot in self:
            return False
        if slot < len(self._used):
            self._used[slot] = 1
        else:
            self._far.add(slot)
        self.free -= 1
        return True

    def pick(self) -> int | None:
        """Take any slot, above the band if there is one; None when all are taken that may be picked."""
        slot = self._search(self.band, len(self._used))
        if slot < 0:
            slot = self._search(0, self.band)
        if slot < 0:
            return None
        self.take(slot)
        return slot

    def _search(self, low: int, high: int) -> int:
        if high <= low:
            return -1
        start = low + self._draw() % (high - low)
        slot = self._used.find(0, start, high)
        return slot if slot >= 0 else self._used.find(0, low, start)

    def _draw(self) -> int:
        """The next of a row of 64-bit numbers that look random (splitmix64; Steele, Lea, Flood 2014)."""
        self._seed = (self._seed + 0x9E3779B97F4A7C15) & _MASK
        x = self._seed
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
        return x ^ (x >> 31)

    def release(self, slot: int) -> None:
        """Give a slot back; one that is free stays free."""
        if slot not in self:
            return
        self.free += 1
        if slot < len(self._used):
            self._used[slot] = 0
        else:
            self._far.remove(slot)


class _Allocator(ABC, Generic[T]):
    """A pool whose slots mean something: subclasses say what."""

    what: str
    pool: Pool

    @abstractmethod
    def _slot(self, value: T) -> int | None:
        """Where a value lies; None when it is none of these."""

    @abstractmethod
    def _value(self, slot: int) -> T:
        """What lies there."""

    def _refused(self, value: T) -> str:
        return f"provided {self.what}"

    def __contains__(self, value: T) -> bool:
        """Whether it is taken."""
        slot = self._slot(value)
        return slot is not None and slot in self.pool

    def holds(self, value: T) -> bool:
        """Whether it is one of these, taken or free."""
        return self._slot(value) is not None

    def __iter__(self) -> Iterator[T]:
        """What is taken, in order."""
        return (self._value(slot) for slot in self.pool)

    @property
    def free(self) -> int:
        """How many are left."""
        return self.pool.free

    def take(self, value: T) -> None:
        """Take this one. Raises Taken, OutOfRange."""
        slot = self._slot(value)
        if slot is None:
            raise self.out_of_range(value)
        if not self.pool.take(slot):
            raise Taken(f"provided {self.what} is already allocated")

    def out_of_range(self, value: T) -> OutOfRange:
        """The failure of one that is none of these."""
        return OutOfRange(
            f"{self._refused(value)} is not in the valid range. The range of valid {self.what}s is {self}"
        )

    def pick(self) -> T:
        """Take any. Raises Full."""
        slot = self.pool.pick()
        if slot is None:
            raise Full
        return self._value(slot)

    def release(self, value: T) -> None:
        """Give it back; what is free or foreign is left alone."""
        slot = self._slot(value)
        if slot is not None:
            self.pool.release(slot)


class Addresses(_Allocator[IPAddress]):
    """The addresses of a network, without its own and (IPv4) its broadcast address."""

    what = "IP"

    def __init__(self, network: IPNetwork, seed: int = 0) -> None:
        self.network = network
        self.pool = Pool(usable_hosts(network), address_band(network), seed)
        self._first = int(network.network_address) + 1

    def __str__(self) -> str:
        return str(self.network)

    def _refused(self, value: IPAddress) -> str:
        return f"the provided IP ({value})"

    def _slot(self, value: IPAddress) -> int | None:
        slot = int(value) - self._first
        return slot if value.version == self.network.version and 0 <= slot < self.pool.size else None

    def _value(self, slot: int) -> IPAddress:
        return type(self.network.network_address)(self._first + slot)


class Ports(_Allocator[int]):
    """The ports low to high, both included."""

    what = "port"

    def __init__(self, low: int, high: int, seed: int = 0) -> None:
        self.low, self.high = low, high
        self.pool = Pool(high - low + 1, port_band(high - low + 1), seed)

    def __str__(self) -> str:
        return f"{self.low}-{self.high}"

    def _slot(self, value: int) -> int | None:
        return value - self.low if self.low <= value <= self.high else None

    def _value(self, slot: int) -> int:
        return self.low + slot


def usable_hosts(network: IPNetwork) -> int:
    """How many addresses of a network can be given: not its own, and of IPv4 not the broadcast one."""
    return max(network.num_addresses - (2 if network.version == 4 else 1), 0)


def address_band(network: IPNetwork) -> int:
    """Size of the static band: min(max(16, size/16), 256), none in a network of 16 addresses or fewer."""
    size = network.num_addresses
    return 0 if size <= 16 else min(max(16, size // 16), 256, usable_hosts(network))


def port_band(size: int) -> int:
    """Size of the static band: min(max(16, size/32), 128), none in a range of 16 ports or fewer."""
    return 0 if size <= 16 else min(max(16, size // 32), 128, size)

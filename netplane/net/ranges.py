"""The addresses of several networks of one family as one pool: the first is there for good, others come and go.

Networks may overlap: an address is taken in every network that holds it, so that none gives it twice. A network that is
retired gives nothing any more and still knows what was taken from it, until it is dropped.
"""

import contextlib
from collections.abc import Iterable, Iterator

from netplane.net.bitmap import (
    Addresses,
    AllocationError,
    Full,
    IPAddress,
    IPNetwork,
    OutOfRange,
    Taken,
)


class Ranges(Addresses):
    """`network` is the first one."""

    def __init__(self, network: IPNetwork, seed: int = 0) -> None:
        super().__init__(network, seed)
        self._seed = seed
        self._more: dict[IPNetwork, Addresses] = {}
        self._retired: set[IPNetwork] = set()

    @property
    def networks(self) -> tuple[IPNetwork, ...]:
        """Every network that addresses are given from, in order."""
        return (self.network, *(one for one in self._more if one not in self._retired))

    def add(self, network: IPNetwork, taken: Iterable[IPAddress] = ()) -> None:
        """Give addresses from `network` too; `taken` are those somebody has."""
        self._retired.discard(network)
        if network == self.network or network in self._more:
            return
        made = Addresses(network, self._seed)
        for address in (*self, *taken):
            with contextlib.suppress(AllocationError):
                made.take(address)
        self._more[network] = made

    def retire(self, network: IPNetwork) -> None:
        """Give nothing from `network` any more."""
        if network in self._more:
            self._retired.add(network)

    def drop(self, network: IPNetwork) -> None:
        """Forget `network`."""
        self._more.pop(network, None)
        self._retired.discard(network)

    def __contains__(self, value: IPAddress) -> bool:
        """Whether it is taken."""
        return super().__contains__(value) or any(value in one for one in self._more.values())

    def __iter__(self) -> Iterator[IPAddress]:
        """What is taken, each once."""
        return iter(dict.fromkeys([*super().__iter__(), *(one for pool in self._more.values() for one in pool)]))

    @property
    def free(self) -> int:
        """How many are left, in all networks that give (what two of them hold counts twice)."""
        return super().free + sum(pool.free for network, pool in self._more.items() if network not in self._retired)

    def holds(self, value: IPAddress) -> bool:
        """Whether it is one of those that are given, taken or free."""
        more = (pool for network, pool in self._more.items() if network not in self._retired)
        return super().holds(value) or any(pool.holds(value) for pool in more)

    def take(self, value: IPAddress) -> None:
        """Take this one. Raises Taken, OutOfRange."""
        if not self.holds(value):
            raise OutOfRange("the provided network does not match the current range")
        if value in self:
            raise Taken(f"provided {self.what} is already allocated")
        self._mark(value)

    def pick(self) -> IPAddress:
        """Take any, from the first network that has one. Raises Full."""
        try:
            found = super().pick()
        except Full:
            found = self._pick_more()
        if self._more:
            self._mark(found)
        return found

    def _pick_more(self) -> IPAddress:
        for network, pool in self._more.items():
            if network not in self._retired and pool.free:
                return pool.pick()
        raise Full

    def _mark(self, value: IPAddress) -> None:
        for take in (super().take, *(pool.take for pool in self._more.values())):
            with contextlib.suppress(AllocationError):
                take(value)

    def release(self, value: IPAddress) -> None:
        """Give it back, in every network."""
        super().release(value)
        for pool in self._more.values():
            pool.release(value)

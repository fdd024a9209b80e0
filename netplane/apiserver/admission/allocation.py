"""ClusterIPs and node ports: taken with the Service that needs them, given back when it goes or its write fails.

    with allocator.claim(…) as claim:      takes what is missing, writes it into the object
        validate …; claim.complete(…)      the object is whole and right
        commit …; claim.keep()             taken for good; what the old object alone had is free again
                                           not kept: everything taken is free again

The pools live in memory and are rebuilt from the store at start. What holds is in the store: an address is taken by its
IPAddress, a port by its key (port_keys), both made in the Service's transaction, which compares that nobody has them.
So apiservers that share a store never hand out the same twice: their pools only guess what is free, and learn from each
other's writes (netplane.apiserver.following). A claim that lost is made anew.
"""

import ipaddress
import secrets
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import orjson

from netplane.api import errors, kinds, services
from netplane.api.kinds import Kind
from netplane.api.service_pools import Claim as PoolClaim
from netplane.api.service_pools import ServicePools
from netplane.apiserver import cluster as cl
from netplane.apiserver.admission import ip_objects, port_keys
from netplane.apiserver.process.settings import Settings
from netplane.net.bitmap import IPNetwork, Ports
from netplane.net.ranges import Ranges
from netplane.store.protocol import KV, Compare, Put, Store

Json = dict[str, Any]

SEED_BITS = 64


class Claim:
    """What one write took, and what else its transaction compares and writes. Unless it is kept, it is given back."""

    def __init__(self, kind: Kind, pools: ServicePools) -> None:
        self._kind, self._pools = kind, pools
        self.taken: PoolClaim | None = None
        self.kept = False
        self.ops: list[ip_objects.Op] = []
        self.compares: list[Compare] = []
        self._asked = b"{}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.settle()

    def complete(self, new: Json, old: Json | None) -> None:
        """The object is valid and as it will be stored: its transaction also does this, if nobody has what it takes."""
        if self._kind is kinds.IP_ADDRESS and old is None:
            self.taken = self._pools.reserve(new["metadata"].get("name", ""))
        if self.taken is None or self._kind is not kinds.SERVICE:
            return
        self._pools.settle(self.taken, new, old)
        self.ops = [*ip_objects.changes(new, old), *port_keys.changes(new, old)]
        self.compares = [Compare(op.key, 0) for op in self.ops if isinstance(op, Put)]

    def remember(self, spec: Json) -> None:
        """What was asked for, before it was filled in."""
        self._asked = orjson.dumps(spec)

    def asked(self) -> Json:
        """A copy of what was asked for."""
        asked: Json = orjson.loads(self._asked)
        return asked

    async def lost(self, store: Store, failed: tuple[KV | None, ...]) -> bool:
        """Whether another process was faster with an address or port; those stay out of the pools."""
        wanted = {one.key for one in self.compares}
        keys = [kv.key for kv in failed if kv is not None and kv.key in wanted]
        for key in keys:
            if self.taken is not None and await store.get(key) is not None:
                self.taken.lost(key.rpartition("/")[2])
        return bool(keys)

    def keep(self) -> None:
        """The write happened."""
        self.kept = True

    def settle(self) -> None:
        """The write is over."""
        if self.taken is not None:
            if self.kept:
                self.taken.keep()
            else:
                self.taken.give_back()


class Allocator:
    """The pools of a cluster, for whatever kind needs them: now Services alone."""

    def __init__(self, settings: Settings) -> None:
        seed = secrets.randbits(SEED_BITS)
        ports = Ports(settings.node_ports.first, settings.node_ports.last, seed)
        self._ranges = {network.version: Ranges(network, seed) for network in settings.networks}
        self._pools = ServicePools(list(self._ranges.values()), ports)

    @classmethod
    async def load(cls, store: Store, settings: Settings) -> Self:
        """The allocator of what a store holds."""
        self = cls(settings)
        for kv in (await store.range(cl.prefix(kinds.SERVICE))).kvs:
            self._pools.adopt(orjson.loads(kv.value))
        await self.adopt(store)
        return self

    async def adopt(self, store: Store) -> None:
        """Keep out of the pools what has a key in the store."""
        for prefix in (ip_objects.PREFIX, port_keys.PREFIX):
            for kv in (await store.range(prefix)).kvs:
                self.seen(kv.key, held=True)

    def seen(self, key: str, *, held: bool) -> None:
        """An address or port was taken or given back, here or by another apiserver."""
        name = key.rpartition("/")[2]
        if key.startswith(port_keys.PREFIX):
            (self._pools.reserve_port if held else self._pools.free_port)(int(name))
        elif held:
            self._pools.reserve(name)
        else:
            self._pools.free(name)

    def range_ready(self, network: IPNetwork, taken: Iterable[str]) -> None:
        """Give ClusterIPs from this network too; `taken` are addresses that somebody has."""
        ranges = self._ranges.get(network.version)
        if ranges is not None:
            ranges.add(network, [one for one in map(ipaddress.ip_address, taken) if one in network])

    def range_ends(self, network: IPNetwork, *, gone: bool) -> None:
        """Give none from it any more; once it is `gone`, forget it."""
        ranges = self._ranges.get(network.version)
        if ranges is not None:
            (ranges.drop if gone else ranges.retire)(network)

    def claim(self, kind: Kind, obj: Json, old: Json | None, *, dry_run: bool = False) -> Claim:
        """Take what `obj` needs beyond what `old` has, and write it into `obj`. Raises StatusError 422, 500.

        Whoever has a claim validates the object, which has all its numbers now, and then completes the claim.
        """
        claim = Claim(kind, self._pools)
        if kind is kinds.SERVICE and (old is None or obj["spec"] != old.get("spec")):
            claim.remember(obj["spec"])
            claim.taken = self._allocate(obj, old, dry_run=dry_run)
        return claim

    def _allocate(self, obj: Json, old: Json | None, *, dry_run: bool) -> PoolClaim:
        spec, before = obj["spec"], old.get("spec") or {} if old is not None else None
        problems = services.settle_families(spec, before, self._pools.families)
        if problems:
            raise errors.invalid("", "Service", obj["metadata"].get("name", ""), problems)
        return self._pools.claim(obj, old, dry_run=dry_run)

    def released(self, kind: Kind, obj: Json) -> None:
        """An object is gone: all it had is free."""
        if kind is kinds.SERVICE:
            self._pools.release(obj)
        elif kind is kinds.IP_ADDRESS and not ip_objects.is_ours(obj):
            self._pools.free(obj["metadata"]["name"])

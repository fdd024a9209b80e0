"""ClusterIPs and node ports: taken with the Service that needs them, given back when it goes or its write fails.

    with allocator.claim(…) as claim:      takes what is missing, writes it into the object
        commit …; claim.keep()             taken for good; what the old object alone had is free again
                                           not kept: everything taken is free again

The pools live in memory and are rebuilt from the store at start; addresses and ports are in the Service, so Service and
allocation are one transaction and there is nothing to repair.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import orjson

from netplane.api import errors, fields, kinds, services
from netplane.api.kinds import Kind
from netplane.api.service_pools import Claim as PoolClaim
from netplane.api.service_pools import ServicePools
from netplane.apiserver import cluster as cl
from netplane.apiserver import ip_objects
from netplane.apiserver.settings import Settings
from netplane.net.bitmap import Addresses, Ports
from netplane.store.protocol import Store

Json = dict[str, Any]

SEED_BITS = 64


class Claim:
    """What one write took, and what else its transaction writes. Unless it is kept, it is given back."""

    def __init__(self) -> None:
        self.pools: PoolClaim | None = None
        self.kept = False
        self.ops: list[ip_objects.Op] = []

    def keep(self) -> None:
        """The write happened."""
        self.kept = True

    def settle(self) -> None:
        """The write is over."""
        if self.pools is not None:
            if self.kept:
                self.pools.keep()
            else:
                self.pools.give_back()


class Allocator:
    """The pools of a cluster, for whatever kind needs them: now Services alone."""

    def __init__(self, settings: Settings) -> None:
        seed = secrets.randbits(SEED_BITS)
        ports = Ports(settings.node_ports.first, settings.node_ports.last, seed)
        self._pools = ServicePools([Addresses(network, seed) for network in settings.networks], ports)
        self._first = str(settings.service_ip)

    @classmethod
    async def load(cls, store: Store, settings: Settings) -> Self:
        """The allocator of what a store holds."""
        self = cls(settings)
        for kv in (await store.range(cl.prefix(kinds.SERVICE))).kvs:
            self._pools.adopt(orjson.loads(kv.value))
        for kv in (await store.range(cl.prefix(kinds.IP_ADDRESS))).kvs:
            if not ip_objects.is_ours(address := orjson.loads(kv.value)):
                self._pools.reserve(address["metadata"]["name"])
        return self

    def before_validation(self, kind: Kind, obj: Json) -> None:
        """A Service without a name fails in its address' name first, as on the real server."""
        if kind is not kinds.SERVICE or obj["metadata"].get("name"):
            return
        spec = obj["spec"]
        if services.needs_cluster_ip(spec) and not spec.get("clusterIP"):
            why = f'failed to allocate IP: IPAddress.networking.k8s.io "{self._first}" is invalid: '
            problem = fields.invalid("spec.clusterIPs", [""], why + "spec.parentRef.name: Required value")
            raise errors.invalid("", "Service", "", [problem])

    @contextmanager
    def claim(self, kind: Kind, obj: Json, old: Json | None) -> Iterator[Claim]:
        """Take what `obj` needs beyond what `old` has, and write it into `obj`. Raises StatusError 422, 500."""
        claim = Claim()
        try:
            if kind is kinds.SERVICE:
                claim.pools = self._allocate(obj, old)
                claim.ops = ip_objects.changes(obj, old)
            elif kind is kinds.IP_ADDRESS and old is None:
                claim.pools = self._pools.reserve(obj["metadata"].get("name", ""))
            yield claim
        finally:
            claim.settle()

    def _allocate(self, obj: Json, old: Json | None) -> PoolClaim:
        before = old.get("spec") or {} if old is not None else None
        problems = services.settle_families(obj["spec"], before, self._pools.families)
        if problems:
            raise errors.invalid("", "Service", obj["metadata"].get("name", ""), problems)
        return self._pools.claim(obj, old)

    def released(self, kind: Kind, obj: Json) -> None:
        """An object is gone: all it had is free."""
        if kind is kinds.SERVICE:
            self._pools.release(obj)
        elif kind is kinds.IP_ADDRESS and not ip_objects.is_ours(obj):
            self._pools.free(obj["metadata"]["name"])

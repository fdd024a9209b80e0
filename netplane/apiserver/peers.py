"""The apiservers on one store: each says every few seconds that it is there; the `kubernetes` Service leads to them.

    /apiservers/10.0.0.1:6443      value: {"address": "10.0.0.1", "port": 6443, "beat": 17}

Whether another one lives is judged by this process's own clock: its key changed less than ALIVE_S ago. So the machines'
clocks need not agree. The dead one's key is removed by whoever notices.
"""

import time
from typing import NamedTuple

import orjson

from netplane.apiserver.process.settings import Settings
from netplane.store.protocol import KV, Compare, Delete, Put, Store

PREFIX = "/apiservers/"
ALIVE_S = 30.0


class Peer(NamedTuple):
    """Where an apiserver listens."""

    address: str
    port: int

    @property
    def key(self) -> str:
        """Its place in the store."""
        return f"{PREFIX}{self.address}:{self.port}"


class Peers:
    """Who serves this store, as one of them sees it."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._address = str(settings.advertise)
        self._own: Peer | None = None
        self._seen: dict[str, tuple[int, float]] = {}
        self._beat = 0

    async def beat(self, port: int) -> list[Peer]:
        """Say that this one lives; who does, in order. On a store with one process, that is this one."""
        own = self._own = Peer(self._address, port)
        if not self._store.shared:
            return [own]
        self._beat += 1
        value = orjson.dumps({**own._asdict(), "beat": self._beat})
        await self._store.txn([], [Put(own.key, value)])
        kvs = (await self._store.range(PREFIX)).kvs
        live = [kv for kv in kvs if self._lives(kv, time.monotonic())]
        for kv in kvs:
            if kv not in live:
                await self._store.txn([Compare(kv.key, kv.mod_rev)], [Delete(kv.key)])
        found = [Peer(one["address"], one["port"]) for one in (orjson.loads(kv.value) for kv in live)]
        # A Service has one target port for all: those that listen on another one are left out of its endpoints.
        return [peer for peer in found if peer.port == found[0].port]

    def _lives(self, kv: KV, now: float) -> bool:
        rev, since = self._seen.get(kv.key, (0, now))
        if rev != kv.mod_rev:
            since = now
        self._seen[kv.key] = (kv.mod_rev, since)
        return now - since < ALIVE_S

    async def leave(self) -> None:
        """It goes: the others need not wait until they notice."""
        if self._own is not None and self._store.shared:
            await self._store.txn([], [Delete(self._own.key)])

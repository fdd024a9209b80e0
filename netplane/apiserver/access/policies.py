"""The RBAC policy that holds now: built from the store when first asked for, again after its objects changed."""

from typing import Any

import orjson

from netplane.api import kinds
from netplane.api.kinds import Kind
from netplane.api.rbac import Policy
from netplane.apiserver import cluster as cl
from netplane.store.protocol import Store

Json = dict[str, Any]

_KINDS = (kinds.ROLE, kinds.CLUSTER_ROLE, kinds.ROLE_BINDING, kinds.CLUSTER_ROLE_BINDING)


class Policies:
    """Gives the policy, fresh: a role taken away is gone with the next request."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.now: Policy | None = None
        """What holds, if that is known; else `current` finds out."""
        self._version = 0

    def changed(self, kind: Kind) -> None:
        """An object of a kind was written or deleted."""
        if kind in _KINDS:
            self.now = None
            self._version += 1

    async def current(self) -> Policy:
        """The policy of all that is stored."""
        while (found := self.now) is None:
            version = self._version
            built = await self._build()
            if version == self._version:  # nothing changed while it was read
                self.now = built
        return found

    async def _build(self) -> Policy:
        listed = [[orjson.loads(kv.value) for kv in (await self._store.range(cl.prefix(kind))).kvs] for kind in _KINDS]
        return Policy(*listed)

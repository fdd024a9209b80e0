"""What other apiservers on the same store write, as far as this process keeps something of it in memory.

Roles and bindings make the policy stale; addresses and ports leave the pools and come back to them. All of it may lag
a moment: what is handed out is decided by the transaction's compares, and a policy may be as old as its watch.
"""

import asyncio

from netplane.api import kinds
from netplane.apiserver.admission import ip_objects, port_keys
from netplane.apiserver.cluster import Cluster

_ROLES = f"/registry/{kinds.ROLE.group}/"


async def run(cluster: Cluster) -> None:
    """Until cancelled, or until the watches end with the store's generation: then all is read anew."""
    if not cluster.store.shared:
        await asyncio.Event().wait()
    rev = await cluster.store.current_rev()
    cluster.policies.changed(kinds.ROLE)
    await cluster.allocator.adopt(cluster.store)
    async with asyncio.TaskGroup() as group:
        group.create_task(_policies(cluster, rev + 1))
        for prefix in (ip_objects.PREFIX, port_keys.PREFIX):
            group.create_task(_allocations(cluster, prefix, rev + 1))


async def _policies(cluster: Cluster, rev: int) -> None:
    async with cluster.store.watch(_ROLES, rev) as watch:
        async for _ in watch:
            cluster.policies.changed(kinds.ROLE)


async def _allocations(cluster: Cluster, prefix: str, rev: int) -> None:
    async with cluster.store.watch(prefix, rev) as watch:
        async for batch in watch:
            for event in batch:
                cluster.allocator.seen(event.kv.key, held=not event.deleted)

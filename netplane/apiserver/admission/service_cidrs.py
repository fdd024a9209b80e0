"""ServiceCIDRs that users add: ranges that ClusterIPs are given from as well, until they are deleted.

    added       Ready=True; the allocator gives from it
    deleted     nothing is given from it; Ready=False while it alone holds addresses that are in use
    unused      its finalizer goes, and it with it

Source: KEP-1880 and the ServiceCIDR controller of Kubernetes 1.36.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import Iterable
from typing import Any

from netplane.api import errors, kinds
from netplane.apiserver import cluster as cl
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.verbs import commit
from netplane.net.bitmap import IPNetwork
from netplane.obs import logs
from netplane.store.protocol import StoreError

Json = dict[str, Any]

log = logs.get("apiserver.service_cidrs")

AGAIN_S = 1.0
FINALIZER = "networking.k8s.io/service-cidr-finalizer"
DEFAULT = "kubernetes"
READY = "Kubernetes Service CIDR is ready"
IN_USE = (
    "There are still IPAddresses referencing the ServiceCIDR, "
    "please remove them or create a new ServiceCIDR to migrate them"
)


async def run(cluster: Cluster) -> None:
    """Keep the allocator's ranges and the objects' conditions true, until cancelled."""
    known: dict[str, tuple[IPNetwork, ...]] = {}
    while True:
        with contextlib.suppress(StoreError):
            await _follow(cluster, known)
        await asyncio.sleep(AGAIN_S)


async def _follow(cluster: Cluster, known: dict[str, tuple[IPNetwork, ...]]) -> None:
    rev, ending = await settle(cluster, known)
    prefix = cl.prefix(kinds.SERVICE_CIDR)
    async with cluster.store.watch(prefix, rev + 1) as watch:
        events = aiter(watch)
        waiting: asyncio.Task[Any] | None = None
        try:
            while True:
                waiting = waiting or asyncio.ensure_future(anext(events))
                # Also without a change: what holds a deleted range may be gone by now.
                done, _ = await asyncio.wait({waiting}, timeout=AGAIN_S)
                if done:
                    waiting.result()
                    waiting = None
                if done or ending:
                    _, ending = await settle(cluster, known)
        except StopAsyncIteration:
            return
        finally:
            if waiting is not None:
                waiting.cancel()


async def settle(cluster: Cluster, known: dict[str, tuple[IPNetwork, ...]]) -> tuple[int, bool]:
    """Look at all ServiceCIDRs once. The revision they were read at, and whether one is deleted and still there.

    `known` are those of the last time.
    """
    found = await cluster.store.range(cl.prefix(kinds.SERVICE_CIDR))
    cidrs = {cidr["metadata"]["name"]: cidr for cidr in map(cluster.decoded, found.kvs)}
    used = await _used(cluster)
    for name in set(known) - set(cidrs):
        for network in known.pop(name):
            if not any(network in networks for networks in known.values()):
                cluster.allocator.range_ends(network, gone=True)
    known.update({name: _networks(cidr) for name, cidr in cidrs.items()})
    for name, cidr in cidrs.items():
        others = [one for other in cidrs.values() if other is not cidr and not _ends(other) for one in _networks(other)]
        try:
            await _settle_one(cluster, name, cidr, used, others)
        except errors.StatusError as error:
            log.warning("a ServiceCIDR could not be settled", name=name, problem=str(error))
    return found.rev, any(map(_ends, cidrs.values()))


async def _settle_one(cluster: Cluster, name: str, cidr: Json, used: list[str], others: list[IPNetwork]) -> None:
    if not _ends(cidr):
        for network in _networks(cidr):
            cluster.allocator.range_ready(network, used)
        if not _condition(cidr) and name != DEFAULT:  # the default one's is written at the start
            await _write(cluster, name, "True", "", READY)
        return
    for network in _networks(cidr):
        if network not in others:
            cluster.allocator.range_ends(network, gone=False)
    if _alone(_networks(cidr), used, others):
        if _condition(cidr).get("status") != "False":
            await _write(cluster, name, "False", "Terminating", IN_USE)
        return
    await _release(cluster, name)


def _ends(cidr: Json) -> bool:
    return bool(cidr["metadata"].get("deletionTimestamp"))


def _networks(cidr: Json) -> tuple[IPNetwork, ...]:
    return tuple(ipaddress.ip_network(one) for one in (cidr.get("spec") or {}).get("cidrs") or ())


def _condition(cidr: Json) -> Json:
    conditions = (cidr.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == "Ready"), {})


async def _used(cluster: Cluster) -> list[str]:
    """Every address that has an IPAddress."""
    return [kv.key.rpartition("/")[2] for kv in (await cluster.store.range(cl.prefix(kinds.IP_ADDRESS))).kvs]


def _alone(networks: Iterable[IPNetwork], used: list[str], others: list[IPNetwork]) -> bool:
    """Whether an address in use is in these networks and in no other."""
    held = (ip for ip in map(ipaddress.ip_address, used) if any(ip in one for one in networks))
    return any(not any(ip in one for one in others) for ip in held)


async def _write(cluster: Cluster, name: str, status: str, reason: str, message: str) -> None:
    now = cl.stamp()
    ready = {"type": "Ready", "status": status, "lastTransitionTime": now, "reason": reason, "message": message}

    def alter(cidr: Json) -> Json:
        had = (cidr.get("status") or {}).get("conditions") or []
        finalizers = cidr["metadata"].get("finalizers") or []
        if status == "True" and FINALIZER not in finalizers:
            cidr["metadata"]["finalizers"] = [*finalizers, FINALIZER]
        cidr["status"] = {"conditions": [*(one for one in had if one.get("type") != "Ready"), ready]}
        return cidr

    await commit.change(cluster, kinds.SERVICE_CIDR, "", name, alter, scope="all")


async def _release(cluster: Cluster, name: str) -> None:
    def alter(cidr: Json) -> Json:
        left = [one for one in cidr["metadata"].get("finalizers") or () if one != FINALIZER]
        cidr["metadata"]["finalizers"] = left
        return cidr

    with contextlib.suppress(errors.StatusError):
        await commit.change(cluster, kinds.SERVICE_CIDR, "", name, alter, scope="all")

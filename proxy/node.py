"""The node this proxy runs on: its addresses from the kernel, its primary addresses and zone from its Node object."""

import asyncio
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable

from netplane.api.objects import Node as NodeObject
from netplane.errors import NetplaneError
from netplane.kernel.netlink import NETLINK_ROUTE, NetlinkSocket
from netplane.kernel.rtnl import Rtnl
from netplane.obs import logs
from proxy.plan import cidrs
from proxy.plan.model import Node

log = logs.get("proxy.node")

_RTNLGRP_IPV4_IFADDR, _RTNLGRP_IPV6_IFADDR = 5, 9
ZONE = "topology.kubernetes.io/zone"


def local_addresses(netns_fd: int | None = None) -> frozenset[bytes]:
    """Every address of every link, packed."""
    with Rtnl(netns_fd) as door:
        return frozenset(address.interface.ip.packed for address in door.addresses())


def describe(name: str, said: NodeObject | None, addresses: frozenset[bytes], given: tuple[bytes, ...]) -> Node:
    """The node as the plan needs it.

    The primary address of a family is what is `given` (the bind address), else the first InternalIP of the Node object,
    else its first ExternalIP.
    """
    zone = (said.metadata.labels or {}).get(ZONE, "") if said is not None else ""
    return Node(name, zone, _primary(said, given), addresses)


def _primary(said: NodeObject | None, given: tuple[bytes, ...]) -> tuple[bytes, ...]:
    found = {len(address): address for address in given}
    listed = (said.status.addresses if said and said.status else None) or []
    for kind in ("InternalIP", "ExternalIP"):
        for address in listed:
            if address.type == kind:
                with contextlib.suppress(ValueError):
                    packed = ipaddress.ip_address(address.address).packed
                    found.setdefault(len(packed), packed)
    return tuple(found[size] for size in sorted(found))


class NodeMissing(NetplaneError):
    """The node's object, or its pod CIDRs, did not come in time."""


async def pod_cidrs(
    read: Callable[[], Awaitable[NodeObject | None]], name: str, *, patience_s: float = 120.0, pause_s: float = 1.0
) -> tuple[str, ...]:
    """The node's pod CIDRs, once it has any: detect-local mode NodeCIDR tells pods by them.

    Raises:
        NodeMissing: when there is no such node, or it has none, after `patience_s`.
    """
    said: NodeObject | None = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            while True:
                said = await read()
                found = cidrs.of_node(said, [])
                if found:
                    return found
                await asyncio.sleep(pause_s)
    lacking = f'node "{name}" to exist' if said is None else f'PodCIDR allocation on node "{name}"'
    raise NodeMissing(
        f"timeout waiting for {lacking}", hint="detect-local mode NodeCIDR needs it; ClusterCIDR does not"
    )


async def watch_addresses(on_change: Callable[[frozenset[bytes]], None], netns_fd: int | None = None) -> None:
    """Call `on_change` with all addresses now, and after every change of any; for ever."""
    changed = asyncio.Event()
    changed.set()
    loop = asyncio.get_running_loop()
    groups = (_RTNLGRP_IPV4_IFADDR, _RTNLGRP_IPV6_IFADDR)
    with NetlinkSocket(NETLINK_ROUTE, netns_fd=netns_fd, groups=groups) as events:
        events.sock.setblocking(False)
        loop.add_reader(events.fileno(), _drain, events, changed)
        try:
            while True:
                await changed.wait()
                changed.clear()
                on_change(local_addresses(netns_fd))
        finally:
            loop.remove_reader(events.fileno())


def _drain(events: NetlinkSocket, changed: asyncio.Event) -> None:
    """Only that something changed matters; what, the next dump tells. An overflow is a change too."""
    changed.set()
    with contextlib.suppress(BlockingIOError):
        while True:
            try:
                events.sock.recv(1 << 16)
            except BlockingIOError:
                raise
            except OSError as error:
                log.warning("address events were lost", error=error.strerror)
                return

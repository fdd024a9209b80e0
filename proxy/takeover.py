"""Another service proxy on this node: found before anything is touched, and replaced when told to.

    find ──► nothing: start            ┌─ told to take over: both sets of rules for a moment ──► ours are whole
         └─► kube-proxy's rules ───────┤                                                        └─► theirs are removed
                                       └─ else: refuse, and say what to do

A connection's translation is kept in connection tracking, not in rules: what kube-proxy's rules have translated goes on
when they are gone, as long as any nat chain is there to apply it, and ours are. A new connection meets both sets while
both are there; whichever chain comes first decides, and both know the same endpoints. So nothing is dropped, given that
ours are complete before theirs go. IPVS is different: it forwards by itself, and its connections end with it.
"""

import contextlib
import socket
from pathlib import Path
from typing import NamedTuple

from netplane.kernel import netns
from netplane.kernel.iptables import Saved, installed, restore, saved
from netplane.kernel.nft import Nft
from netplane.nft.objects import Table
from netplane.nft.types import FAMILIES
from netplane.obs import logs
from proxy.plan import iptables as kube_iptables
from proxy.probe import Unfit

log = logs.get("proxy.takeover")

TABLES = ("kube-proxy",)
IPVS_LINK = "kube-ipvs0"
_IPVS_HEADER_LINES = 3


class Rivals(NamedTuple):
    """What another service proxy left or keeps in the kernel."""

    tables: tuple[str, ...] = ()
    iptables: tuple[Saved, ...] = ()
    ipvs: bool = False

    def __bool__(self) -> bool:
        return bool(self.tables or self.iptables or self.ipvs)

    def __str__(self) -> str:
        return ", ".join(
            [
                *(f"nftables table {table}" for table in self.tables),
                *(f"iptables {kube_iptables.signs(kind.text)[0]}" for kind in self.iptables),
                *(["IPVS services"] if self.ipvs else []),
            ]
        )


def find(nft: Nft, netns_fd: int | None = None) -> Rivals:
    """kube-proxy's nftables tables, iptables chains and IPVS services in this namespace.

    Raises:
        Unfit: when there are iptables chains of it and no program that could read them.
    """
    tables = tuple(table for table in nft.tables() if table.partition(" ")[2] in TABLES)
    if not installed():
        _refuse_unreadable(nft)
    kinds = tuple(kind for kind in saved(netns_fd) if kube_iptables.signs(kind.text))
    return Rivals(tables, kinds, _ipvs(netns_fd))


def _refuse_unreadable(nft: Nft) -> None:
    """Without iptables' programs its chains can be seen (those kept in nftables), but neither read nor removed."""
    for family in FAMILIES:
        chains = nft.chains(Table(family, "nat", (), ()))
        if any(kube_iptables.is_proxys(chain) and chain not in kube_iptables.ALSO_KUBELETS for chain in chains):
            raise Unfit(
                f"kube-proxy's iptables chains are in table {family.nft} nat",
                hint="install iptables for --take-over to remove them, or run kube-proxy --cleanup",
            )


def _ipvs(netns_fd: int | None) -> bool:
    with netns.entered(netns_fd):
        with contextlib.suppress(OSError):
            socket.if_nametoindex(IPVS_LINK)
            return True
        with contextlib.suppress(OSError):
            return len(Path("/proc/thread-self/net/ip_vs").read_text().splitlines()) > _IPVS_HEADER_LINES
    return False


def refuse(rivals: Rivals, *, take_over: bool) -> None:
    """Raise Unfit where this proxy must not start: two of them would rewrite each other's packets.

    IPVS is refused always: its connections cannot be taken over.
    """
    if rivals.ipvs:
        raise Unfit(
            f"kube-proxy's IPVS services are there ({IPVS_LINK}); connections through IPVS cannot be taken over",
            hint="drain the node, stop kube-proxy there and run kube-proxy --cleanup; then start this proxy",
        )
    if rivals and not take_over:
        raise Unfit(
            f"another service proxy runs, or ran, on this node: {rivals}",
            hint="stop it, then start this proxy with --take-over (connections go on), or run kube-proxy --cleanup",
        )


def remove(nft: Nft, rivals: Rivals, netns_fd: int | None = None) -> None:
    """Remove what was found, and only that. Call it once this proxy's rules are whole; harmless when repeated.

    Raises:
        NftError, IptablesError: when the kernel refuses; repeat it then.
    """
    there = set(nft.tables())
    doomed = [table for table in rivals.tables if table in there]
    if doomed:
        nft.run_text("".join(f"delete table {table}\n" for table in doomed))
        log.info("kube-proxy's tables removed", tables=doomed)
    # Read again: kube-proxy may have written meanwhile, and a removal must name every chain.
    for kind in saved(netns_fd) if rivals.iptables else ():
        change = kube_iptables.removal(kind.text)
        if change:
            restore(kind._replace(text=change), netns_fd)
            log.info("kube-proxy's iptables chains removed", kind=kind.restorer, chains=change.count("-X "))

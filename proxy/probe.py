"""Can this machine do it? Asked before anything is touched, and answered in one sentence."""

import os
from collections.abc import Iterable, Iterator

from netplane.errors import NetplaneError
from netplane.kernel.nft import Nft, NftError
from netplane.nft.objects import Table, canonical, ensure_text
from netplane.nft.types import Family
from netplane.obs import logs
from proxy.plan import recognise
from proxy.plan.model import Options
from proxy.plan.skeleton import skeleton
from proxy.plane import same

log = logs.get("proxy.probe")


class Unfit(NetplaneError):
    """The machine, or what runs on it, does not let a proxy work."""


def usable_families(nft: Nft, families: Iterable[Family], options: Options) -> list[Family]:
    """The families whose whole skeleton the kernel takes; it is made and deleted in one transaction, unseen.

    Where the kernel holds it already, that is proof enough: a restart with nothing changed writes nothing.

    Raises:
        Unfit: when it takes none.
    """
    if os.geteuid() != 0:
        raise Unfit("netplane-proxy changes nftables and reads connection tracking", hint="run it as root")
    reasons: list[str] = []
    usable = list(_usable(nft, families, options, reasons))
    if not usable:
        raise Unfit(
            f"this kernel cannot hold the proxy's rules: {reasons[0]}",
            hint="it needs nf_tables with nat, numgen, fib, masquerade and reject (Linux 5.13 or newer)",
        )
    return usable


def _usable(nft: Nft, families: Iterable[Family], options: Options, reasons: list[str]) -> Iterator[Family]:
    for family in families:
        wanted = skeleton(family, options)
        if _there(nft, wanted, family):
            yield family
            continue
        # A few balancers say as much as all of them.
        trial = Table(family, "netplane-probe", wanted.sets, tuple(c for c in wanted.chains if not _many(c.name)))
        try:
            nft.run_text(f"{ensure_text(trial)}delete table {trial.spec}\n")
        except NftError as error:
            reasons.append(error.message)
            log.warning("family left out: the kernel does not take its rules", family=family.name, why=error.message)
        else:
            yield family


def _there(nft: Nft, wanted: Table, family: Family) -> bool:
    """Whether the kernel holds such rules, with whatever options."""
    listed = nft.list_table(wanted)
    if listed is None:
        return False
    return same(canonical(listed), str(skeleton(family, recognise.options(canonical(listed)))))


def _many(chain: str) -> bool:
    return chain.startswith(("lb_", "sc_")) and int(chain[3:]) > 1

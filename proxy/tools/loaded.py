"""The kernel's own rules as a ruleset that packets can be traced through."""

from typing import NamedTuple

from netplane.errors import NetplaneError
from netplane.kernel.nft import Nft
from netplane.nft.elements import Value
from netplane.nft.objects import Table, canonical
from netplane.nft.trace import Ruleset
from netplane.nft.types import Family
from proxy import node
from proxy.plan import compare, recognise
from proxy.plan.model import Options
from proxy.plan.skeleton import NAME, skeleton


class NotLoaded(NetplaneError):
    """There is no table of the proxy's in this network namespace."""


class Loaded(NamedTuple):
    """A family's table as the kernel has it. `strange` are rules that are not the proxy's own: no trace sees them."""

    ruleset: Ruleset
    strange: tuple[compare.Difference, ...]


def contents(nft: Nft, table: Table) -> dict[str, dict[bytes, Value]]:
    """What the kernel holds in a table's sets, but for those that rules write: counters, and who was led where."""
    return {owner.name: nft.list_elements(table, owner) or {} for owner in table.sets if not owner.dynamic}


def read(family: Family, netns_fd: int | None = None) -> Loaded:
    """Read a family's table. Raises NotLoaded or NftError."""
    nft = Nft(netns_fd)
    try:
        bare = skeleton(family, Options())
        listed = nft.list_table(bare)
        if listed is None:
            raise NotLoaded(
                f"there is no table {family.nft} {NAME} in this network namespace",
                hint="run this on a node of netplane-proxy, or pass --objects FILE or --kubeconfig FILE",
            )
        held = contents(nft, bare)
    finally:
        nft.close()
    verdicts = {value for elements in held.values() for value in elements.values() if isinstance(value, str)}
    table = recognise.table(family, canonical(listed), verdicts)
    rules = Ruleset(table, held, node.local_addresses(netns_fd))
    return Loaded(rules, tuple(compare.rules(canonical(listed), str(table))))

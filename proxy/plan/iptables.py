"""Which iptables rules are kube-proxy's, and the change that takes them out.

kube-proxy's chains are named KUBE-…; so are a few of the kubelet's (KUBE-FIREWALL, KUBE-KUBELET-CANARY,
KUBE-IPTABLES-HINT), which stay. Its chains are reached by jumps from the built-in chains: those rules go first.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

EXACT = frozenset(
    f"KUBE-{name}"
    for name in (
        *("SERVICES", "EXTERNAL-SERVICES", "NODEPORTS", "FORWARD", "POSTROUTING", "MARK-MASQ", "MARK-DROP"),
        *("PROXY-FIREWALL", "PROXY-CANARY", "FIREWALL-IPVS", "LOAD-BALANCER", "NODE-PORT", "IPVS-FILTER"),
        *("IPVS-OUT-FILTER", "SOURCE-RANGES-FIREWALL"),
    )
)
PER_SERVICE = tuple(f"KUBE-{name}-" for name in ("SVC", "SVL", "SEP", "EXT", "FW", "XLB"))
ALSO_KUBELETS = frozenset({"KUBE-POSTROUTING", "KUBE-MARK-MASQ", "KUBE-MARK-DROP"})
"""Chains that older kubelets make too: alone, they are no sign of kube-proxy."""


class TableRules(NamedTuple):
    """One table of an iptables-save listing: chain names, and rules as `-A …` lines."""

    name: str
    chains: list[str]
    rules: list[str]


def parse(text: str) -> Iterator[TableRules]:
    """The tables of an iptables-save listing."""
    table: TableRules | None = None
    for line in text.splitlines():
        if line.startswith("*"):
            table = TableRules(line[1:], [], [])
        elif table is not None and line.startswith(":"):
            table.chains.append(line[1:].partition(" ")[0])
        elif table is not None and line.startswith("-A "):
            table.rules.append(line)
        elif table is not None and line == "COMMIT":
            yield table
            table = None


def is_proxys(chain: str) -> bool:
    """Whether a chain is one that kube-proxy makes."""
    return chain in EXACT or chain.startswith(PER_SERVICE)


def signs(text: str) -> list[str]:
    """kube-proxy's chains in a listing, as `table chain`; empty without any that only kube-proxy makes."""
    found = [(table.name, chain) for table in parse(text) for chain in table.chains if is_proxys(chain)]
    certain = any(chain not in ALSO_KUBELETS for _, chain in found)
    return [f"{table} {chain}" for table, chain in found] if certain else []


def removal(text: str) -> str:
    """What `iptables-restore --noflush` takes to remove kube-proxy's chains and the jumps to them; "" for nothing."""
    return "".join(block for table in parse(text) for block in _removal(table))


def _removal(table: TableRules) -> Iterable[str]:
    doomed = [chain for chain in table.chains if is_proxys(chain)]
    if not doomed:
        return
    yield f"*{table.name}\n"
    # Naming a chain empties it; a chain can go once nothing jumps to it.
    yield from (f":{chain} - [0:0]\n" for chain in doomed)
    yield from (f"-D {rule[3:]}\n" for rule in table.rules if _chain(rule) not in doomed and _target(rule) in doomed)
    yield from (f"-X {chain}\n" for chain in doomed)
    yield "COMMIT\n"


def _chain(rule: str) -> str:
    return rule.split(" ", 2)[1]


def _target(rule: str) -> str:
    words = rule.split()
    return next((words[i + 1] for i, word in enumerate(words[:-1]) if word in ("-j", "-g")), "")

"""The node's one static nftables table: masquerade of what leaves, and no ICMP redirects between pods.

Its rules never change in number. What grows are interval sets: a range of pods is one element, a pod is none.

    postrouting   from @masq      to anything but @masq      ─▶ masquerade    networks with ipMasq
                  from @pods      to anything but @cluster   ─▶ masquerade    this node's pods in a cluster
    output        redirects to @bridges                      ─▶ drop

A node that routes a packet back to the bridge it came from tells the sender to skip it next time (RFC 1812, 5.2.7.2;
RFC 4861, 8). A pod must not: replies have to pass the node, where a Service's translation is undone.
"""

from collections.abc import Iterable, Sequence
from ipaddress import collapse_addresses
from typing import Literal

from netplane.rtnl import Network

TABLE = "inet netplane-cni"
SetName = Literal["masq", "pods", "cluster"]
_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
_WORDS = {4: "ip", 6: "ip6"}
_MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}
FORWARD_COMMENT = "netplane pods"


def table() -> str:
    """Text that makes the table, or makes an existing one like it; sets keep their elements, flows go on."""
    lines = [f"add table {TABLE}", f"add set {TABLE} bridges {{ type ifname; }}"]
    lines += [
        f"add set {TABLE} {name}{v} {{ type {_TYPES[v]}; flags interval;{extra} }}"
        for name, extra in (("masq", " auto-merge;"), ("pods", ""), ("cluster", ""))
        for v in (4, 6)
    ]
    hooks = {"postrouting": "nat hook postrouting priority srcnat", "output": "filter hook output priority filter"}
    for chain, hook in hooks.items():
        lines += [f"add chain {TABLE} {chain} {{ type {hook}; }}", f"flush chain {TABLE} {chain}"]
    for v in (4, 6):
        word = _WORDS[v]
        for source, target in (("masq", "masq"), ("pods", "cluster")):
            match = f"{word} saddr @{source}{v} {word} daddr != @{target}{v} {word} daddr != {_MULTICAST[v]}"
            lines.append(f"add rule {TABLE} postrouting {match} masquerade fully-random")
    lines.append(f"add rule {TABLE} output oifname @bridges icmp type redirect drop")
    lines.append(f"add rule {TABLE} output oifname @bridges icmpv6 type nd-redirect drop")
    return "\n".join(lines) + "\n"


def bridge(name: str) -> str:
    """Text that makes a bridge one of ours."""
    return f'add element {TABLE} bridges {{ "{name}" }}\n'


def masquerade(subnets: Iterable[Network]) -> str:
    """Text that adds networks with ipMasq; adding one that is there changes nothing."""
    return "".join(f"add element {TABLE} masq{n.version} {{ {n} }}\n" for n in subnets)


def cluster(pods: Sequence[Network], direct: Sequence[Network]) -> str:
    """Text that makes these, and no others, the node's pods and what they reach without masquerade."""
    lines = []
    sets: tuple[tuple[SetName, Sequence[Network]], ...] = (("pods", pods), ("cluster", direct))
    for name, members in sets:
        for v in (4, 6):
            lines.append(f"flush set {TABLE} {name}{v}")
            found = collapse_addresses(n for n in members if n.version == v)  # type: ignore[type-var] # one family
            if text := ", ".join(map(str, found)):
                lines.append(f"add element {TABLE} {name}{v} {{ {text} }}")
    return "\n".join(lines) + "\n"


def forward(listing: str, version: int, pods: Sequence[Network]) -> str:
    """Text that lets pods through an iptables FORWARD chain whose policy is to drop; "" when nothing is to do.

    An accepting chain of ours could not overrule it: in nftables a drop in any table is final. So two rules go to the
    head of that chain, as if `iptables -I FORWARD` had put them there.

    Args:
        listing: `nft list chain ip filter FORWARD`, "" when there is no such chain.
        version: 4 or 6.
        pods: the cluster's ranges.
    """
    mine = [n for n in pods if n.version == version]
    if "policy drop" not in listing or FORWARD_COMMENT in listing:
        return ""
    word = _WORDS[version]
    rules = [
        f'insert rule {word} filter FORWARD {word} {end} {n} counter accept comment "{FORWARD_COMMENT}"'
        for n in mine
        for end in ("saddr", "daddr")
    ]
    return "".join(rule + "\n" for rule in rules)

"""The node's one static nftables table: masquerade of what leaves, host ports, no ICMP redirects between pods.

Its rules never change in number. What grows are interval sets: a range of pods is one element, a pod is none.

    postrouting   from and to as @plain says                 ─▶ no masquerade networks' exceptions
                  from @masq      to anything but @masq      ─▶ masquerade    networks with ipMasq
                  from @pods      to anything but @cluster   ─▶ masquerade    this node's pods in a cluster
    sent          the tunnel's own, as `tunnel` says         ─▶ notrack       see untracked.py
                  redirects to @bridges                      ─▶ drop

    hostports_in  for an address of the node ─┐
    hostports_out for an address of the node ─┴▶ hostports   ─▶ dnat to what @ports or @anyports has
    postrouting   so translated, from 127.0.0.1 or @hairpin  ─▶ masquerade    its reply must pass the node

What is for ::1 stays on the node: IPv6 lets no packet from the loopback address leave (RFC 4291, 2.5.3). What is for
127.0.0.1 stays the node's: see loopback.py.

A packet between two pods is evaluated by no rule but a flow's first: nat chains see no other, `sent` only what the node
itself sends. Every chain that saw them all would cost each packet as much as a fourth of its tracking.

A node that routes a packet back to the bridge it came from tells the sender to skip it next time (RFC 1812, 5.2.7.2;
RFC 4861, 8). A pod must not: replies have to pass the node, where a Service's translation is undone.
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import collapse_addresses, ip_network
from typing import Literal

from netplane.rtnl import IP, Network

TABLE = "inet netplane-cni"
SetName = Literal["masq", "pods", "cluster"]
_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
WORDS = {4: "ip", 6: "ip6"}
_MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}
FORWARD_COMMENT = "netplane pods"
_HOOKS = {
    "hostports_in": "nat hook prerouting priority dstnat",
    "hostports_out": "nat hook output priority -100",
    "postrouting": "nat hook postrouting priority srcnat",
    "sent": "filter hook output priority raw",
}
# Chains without a hook; what fills `tunnel` is another pass' business.
_JUMPED = ("hostports", "tunnel")


def table() -> str:
    """Text that makes the table, or makes an existing one like it; sets keep their elements, flows go on."""
    lines = [f"add table {TABLE}", f"add set {TABLE} bridges {{ type ifname; }}"]
    lines += [
        f"add set {TABLE} {name}{v} {{ type {_TYPES[v]}; flags interval;{extra} }}"
        for name, extra in (("masq", " auto-merge;"), ("pods", ""), ("cluster", ""))
        for v in (4, 6)
    ]
    lines += [line for v in (4, 6) for line in _port_maps(v)]
    lines += [f"add chain {TABLE} {chain}" for chain in _JUMPED]
    lines += [f"add chain {TABLE} {chain} {{ type {hook}; }}" for chain, hook in _HOOKS.items()]
    lines += [f"flush chain {TABLE} {chain}" for chain in ("hostports", *_HOOKS)]
    lines += [line for v in (4, 6) for line in _port_rules(v)]
    lines += [f"add rule {TABLE} hostports_{where} fib daddr type local goto hostports" for where in ("in", "out")]
    lines.append(f"add rule {TABLE} postrouting oifname != lo ct status dnat ip saddr 127.0.0.0/8 masquerade")
    for v in (4, 6):
        word = WORDS[v]
        lines.append(f"add rule {TABLE} postrouting {word} saddr . {word} daddr @plain{v} accept")
        for source, target in (("masq", "masq"), ("pods", "cluster")):
            match = f"{word} saddr @{source}{v} {word} daddr != @{target}{v} {word} daddr != {_MULTICAST[v]}"
            lines.append(f"add rule {TABLE} postrouting {match} masquerade fully-random")
    lines.append(f"add rule {TABLE} sent jump tunnel")
    # The type first: most packets are none, and names are compared slowly.
    lines.append(f"add rule {TABLE} sent icmp type redirect oifname @bridges drop")
    lines.append(f"add rule {TABLE} sent icmpv6 type nd-redirect oifname @bridges drop")
    return "\n".join(lines) + "\n"


def _port_maps(version: int) -> list[str]:
    address = _TYPES[version]
    target = f"{address} . inet_service"
    return [
        f"add map {TABLE} ports{version} {{ type {address} . inet_proto . inet_service : {target}; }}",
        f"add map {TABLE} anyports{version} {{ type inet_proto . inet_service : {target}; }}",
        f"add set {TABLE} hairpin{version} {{ type {address} . {address}; flags interval; }}",
        f"add set {TABLE} plain{version} {{ type {address} . {address}; flags interval; }}",
    ]


def _port_rules(version: int) -> list[str]:
    word, own = WORDS[version], f"meta nfproto ipv{version}"
    # Two lookups: hash maps find one key, and a mapping without hostIP is for every address of the node.
    here = f"{own} " if version == 4 else f"{own} ip6 daddr != ::1 "
    return [
        f"add rule {TABLE} hostports {here}dnat {word} to {word} daddr . meta l4proto . th dport map @ports{version}",
        f"add rule {TABLE} hostports {here}dnat {word} to meta l4proto . th dport map @anyports{version}",
        f"add rule {TABLE} postrouting ct status dnat {word} saddr . {word} daddr @hairpin{version} masquerade",
    ]


def bridge(name: str) -> str:
    """Text that makes a bridge one of ours."""
    return f'add element {TABLE} bridges {{ "{name}" }}\n'


def masquerade(subnets: Iterable[Network]) -> str:
    """Text that adds networks with ipMasq; adding one that is there changes nothing."""
    return "".join(f"add element {TABLE} masq{n.version} {{ {n} }}\n" for n in subnets)


def question(pod: IP) -> str:
    """Text that fails when a pod is in none of the networks with ipMasq."""
    return f"get element {TABLE} masq{pod.version} {{ {pod} }}\n"


def plain(subnets: Iterable[Network], exceptions: Sequence[Network]) -> str:
    """Text that exempts what goes from these networks to those from their masquerade."""
    lines = []
    for subnet in subnets:
        same = collapse_addresses(n for n in exceptions if n.version == subnet.version)  # type: ignore[type-var] # one family
        lines += [f"add element {TABLE} plain{subnet.version} {{ {subnet} . {n} }}\n" for n in same]
    return "".join(lines)


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
        pods: ranges of pods; those that are let through already are left alone.
    """
    word = WORDS[version]
    through = [ip_network(text) for text in re.findall(rf'{word} saddr (\S+) .*"{FORWARD_COMMENT}"', listing)]
    missing = [n for n in pods if n.version == version and not any(_covers(other, n) for other in through)]
    if "policy drop" not in listing:
        return ""
    rules = [
        f'insert rule {word} filter FORWARD {word} {end} {n} counter accept comment "{FORWARD_COMMENT}"'
        for n in collapse_addresses(missing)  # type: ignore[type-var] # one family
        for end in ("saddr", "daddr")
    ]
    return "".join(rule + "\n" for rule in rules)


def _covers(outer: Network, inner: Network) -> bool:
    return outer.prefixlen <= inner.prefixlen and inner.network_address in outer

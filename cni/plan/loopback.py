"""The node's 127.0.0.0/8 is not its pods' to reach, although host ports switch `route_localnet` on (CVE-2020-8558).

    loopback_new   from @localnet to 127.0.0.0/8, a flow's first packet        ─▶ drop   before anybody translates it
    loopback_in    from @localnet to 127.0.0.0/8, about to be delivered        ─▶ drop   but what answers the node's own

Packets between pods pay for neither: a chain of type nat sees first packets only, and what is forwarded passes no input
hook. What translation never sees (a packet that fits no flow, an ICMP error about one of lo's) is never translated, so
it comes to `loopback_in`. There the answer to the node's own call to 127.0.0.1 has its address back; it is known by its
flow, which left under another source. The chains are made with a node's first IPv4 host port.
"""

from collections.abc import Iterable

from cni.plan.firewall import TABLE

SET = "localnet"
_HOOKS = {
    # Before the proxy's and kube-proxy's at -100, whose ports of the node are ports of 127.0.0.1 too.
    "loopback_new": "nat hook prerouting priority -110",
    "loopback_in": "filter hook input priority filter",
}


def table() -> str:
    """Text that makes the chains, or makes existing ones like it; the table of `firewall.table` is there."""
    theirs = f"ip daddr 127.0.0.0/8 iifname @{SET}"
    lines = [f"add set {TABLE} {SET} {{ type ifname; }}"]
    for chain, hook in _HOOKS.items():
        lines.append(f"add chain {TABLE} {chain} {{ type {hook}; }}")
        lines.append(f"flush chain {TABLE} {chain}")
    lines.append(f"add rule {TABLE} loopback_new {theirs} drop")
    lines.append(f"add rule {TABLE} loopback_in {theirs} ct status snat accept")
    lines.append(f"add rule {TABLE} loopback_in {theirs} drop")
    return "\n".join(lines) + "\n"


def question() -> str:
    """Text that fails while no host port has asked for the chains."""
    return f"list set {TABLE} {SET}\n"


def elements(devices: Iterable[str]) -> str:
    """Text that marks interfaces on which packets from 127.0.0.1 may leave."""
    return "".join(f'add element {TABLE} {SET} {{ "{dev}" }}\n' for dev in devices)

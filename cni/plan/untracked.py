"""The tunnel's own packets are not tracked: nobody translates them, and each inner flow would be an entry of its own.

    tunnel_in    to the node's underlay address, UDP port of the tunnel   ─▶ notrack
    tunnel_out   from it, to that port                                    ─▶ notrack

A tunnel's packets choose their source port by the inner flow (RFC 7348, 5), and answers come back to the tunnel's port
from another one: to connection tracking every flow is two halves without answers. What is inside is tracked as before.
"""

from cni.plan.firewall import TABLE
from cni.plan.overlay import Tunnel
from cni.plan.underlay import Underlay

_HOOKS = {"tunnel_in": ("prerouting", "daddr"), "tunnel_out": ("output", "saddr")}


def chains(tunnel: Tunnel, underlay: Underlay) -> str:
    """Text that makes the chains, or makes existing ones like it, in the table of `firewall.table`."""
    lines = []
    for chain, (hook, end) in _HOOKS.items():
        lines.append(f"add chain {TABLE} {chain} {{ type filter hook {hook} priority raw; }}")
        lines.append(f"flush chain {TABLE} {chain}")
        if tunnel.mode == "vxlan":
            word = "ip" if underlay.address.version == 4 else "ip6"
            lines.append(f"add rule {TABLE} {chain} udp dport {tunnel.port} {word} {end} {underlay.address} notrack")
    return "\n".join(lines) + "\n"

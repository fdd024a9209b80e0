"""The tunnel's own packets are not tracked: nobody translates them, and each inner flow would be an entry of its own.

    sent       output ─▶ jump tunnel: from the node's underlay address to the tunnel's port   ─▶ notrack
    received   at the underlay's device: to that address and port, no fragments               ─▶ notrack

A tunnel's packets choose their source port by the inner flow (RFC 7348, 5), and answers come back to the tunnel's port
from another one: to connection tracking every flow is two halves without answers. What is inside is tracked as before.

What is received is looked at where it comes in, and not in prerouting, where every pod's packet passes too, in a tunnel
twice. Fragments are left alone there: they must all be put together in one place. Frames of a bridge's ports come to
the hooks of IP before the bridge's own device has them (br_netfilter): there, and where the kernel offers no hook at a
device, prerouting it is.
"""

from cni.plan.firewall import TABLE, WORDS
from cni.plan.overlay import Tunnel
from cni.plan.underlay import Underlay

AT_DEVICE = "netdev netplane-cni"
_ANYWHERE = "tunnel_in"
# Neither MF nor an offset (RFC 791, 3.1); in IPv6 a fragment's next header is 44 (RFC 8200, 4.5).
_WHOLE = {4: "ip frag-off & 0x3fff == 0 ip protocol udp", 6: "ip6 nexthdr udp"}


def sent(tunnel: Tunnel, underlay: Underlay) -> str:
    """Text that fills the chain which the table of `firewall.table` sends the node's own packets through first."""
    lines = [f"flush chain {TABLE} tunnel"]
    if tunnel.mode == "vxlan":
        # Nothing more to look at: it is no redirect.
        lines.append(f"add rule {TABLE} tunnel {_to(tunnel, underlay, 'saddr')} notrack accept")
    return "\n".join(lines) + "\n"


def received(tunnel: Tunnel, underlay: Underlay) -> str:
    """Text that puts the rule where it costs least, in place of all that was there before.

    There is no other way to move a chain to another device; no packet meets a gap, it is one transaction.
    """
    if underlay.is_bridge:
        return _nowhere() + received_anywhere(tunnel, underlay)
    lines = [f"{verb} chain {TABLE} {_ANYWHERE}" for verb in ("add", "flush", "delete")]
    if tunnel.mode == "vxlan":
        hook = f'type filter hook ingress device "{underlay.dev}" priority -500'
        rule = f"{_WHOLE[underlay.address.version]} {_to(tunnel, underlay, 'daddr')} notrack"
        lines += [f"add table {AT_DEVICE}", f"add chain {AT_DEVICE} {_ANYWHERE} {{ {hook}; }}"]
        lines.append(f"add rule {AT_DEVICE} {_ANYWHERE} {rule}")
    return _nowhere() + "\n".join(lines) + "\n"


def received_anywhere(tunnel: Tunnel, underlay: Underlay) -> str:
    """Text for a kernel that has no hook at devices, and for bridges: the rule in prerouting."""
    lines = [
        f"add chain {TABLE} {_ANYWHERE} {{ type filter hook prerouting priority raw; }}",
        f"flush chain {TABLE} {_ANYWHERE}",
    ]
    if tunnel.mode == "vxlan":
        lines.append(f"add rule {TABLE} {_ANYWHERE} {_to(tunnel, underlay, 'daddr')} notrack")
    else:
        lines.append(f"delete chain {TABLE} {_ANYWHERE}")
    return "\n".join(lines) + "\n"


def _nowhere() -> str:
    return f"add table {AT_DEVICE}\ndelete table {AT_DEVICE}\n"


def _to(tunnel: Tunnel, underlay: Underlay, end: str) -> str:
    return f"udp dport {tunnel.port} {WORDS[underlay.address.version]} {end} {underlay.address}"

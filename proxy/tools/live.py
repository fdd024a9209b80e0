"""`netplane trace --live`: a real packet, sent from here or awaited, followed by nftables' own trace."""

import contextlib
import errno
import socket
from collections.abc import Iterator

from netplane.errors import NetplaneError, UsageError
from netplane.kernel import netns
from netplane.kernel.nft_trace import Follower
from netplane.nft import types
from netplane.nft.packet import Packet
from proxy import node
from proxy.plan import agree
from proxy.plan.agree import Followed
from proxy.tools import sctp


class NoPacket(NetplaneError):
    """The packet to follow did not come."""


def follow(first: Packet, sender_space: str | None, wait_s: float) -> tuple[Followed, str]:
    """Follow the first packet of a flow; returns what became of it, and how it came about.

    Raises:
        NoPacket: when none came within `wait_s`.
        UsageError: when it cannot be sent from there.
        NftError: when nftables cannot be asked.
    """
    sender = _sender(first) if sender_space is None else sender_space
    with Follower(_match(first)) as follower, contextlib.ExitStack() as stack:
        if sender is not None:
            stack.enter_context(_sent(first, sender))
        events = follower.follow(wait_s)
        rules = follower.rules()
    if not events:
        hint = "send it from somewhere, wait longer with --wait, or name the namespace of its sender with --from-netns"
        raise NoPacket(f"no such packet passed this network namespace within {wait_s:g} s", hint=hint)
    how = "awaited" if sender is None else f"sent from {sender or 'here'}"
    return agree.follow(first, events, rules, follower.table), how


def _sender(first: Packet) -> str | None:
    """Who sends where nobody was named: this namespace ("") when it has the source's address; None: somebody else."""
    return "" if first.saddr in node.local_addresses() else None


def _match(first: Packet) -> str:
    address = first.family.address
    protocol = types.INET_PROTO.text(types.INET_PROTO.pack(first.protocol))
    name = first.family.nft
    ends = f"{name} saddr {address.text(first.saddr)} {name} daddr {address.text(first.daddr)}"
    return f"{ends} meta l4proto {protocol} th dport {first.dport}"


@contextlib.contextmanager
def _sent(first: Packet, space: str) -> Iterator[None]:
    """The first packet of a connection from the source's address; the connection ends with the context."""
    with contextlib.ExitStack() as stack:
        fd = stack.enter_context(netns.opened(space)) if space else None
        sock = stack.enter_context(_socket(first, fd))
        source, destination = (first.family.address.text(a) for a in (first.saddr, first.daddr))
        try:
            sock.bind((source, 0))
        except OSError as error:
            raise UsageError(
                f"{source} cannot send from {space or 'this network namespace'}: {error.strerror}",
                hint="name the network namespace that has the address with --from-netns",
            ) from error
        raw = first.protocol == sctp.PROTOCOL
        failed = sock.connect_ex((destination, 0 if raw else first.dport))
        if failed in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            raise UsageError(
                f"there is no route to {destination} from {space or 'here'}",
                hint="services' addresses need a route, such as the default route, before rules see a packet",
            )
        if first.protocol != types.PROTOCOLS["tcp"]:
            with contextlib.suppress(OSError):  # a rule of this very host may refuse at once: the trace will tell
                sock.send(sctp.encode(sctp.Packet(49_152, first.dport, 0, 1)) if raw else b"")
        yield


def _socket(first: Packet, fd: int | None) -> socket.socket:
    family = socket.AF_INET if first.family is types.IPV4 else socket.AF_INET6
    kind, number = {
        types.PROTOCOLS["tcp"]: (socket.SOCK_STREAM, 0),
        types.PROTOCOLS["udp"]: (socket.SOCK_DGRAM, 0),
        sctp.PROTOCOL: (socket.SOCK_RAW, sctp.PROTOCOL),
    }[first.protocol]
    return netns.socket_in(fd, family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, number)

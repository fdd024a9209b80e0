"""Connection tracking of one network namespace: list and delete flows, filtered by protocol in the kernel.

    CTA_TUPLE_ORIG   what the client sent        src → service address
    CTA_TUPLE_REPLY  what answers are matched by endpoint → client (its source is where DNAT went)

A flow is deleted by its original tuple and its id, so one that was made anew in between is left alone.
Source: linux/netfilter/nfnetlink_conntrack.h.
"""

import errno
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from netplane.errors import NetplaneError
from netplane.kernel.netlink import NETLINK_NETFILTER, KernelError, NetlinkSocket
from netplane.net import netlink as nl
from netplane.nft.types import Family

_SUBSYSTEM = 1
_GET, _DELETE = _SUBSYSTEM << 8 | 1, _SUBSYSTEM << 8 | 2
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _ID, _ZONE, _FILTER = 1, 2, 3, 12, 18, 25
_SRC_NAT = 1 << 4
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_PROTO_NUM, _PROTO_SRC_PORT, _PROTO_DST_PORT = 1, 2, 3
_FILTER_ORIG_FLAGS, _FILTER_BY_PROTO = 1, 1 << 3
_DELETES_PER_SEND = 256


class ConntrackError(NetplaneError):
    """Connection tracking cannot be read or changed here."""


class Tuple(NamedTuple):
    """One direction of a flow: packed addresses, ports (0 where the protocol has none)."""

    source: bytes
    destination: bytes
    source_port: int
    destination_port: int


class Flow(NamedTuple):
    """A tracked connection. `handle` holds the attributes that name it for deletion.

    `masqueraded` says that its source was rewritten, be it only the port.
    """

    protocol: int
    original: Tuple
    reply: Tuple
    handle: bytes
    masqueraded: bool = False


class Conntrack:
    """Connection tracking of the namespace behind `netns_fd` (None: the caller's). One instance per thread."""

    def __init__(self, netns_fd: int | None = None) -> None:
        try:
            self._socket = NetlinkSocket(NETLINK_NETFILTER, netns_fd=netns_fd)
        except OSError as error:
            raise ConntrackError(f"cannot open a netfilter socket: {error.strerror}", hint="run as root") from error

    def close(self) -> None:
        """Close the socket; harmless when repeated."""
        self._socket.close()

    def flows(self, family: Family, protocol: int) -> Iterator[Flow]:
        """Flows of one family and protocol number.

        Raises:
            ConntrackError: when the kernel has no connection tracking, or refuses.
        """
        wanted = nl.nested(_TUPLE_ORIG, nl.nested(_TUPLE_PROTO, nl.attr_u8(_PROTO_NUM, protocol))) + nl.nested(
            _FILTER, nl.attr_u32(_FILTER_ORIG_FLAGS, _FILTER_BY_PROTO)
        )
        request = struct.pack("!BBH", family.number, 0, 0) + wanted
        try:
            for reply in self._socket.dump(_GET, request, "list connections"):
                flow = _flow(reply.payload)
                if flow is not None and flow.protocol == protocol:
                    yield flow
        except KernelError as error:
            raise ConntrackError(str(error)) from error

    def delete(self, family: Family, flows: Iterable[Flow]) -> int:
        """Delete flows; returns how many were still there.

        Raises:
            ConntrackError: when the kernel refuses for another reason than that a flow is gone.
        """
        todo, gone = list(flows), 0
        for start in range(0, len(todo), _DELETES_PER_SEND):
            gone += self._delete(family, todo[start : start + _DELETES_PER_SEND])
        return gone

    def _delete(self, family: Family, flows: Sequence[Flow]) -> int:
        first = self._socket.next_seq(len(flows))
        head = struct.pack("!BBH", family.number, 0, 0)
        flags = nl.NLM_F_REQUEST | nl.NLM_F_ACK
        self._socket.send(
            b"".join(nl.message(_DELETE, flags, first + i, head + flow.handle) for i, flow in enumerate(flows))
        )
        answers = self._socket.acks(first, len(flows))
        for answer in answers:
            if answer.errno not in (0, errno.ENOENT):
                raise ConntrackError(f"delete connection: {answer}")
        return sum(answer.errno == 0 for answer in answers)


def _flow(payload: bytes) -> Flow | None:
    attrs = nl.attr_map(payload, 4)
    original = attrs.get(_TUPLE_ORIG)
    reply = attrs.get(_TUPLE_REPLY)
    if original is None or reply is None:
        return None
    protocol, forth = _tuple(original)
    _, back = _tuple(reply)
    handle = nl.attr(_TUPLE_ORIG | nl.NLA_F_NESTED, original)
    for kind in (_ID, _ZONE):
        if kind in attrs:
            handle += nl.attr(kind, attrs[kind])
    status = nl.be32(attrs[_STATUS]) if _STATUS in attrs else 0
    return Flow(protocol, forth, back, handle, bool(status & _SRC_NAT))


def _tuple(raw: bytes) -> tuple[int, Tuple]:
    parts = nl.attr_map(raw)
    addresses = nl.attr_map(parts[_TUPLE_IP])
    ports = nl.attr_map(parts[_TUPLE_PROTO])
    source, destination = (addresses.get(a) or addresses[b] for a, b in ((1, 3), (2, 4)))
    source_port, destination_port = (
        struct.unpack("!H", ports[kind])[0] if kind in ports else 0 for kind in (_PROTO_SRC_PORT, _PROTO_DST_PORT)
    )
    return ports[_PROTO_NUM][0], Tuple(source, destination, source_port, destination_port)

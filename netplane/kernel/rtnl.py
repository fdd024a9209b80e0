"""Rtnetlink for real: applies requests, many per send, checks every ACK, and undoes what it did when one fails.

    apply([a, b, c, d])         a makes a link that c needs by its index, so there are two sends:
        send [a b] ── ACKs ──▶ look up c's link ──▶ send [c d] ── ACKs
                                                     one refused: inverse(d) … inverse(a), then KernelError(c)

The kernel goes on after a refused message, so everything that was acknowledged is undone, not only what came before.
"""

import contextlib
import errno
import fcntl
import struct
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

from netplane.kernel.netlink import NETLINK_ROUTE, KernelError, NetlinkSocket
from netplane.net import netlink as nl
from netplane.rtnl import decode, encode, shaping
from netplane.rtnl.requests import Add, Change, Delete, Request, inverse
from netplane.rtnl.shaping import TokenBucket
from netplane.rtnl.values import MAIN_TABLE, Address, FdbEntry, Link, Neighbour, PortVlan, Route

_SIOCGIFINDEX = 0x8933
_IFREQ = struct.Struct("=16si20x")
# Bounds the receive buffer that the ACKs need; one datagram of 256 requests is some 30 KB.
_BATCH = 256
_Done = tuple[Request, Link | None]  # with the link as it was before a change
_GONE = {errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENXIO}


class Rtnl:
    """A door to the links of one network namespace. Not shared between threads.

    Args:
        netns_fd: the namespace; None is the caller's. It may be closed once the door is open.
    """

    def __init__(self, netns_fd: int | None = None) -> None:
        self._socket = NetlinkSocket(NETLINK_ROUTE, netns_fd=netns_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; harmless when repeated."""
        self._socket.close()

    # Changes --------------------------------------------------------------------------------------------------

    def apply(self, requests: Iterable[Request], *, undo: bool = True) -> None:
        """Do all of them in order, or none: on a failure what was done is undone (see `rtnl.inverse` for what can be).

        Args:
            requests: what to do.
            undo: False saves reading links before they are changed, where the caller removes everything itself.

        Raises:
            KernelError: naming the first request that was refused; nothing of the rest is left.
        """
        done: list[_Done] = []
        try:
            for batch in _sends(requests):
                self._send(batch, done, undo=undo)
        except BaseException:
            if undo:
                self._undo(done)
            raise

    def index(self, name: str) -> int:
        """A link's index.

        Raises:
            KernelError: ENODEV when there is no such link.
        """
        found = self.find(name)
        if not found:
            raise KernelError(f"ip link show {name}", nl.Failure(errno.ENODEV, "there is no such link", None))
        return found

    def find(self, name: str) -> int:
        """A link's index, 0 when there is no such link. The cheapest question there is: one ioctl."""
        request = _IFREQ.pack(name.encode()[:15], 0)
        try:
            return int(_IFREQ.unpack(fcntl.ioctl(self._socket.fileno(), _SIOCGIFINDEX, request))[1])
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return 0

    def _send(self, batch: Sequence[Request], done: list[_Done], *, undo: bool) -> None:
        todo: list[tuple[Request, encode.Encoded, Link | None]] = []
        made = {name for request in (*batch, *(r for r, _ in done)) for name in _makes(request)}
        for request in batch:
            before = None
            if undo and isinstance(request, Change) and request.name not in made:
                before = self.link(request.name)
            with contextlib.suppress(_Skip):
                todo.append((request, self._encode(request), before))
        if not todo:
            return
        first = self._socket.next_seq(len(todo))
        self._socket.send(
            b"".join(nl.message(e.type, e.flags, first + i, e.payload) for i, (_, e, _) in enumerate(todo))
        )
        refused: KernelError | None = None
        for i, failure in enumerate(self._socket.acks(first, len(todo))):
            request, _, before = todo[i]
            if not failure.errno:
                done.append((request, before))
            elif not _tolerated(request, failure.errno) and refused is None:
                refused = KernelError(str(request), failure, i)
        if refused is not None:
            raise refused

    def _encode(self, request: Request) -> encode.Encoded:
        try:
            return encode.encode(request, self.index)
        except KernelError as error:
            if _tolerated(request, error.errno):
                raise _Skip from error
            raise KernelError(str(request), error.failure) from error

    def _undo(self, done: list[_Done]) -> None:
        for request, before in reversed(done):
            back = inverse(request, before)
            if back is not None:
                with contextlib.suppress(KernelError, OSError):
                    self._send([back], [], undo=False)

    # Dumps ----------------------------------------------------------------------------------------------------

    def link(self, name: str) -> Link | None:
        """One link; None when there is none of that name."""
        payload = encode.IFINFO.pack(0, 0, 0, 0, 0) + nl.attr_str(encode.IFLA_IFNAME, name)
        try:
            found = list(self._socket.dump(encode.RTM_GETLINK, payload, f"ip link show {name}", flags=0))
        except KernelError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        masters = nl.attr_map(found[0].payload, encode.IFINFO.size).get(encode.IFLA_MASTER)
        names = {nl.u32(masters): self._name(nl.u32(masters))} if masters else {}
        return decode.links(found, names)[0]

    def _name(self, index: int) -> str:
        payload = encode.IFINFO.pack(0, 0, index, 0, 0)
        found = list(self._socket.dump(encode.RTM_GETLINK, payload, f"ip link show index {index}", flags=0))
        return decode.link_names(found)[index]

    def links(self) -> list[Link]:
        """All links, in the order of their indices."""
        return decode.links(self._links())

    def addresses(self, dev: str = "") -> list[Address]:
        """All addresses, or those of one link."""
        index = self.index(dev) if dev else 0
        payload = encode.IFADDR.pack(0, 0, 0, 0, index)
        names = {index: dev} if dev else self._names()
        found = decode.addresses(self._socket.dump(encode.RTM_GETADDR, payload, f"ip address show {dev}"), names)
        return [address for address in found if dev in ("", address.dev)]

    def routes(self, table: int = MAIN_TABLE) -> list[Route]:
        """The routes of one table, both families."""
        payload = encode.RTMSG.pack(0, 0, 0, 0, 0, 0, 0, 0, 0)
        found = decode.routes(self._socket.dump(encode.RTM_GETROUTE, payload, "ip route show"), self._names())
        return [route for route in found if route.table == table]

    def neighbours(self, dev: str = "") -> list[Neighbour]:
        """ARP and neighbour discovery entries."""
        payload = encode.NDMSG.pack(0, 0, 0, 0, 0)
        found = decode.neighbours(self._socket.dump(encode.RTM_GETNEIGH, payload, "ip neighbour show"), self._names())
        return [neighbour for neighbour in found if dev in ("", neighbour.dev)]

    def fdb(self, dev: str = "") -> list[FdbEntry]:
        """FDB entries of bridges and tunnels."""
        payload = encode.NDMSG.pack(encode.AF_BRIDGE, 0, 0, 0, 0)
        found = decode.fdb(self._socket.dump(encode.RTM_GETNEIGH, payload, "bridge fdb show"), self._names())
        return [entry for entry in found if dev in ("", entry.dev)]

    def vlans(self, dev: str) -> list[PortVlan]:
        """VLANs of a bridge's port, as ranges; none where the bridge does not look at them."""
        index = self.index(dev)
        mask = nl.attr_u32(encode.IFLA_EXT_MASK, encode.RTEXT_FILTER_BRVLAN_COMPRESSED)
        payload = encode.IFINFO.pack(encode.AF_BRIDGE, 0, 0, 0, 0) + mask
        return decode.vlans(self._socket.dump(encode.RTM_GETLINK, payload, f"bridge vlan show dev {dev}"), dev, index)

    def buckets(self, dev: str) -> list[TokenBucket]:
        """Token buckets of one link; their bursts, which the kernel keeps as times, are 0."""
        payload = shaping.TCMSG.pack(0, self.index(dev), 0, 0, 0)
        found = self._socket.dump(shaping.RTM_GETQDISC, payload, f"tc qdisc show dev {dev}")
        mine = [m.payload for m in found if shaping.TCMSG.unpack_from(m.payload)[1] == self.index(dev)]
        return [bucket for raw in mine if (bucket := shaping.decode_bucket(raw, dev)) is not None]

    def _links(self) -> list[nl.Message]:
        payload = encode.IFINFO.pack(0, 0, 0, 0, 0)
        return list(self._socket.dump(encode.RTM_GETLINK, payload, "ip link show"))

    def _names(self) -> dict[int, str]:
        return decode.link_names(self._links())


class _Skip(Exception):
    """What is to be deleted hangs on a link that is gone already."""


def _tolerated(request: Request, code: int) -> bool:
    return isinstance(request, Delete) and request.missing_ok and code in _GONE


def _makes(request: Request) -> set[str]:
    """Names that mean another link after the request than before it."""
    match request:
        case Add(Link(name)):
            return {name}
        case Change(name, rename=str(new)):
            return {name, new}
        case _:
            return set()


def _sends(requests: Iterable[Request]) -> Iterator[list[Request]]:
    """Cut requests into sends: a new one begins where a request needs the index of a link that this one makes."""
    batch: list[Request] = []
    made: set[str] = set()
    for request in requests:
        if batch and (encode.needs(request) & made or len(batch) == _BATCH):
            yield batch
            batch, made = [], set()
        batch.append(request)
        made |= _makes(request)
    if batch:
        yield batch

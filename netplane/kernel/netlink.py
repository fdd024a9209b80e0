"""A netlink socket: batches in, acknowledgements out. One socket per request or per thread, never shared:
two threads on one socket would read each other's ACKs.
"""

import ctypes
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

from netplane.errors import NetplaneError
from netplane.kernel import netns
from netplane.net import netlink as nl

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_SO_ATTACH_FILTER = 26
_RECV_BYTES = 1 << 18


class KernelError(NetplaneError):
    """The kernel refused a request. `errno` is positive; `index` is the position of the refused message."""

    def __init__(self, doing: str, failure: nl.Failure, index: int | None = None) -> None:
        super().__init__(f"{doing}: {failure}")
        self.errno = failure.errno
        self.failure = failure
        self.index = index


class NetlinkSocket:
    """A bound netlink socket, optionally of another network namespace and subscribed to multicast groups.

    Args:
        protocol: NETLINK_ROUTE or NETLINK_NETFILTER.
        netns_fd: make the socket in this network namespace (it stays there for its lifetime).
        groups: multicast group numbers to join (as in NETLINK_ADD_MEMBERSHIP).
        buffer_bytes: send and receive buffer size; large transactions need large ones.
    """

    def __init__(
        self, protocol: int, *, netns_fd: int | None = None, groups: Iterable[int] = (), buffer_bytes: int = 1 << 22
    ) -> None:
        self.sock = netns.socket_in(netns_fd, socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            self._enlarge(protocol, buffer_bytes)
            self.sock.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
            self.sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            if protocol == NETLINK_ROUTE:
                self.sock.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
            self.sock.bind((0, 0))
            for group in groups:
                self.join(group)
        except BaseException:
            self.sock.close()
            raise
        self._seq = int.from_bytes(os.urandom(2), "little") << 8

    def _enlarge(self, protocol: int, buffer_bytes: int) -> None:
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, buffer_bytes)
            self.sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
        except PermissionError:
            if protocol != NETLINK_ROUTE:
                raise
            # Links are for everybody to see; who may only look gets what the system's limit allows.
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def join(self, group: int) -> None:
        """Subscribe to a multicast group."""
        self.sock.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, struct.pack("=I", group))

    def keep_only(self, program: Sequence[tuple[int, int, int, int]]) -> None:
        """Let the kernel drop what a classic BPF program refuses, before anybody is woken for it.

        Args:
            program: instructions (code, jump if true, jump if false, operand), as in bpf(4); a later one replaces it.
        """
        text = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
        buffer = ctypes.create_string_buffer(text, len(text))
        # struct sock_fprog: the number of instructions, and where they are.
        self.sock.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(buffer))
        )

    def fileno(self) -> int:
        """The descriptor, for selectors and event loops."""
        return self.sock.fileno()

    def close(self) -> None:
        """Close the socket; harmless when repeated."""
        self.sock.close()

    def next_seq(self, count: int = 1) -> int:
        """Reserve `count` sequence numbers and return the first."""
        first = self._seq + 1
        self._seq += count
        return first

    def send(self, data: bytes) -> None:
        """Send messages as one datagram (the kernel takes it whole or not at all)."""
        self.sock.send(data)

    def receive(self) -> Iterator[nl.Message]:
        """Messages of one datagram; blocks until there is one."""
        return nl.messages(self.sock.recv(_RECV_BYTES))

    def acks(self, first_seq: int, count: int) -> list[nl.Failure]:
        """Wait for one ACK for each of `count` consecutive sequence numbers, in order (errno 0 is success)."""
        found: dict[int, nl.Failure] = {}
        while len(found) < count:
            for reply in self.receive():
                if reply.type == nl.NLMSG_ERROR and first_seq <= reply.seq < first_seq + count:
                    found[reply.seq] = nl.failure(reply)
        return [found[first_seq + i] for i in range(count)]

    def gather(self, kind: int, payload: bytes, doing: str) -> Iterator[nl.Message]:
        """Send one request and yield every message that answers it, to its ACK: for those answered by several.

        Raises:
            KernelError: when the kernel answers with an error.
        """
        yield from self._answers(kind, payload, nl.NLM_F_ACK, doing)

    def dump(self, kind: int, payload: bytes, doing: str, flags: int = nl.NLM_F_DUMP) -> Iterator[nl.Message]:
        """Send one request and yield the messages of its answer, to NLMSG_DONE (or the one message or ACK).

        Raises:
            KernelError: when the kernel answers with an error.
        """
        for reply in self._answers(kind, payload, flags, doing):
            if reply.type == nl.NLMSG_DONE:
                code = -struct.unpack_from("=i", reply.payload)[0] if len(reply.payload) >= 4 else 0
                if code > 0:
                    raise KernelError(doing, nl.Failure(code, "", None))
                return
            yield reply
            if not reply.flags & nl.NLM_F_MULTI:
                return

    def _answers(self, kind: int, payload: bytes, flags: int, doing: str) -> Iterator[nl.Message]:
        """Send one request and yield what answers it, to an ACK; raises KernelError for an error."""
        seq = self.next_seq()
        self.send(nl.message(kind, nl.NLM_F_REQUEST | flags, seq, payload))
        while True:
            for reply in self.receive():
                if reply.seq != seq:
                    continue
                if reply.type == nl.NLMSG_ERROR:
                    failure = nl.failure(reply)
                    if failure.errno:
                        raise KernelError(doing, failure)
                    return
                yield reply

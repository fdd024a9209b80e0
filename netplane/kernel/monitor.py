"""News of links and addresses, as the kernel multicasts them (rtnetlink(7): RTNLGRP_LINK, RTNLGRP_*_IFADDR).

On a busy node nearly all news is of pods, a dozen messages each, and whoever listens is woken for every one. So the
kernel itself is told, by a filter on the socket, what is of interest.
"""

import contextlib
import errno
import os
import select
import struct
from collections.abc import AsyncIterator, Collection
from types import TracebackType
from typing import Self

from netplane.kernel.netlink import NETLINK_ROUTE, NetlinkSocket
from netplane.net import netlink as nl
from netplane.rtnl import encode

_RTNLGRP_LINK = 1
_GROUPS = (_RTNLGRP_LINK, 5, 9)  # and RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
_KINDS = {encode.RTM_NEWLINK, encode.RTM_DELLINK, encode.RTM_NEWADDR, encode.RTM_DELADDR}
# ifinfomsg and ifaddrmsg both have the link's index in their second four bytes.
_INDEX = struct.Struct("=4xi")

# bpf(4), for struct nlmsghdr (16 bytes, the type at 4) and what follows it: the family, then the index at 4.
_LOAD_4, _LOAD_2, _LOAD_1, _IF_EQUAL, _RETURN = 0x20, 0x28, 0x30, 0x15, 0x06
_TYPE_AT, _FAMILY_AT, _INDEX_AT = 4, 16, 20
_TAKE, _DROP = (_RETURN, 0, 0, 0xFFFFFFFF), (_RETURN, 0, 0, 0)


def _operand(value: int, size: int) -> int:
    """A number as a filter sees it: filters load big-endian, netlink has the machine's order."""
    return int.from_bytes(struct.pack("=I" if size == 4 else "=H", value), "big")


class Monitor:
    """Listens in the network namespace it is made in."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(NETLINK_ROUTE, groups=_GROUPS)
        self._socket.sock.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def watch(self, indices: Collection[int]) -> None:
        """From now on hear of these links only."""
        if len(indices) >= 255:  # a jump spans at most 255 instructions
            self._socket.keep_only([_TAKE])
            return
        # An equal index jumps over the tests that are left, and over _DROP.
        tests = [(_IF_EQUAL, len(indices) - i, 0, _operand(index, 4)) for i, index in enumerate(indices)]
        self._socket.keep_only([(_LOAD_4, 0, 0, _INDEX_AT), *tests, _DROP, _TAKE])

    async def changes(self) -> AsyncIterator[int]:
        """The index of every link that was made, changed or removed, or whose addresses were; 0 when news was lost."""
        import asyncio  # noqa: PLC0415 - 15 ms, and a plugin's own process has no loop

        ready = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket.fileno(), ready.set)
        try:
            while True:
                ready.clear()
                for index in self._receive():
                    yield index
                await ready.wait()
        finally:
            loop.remove_reader(self._socket.fileno())

    def _receive(self) -> set[int]:
        found: set[int] = set()
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    found |= {_INDEX.unpack_from(m.payload)[0] for m in self._socket.receive() if _is_news(m)}
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    found.add(0)
        return found


def _is_news(message: nl.Message) -> bool:
    # A bridge tells of its ports in messages of its own family (AF_BRIDGE).
    return message.type in _KINDS and message.payload[0] != encode.AF_BRIDGE


class Departures:
    """Hears which links have left the network namespace it is made in.

    The kernel tells when a link is down, off every list and its name free again; the request that removed it is
    answered much later, once the kernel's readers have been waited for (RCU) and its memory is free.
    """

    def __init__(self) -> None:
        self._socket = NetlinkSocket(NETLINK_ROUTE)
        self._socket.sock.setblocking(False)
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        gone = _operand(encode.RTM_DELLINK, 2)
        self._socket.keep_only(
            [
                (_LOAD_2, 0, 0, _TYPE_AT),
                (_IF_EQUAL, 0, 3, gone),
                (_LOAD_1, 0, 0, _FAMILY_AT),  # AF_BRIDGE tells that a port left its bridge
                (_IF_EQUAL, 0, 1, 0),
                _TAKE,
                _DROP,
            ]
        )
        self._socket.join(_RTNLGRP_LINK)

    def wait(self) -> set[int] | None:
        """The indices of links that are gone; blocks until there is one. None after `stop`."""
        poll = select.poll()
        for fd in (self._socket.fileno(), self._end):
            poll.register(fd, select.POLLIN)
        if any(fd == self._end for fd, _ in poll.poll()):
            return None
        found: set[int] = set()
        with contextlib.suppress(OSError):  # all read, or some was lost: whoever waits has the request's own answer
            while True:
                found |= {_INDEX.unpack_from(m.payload)[0] for m in self._socket.receive()}
        return found

    def stop(self) -> None:
        """Wake who waits; any thread."""
        os.eventfd_write(self._end, 1)

    def close(self) -> None:
        """Close the socket, once nobody waits."""
        self._socket.close()
        os.close(self._end)

"""News of links and addresses, as the kernel multicasts them (rtnetlink(7): RTNLGRP_LINK, RTNLGRP_*_IFADDR)."""

import asyncio
import contextlib
import errno
import struct
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from netplane.kernel.netlink import NETLINK_ROUTE, NetlinkSocket
from netplane.net import netlink as nl
from netplane.rtnl import encode

_GROUPS = (1, 5, 9)  # RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
_KINDS = {encode.RTM_NEWLINK, encode.RTM_DELLINK, encode.RTM_NEWADDR, encode.RTM_DELADDR}
# ifinfomsg and ifaddrmsg both have the link's index in their second four bytes.
_INDEX = struct.Struct("=4xi")


class Monitor:
    """Listens in the network namespace it is made in.

    Only the index of what changed is read: on a busy node nearly all news is of pods, and decoding it costs more than
    the few passes that know no more would.
    """

    def __init__(self) -> None:
        self._socket = NetlinkSocket(NETLINK_ROUTE, groups=_GROUPS)
        self._socket.sock.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    async def changes(self) -> AsyncIterator[int]:
        """The index of every link that was made, changed or removed, or whose addresses were; 0 when news was lost."""
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

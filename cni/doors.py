"""Netlink sockets of the node, one per thread: making one for every call would cost as much as a lookup."""

import threading

from netplane.kernel.rtnl import Rtnl


class Doors:
    """Doors to the links of the namespace its users' threads are in."""

    def __init__(self) -> None:
        self._local = threading.local()

    @property
    def here(self) -> Rtnl:
        """The calling thread's own; it lives as long as the thread."""
        found: Rtnl | None = getattr(self._local, "rtnl", None)
        if found is None:
            found = self._local.rtnl = Rtnl()
        return found

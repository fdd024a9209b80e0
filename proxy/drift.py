"""Notices that somebody else changed the proxy's tables: nftables tells every change of any table as it happens.

    somebody's transaction ─► NEWTABLE, DELCHAIN, NEWSETELEM … ─► NEWGEN (generation, process) ─► ours? forget it
                                                                                               └► not: `on_drift`

Transactions of this process are known by the netlink port they came from, or by the thread that the kernel saw behind
that port (libnftables opens a port of its own each time). Where events were lost, everything may have changed. Now and
then the kernel's generation is compared with the one the last event told, so that not even a silent loss stays unseen.
Source: linux/netfilter/nf_tables.h; nf_tables_commit() sends the NEWGEN last.
"""

import asyncio
import contextlib
import errno
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from netplane.kernel.nft import Nft, NftError
from netplane.net import netlink as nl
from netplane.nft import wire
from netplane.nft.objects import Table
from netplane.obs import logs

log = logs.get("proxy.drift")

CHECK_PERIOD_S = 10.0
EVERYTHING = frozenset({"*"})
RULES = "rules"
"""Stands for chains and rules, beside the names of sets."""

_HEADER = struct.Struct("=IHHII")
_NEWGEN = wire.SUBSYSTEM << 8 | 15
_ELEMENTS = {wire.NEWSETELEM, wire.DELSETELEM}
_RULES = {wire.SUBSYSTEM << 8 | number for number in (3, 5, 6, 8)}

Touched = Mapping[str, frozenset[str]]
"""By table (`ip netplane-proxy`): names of sets, RULES, or EVERYTHING."""


class Author(NamedTuple):
    """Who made a generation: netlink port, thread, process name, and the generation's number."""

    port: int
    thread: int
    name: str
    generation: int


class Listener:
    """Reads events; `read` returns what others touched since it was called last. Pure but for its socket."""

    def __init__(self, nft: Nft, tables: Iterable[Table]) -> None:
        self._tables = {(table.family.number, table.name): table.spec for table in tables}
        self._nft = nft
        self._own_threads = {threading.get_native_id()}
        self._open: dict[str, set[str]] = {}
        self.generation: int | None = None
        self.events = nft.events()
        self.events.sock.setblocking(False)

    def close(self) -> None:
        """Stop listening."""
        self.events.close()

    def read(self) -> tuple[Touched, str]:
        """(what others touched, by whom); empty when nobody did."""
        found: dict[str, set[str]] = {}
        by = ""
        while True:
            try:
                data = self.events.sock.recv(1 << 18)
            except BlockingIOError:
                return {table: frozenset(names) for table, names in found.items()}, by
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                log.info("events were lost, so everything is compared")
                return self.everything(), "unknown"
            for author in self._events(data):
                if self._open and not self._own(author):
                    by = author.name
                    for table, names in self._open.items():
                        found.setdefault(table, set()).update(names)
                self._open = {}

    def missed(self) -> Touched:
        """Everything, when the kernel is at another generation than the events told; else nothing."""
        before, now = self.generation, self._nft.generation()
        self.generation = now
        return self.everything() if before not in (None, now) else {}

    def everything(self) -> Touched:
        """All tables."""
        return dict.fromkeys(self._tables.values(), EVERYTHING)

    def _own(self, author: Author) -> bool:
        if author.port == self._nft.port:
            self._own_threads.add(author.thread)
        return author.thread in self._own_threads

    def _events(self, data: bytes) -> Iterable[Author]:
        """Gather what is touched; yield the author at the end of each generation."""
        offset = 0
        while offset < len(data):
            length, kind, _, _, port = _HEADER.unpack_from(data, offset)
            # Our own elements are most of what comes: they are not looked into.
            if kind == _NEWGEN:
                yield self._generation(data[offset + 20 : offset + length], port)
            elif not (kind in _ELEMENTS and port == self._nft.port):
                self._touch(kind, data[offset + 16 : offset + length])
            offset += (length + 3) & ~3

    def _generation(self, attributes: bytes, port: int) -> Author:
        said = nl.attr_map(attributes)
        self.generation = nl.be32(said[1])
        return Author(port, nl.be32(said[2]), nl.string(said[3]), self.generation)

    def _touch(self, kind: int, payload: bytes) -> None:
        said = nl.attr_map(payload, 4)
        table = self._tables.get((payload[0], nl.string(said.get(1, b""))))
        if table is None:
            return
        name = nl.string(said[2]) if kind in _ELEMENTS else RULES if kind in _RULES else "*"
        self._open.setdefault(table, set()).add(name)


async def watch(listener: Listener, on_drift: Callable[[Touched, str], None]) -> None:
    """Call `on_drift` with what others touched, and who they were; for ever."""
    loop = asyncio.get_running_loop()

    def heard() -> None:
        touched, by = listener.read()
        if touched:
            on_drift(touched, by)

    heard()
    loop.add_reader(listener.events.fileno(), heard)
    try:
        while True:
            await asyncio.sleep(CHECK_PERIOD_S)
            heard()
            with contextlib.suppress(NftError):
                touched = listener.missed()
                if touched:
                    on_drift(touched, "unknown")
    finally:
        loop.remove_reader(listener.events.fileno())
        listener.close()

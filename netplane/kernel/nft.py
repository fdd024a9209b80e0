"""nftables of one network namespace: text through libnftables in process, elements through raw netlink batches.

Two doors, one for each kind of work. The skeleton (tables, chains, rules) is text: readable, in documented syntax, and
libnftables stores what lets `nft list` print typeof maps. Elements, which are what grows, go as hand-packed batches:
several times faster, and without libnftables' cache of the whole ruleset.
"""

import contextlib
import errno
import importlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from netplane.errors import NetplaneError
from netplane.kernel import netns
from netplane.kernel.netlink import NETLINK_NETFILTER, KernelError, NetlinkSocket
from netplane.net import netlink as nl
from netplane.nft import elements, wire
from netplane.nft.elements import Transaction, Value
from netplane.nft.objects import Map, Set, Table

_NFNLGRP_NFTABLES = 7
_SEND_BUFFER_BYTES = 1 << 26
_EVENT_BUFFER_BYTES = 1 << 24
_KEYS_PER_GET = 500
_DUMP_ATTEMPTS, _DUMP_PAUSE_S = 20, 0.02


class NftError(NetplaneError):
    """nftables refused a script or a batch, or cannot be used here."""


class Counted(NamedTuple):
    """An element's verdict ("" in a set), and how many packets it counted."""

    verdict: str
    packets: int


class Nft:
    """nftables of the namespace behind `netns_fd` (None: the caller's). One instance per thread.

    Raises:
        NftError: when libnftables is missing (on first use of text) or netfilter sockets are not permitted.
    """

    def __init__(self, netns_fd: int | None = None) -> None:
        self._netns_fd = netns_fd
        try:
            self._socket = NetlinkSocket(NETLINK_NETFILTER, netns_fd=netns_fd, buffer_bytes=_SEND_BUFFER_BYTES)
        except OSError as error:
            raise NftError(f"cannot open a netfilter socket: {error.strerror}", hint="run as root") from error

    def close(self) -> None:
        """Close the socket; harmless when repeated."""
        self._socket.close()

    # Text -----------------------------------------------------------------------------------------------------

    def run_text(self, text: str) -> str:
        """Run an `nft -f` script as one atomic transaction and return what it printed.

        Raises:
            NftError: with nft's own words, when any command of it fails; nothing is applied then.
        """
        code, output, error = self._text(text)
        if code != 0:
            raise NftError(f"nft: {_first_error(error)}")
        return output

    def list_table(self, table: Table) -> str | None:
        """A table's declarations, chains and rules as nft lists them, without elements; None when it is not there.

        `list table` would fetch every element first (0.4 s at 40,000), a terse `list ruleset` does not (under 1 ms).
        """
        code, output, error = self._text(f"list ruleset {table.family.nft}", terse=True)
        if code != 0:
            raise NftError(f"nft: {_first_error(error)}")
        head = f"table {table.spec} {{\n"
        start = output.find(head)
        return None if start < 0 else output[start : output.index("\n}\n", start) + 3]

    def _text(self, text: str, *, terse: bool = False) -> tuple[int, str, str]:
        """Exit code, output and errors of one script.

        libnftables opens a netlink socket of its own, so the thread must be inside the namespace while it works; a
        context per call (about 0.1 ms) leaves no copy of the ruleset in this process' memory.
        """
        with netns.entered(self._netns_fd):
            library = libnftables()
            library.set_stateless_output(terse)
            library.set_terse_output(terse)
            code, output, error = library.cmd(text)
        return int(code), str(output), str(error)

    # Elements -------------------------------------------------------------------------------------------------

    def commit(self, transaction: Transaction) -> int:
        """Apply element changes atomically; returns the bytes sent. An empty transaction sends nothing.

        Raises:
            NftError: naming the element and the kernel's reason; nothing is applied then.
        """
        if not transaction:
            return 0
        first = self._socket.next_seq(2 + 2 * len(transaction.changes) + len(transaction))
        data, parts = wire.batch(transaction, first)
        try:
            self._socket.send(data)
            problem = self._answer(first, len(parts))
        except OSError as error:
            raise NftError(f"nftables batch of {len(data)} bytes: {error.strerror}") from error
        if problem is not None:
            raise _explain(transaction.table, parts, *problem)
        return len(data)

    def _answer(self, first: int, count: int) -> tuple[int, nl.Failure] | None:
        """Read to the last message's reply: the first failure as (position, failure), or None."""
        problem: tuple[int, nl.Failure] | None = None
        while True:
            for reply in self._socket.receive():
                position = reply.seq - first
                if reply.type != nl.NLMSG_ERROR or not 0 <= position <= count + 1:
                    continue
                failure = nl.failure(reply)
                if failure.errno and problem is None:
                    problem = position, failure
                # A batch that cannot be validated is refused as a whole, on its BEGIN message; ACKs follow.
                if position == count or (position == 0 and failure.errno and count == 0):
                    return problem

    def list_elements(self, table: Table, owner: Set) -> dict[bytes, Value] | None:
        """What a set or map holds in the kernel; None when it (or its table) is not there."""
        doing = f"dump {table.spec} {owner.name}"
        try:
            for _ in range(_DUMP_ATTEMPTS):
                pairs = self._pairs(table, owner)
                # A hash table that is being resized is walked partly twice and partly not at all: it then shows
                # some element twice. A small pause lets the kernel's worker finish.
                if owner.interval or len(dict(pairs)) == len(pairs):
                    return wire.contents(owner, pairs)
                time.sleep(_DUMP_PAUSE_S)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return None
            raise NftError(str(error)) from error
        raise NftError(f"{doing}: the set changed during each of {_DUMP_ATTEMPTS} dumps")

    def list_counters(self, table: Table, owner: Set) -> Iterator[dict[bytes, Counted]]:
        """Every element of a set with what it counted, some hundred at a time; nothing when the set is not there.

        A set that changes meanwhile may show an element twice or not at all; the next reading will have it. Read it to
        its end, or close this Nft.
        """
        request = wire.dump_request(table, owner)
        try:
            for reply in self._socket.dump(wire.GETSETELEM, request, f"dump {table.spec} {owner.name}"):
                yield {key: _counted(owner, rest) for key, rest in wire.decode(owner, reply.payload)}
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise NftError(str(error)) from error

    def get_counters(self, table: Table, owner: Set, keys: Sequence[bytes]) -> dict[bytes, Counted]:
        """The same of some elements; those that are not there are left out, and perhaps some that came after them."""
        found: dict[bytes, Counted] = {}
        for start in range(0, len(keys), _KEYS_PER_GET):
            request = wire.get_request(table, owner, keys[start : start + _KEYS_PER_GET])
            with contextlib.suppress(KernelError):
                for reply in self._socket.gather(wire.GETSETELEM, request, "get counters"):
                    found.update((key, _counted(owner, rest)) for key, rest in wire.decode(owner, reply.payload))
        return found

    def _pairs(self, table: Table, owner: Set) -> list[tuple[bytes, bytes]]:
        replies = self._socket.dump(wire.GETSETELEM, wire.dump_request(table, owner), f"dump {table.spec} {owner.name}")
        if isinstance(owner, Map) and owner.data:
            return [pair for reply in replies for pair in wire.rows(owner, reply.payload)]
        return [pair for reply in replies for pair in wire.decode(owner, reply.payload)]

    def tables(self) -> list[str]:
        """All tables as `family name`, for finding strangers such as another proxy's."""
        names = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
        replies = self._socket.dump(wire.GETTABLE, wire.nfgenmsg(0), "list tables")
        return [f"{names.get(m.payload[0], m.payload[0])} {nl.string(nl.attr_map(m.payload, 4)[1])}" for m in replies]

    def chains(self, table: Table) -> list[str]:
        """Names of a table's chains, in order; empty when it is not there."""
        replies = self._socket.dump(wire.GETCHAIN, wire.nfgenmsg(table.family.number), f"list chains of {table.spec}")
        found = [nl.attr_map(m.payload, 4) for m in replies]
        return [nl.string(attrs[3]) for attrs in found if nl.string(attrs[1]) == table.name]

    def events(self) -> NetlinkSocket:
        """A socket that receives a message for every change of any nftables object in the namespace."""
        return NetlinkSocket(
            NETLINK_NETFILTER, netns_fd=self._netns_fd, groups=[_NFNLGRP_NFTABLES], buffer_bytes=_EVENT_BUFFER_BYTES
        )

    @property
    def port(self) -> int:
        """The netlink port that batches are sent from: events of them carry it."""
        return int(self._socket.sock.getsockname()[0])

    def generation(self) -> int:
        """The number of the ruleset's generation: every transaction of anybody counts it up.

        Raises:
            NftError: when the kernel does not tell.
        """
        try:
            (reply,) = self._socket.dump(wire.GETGEN, wire.nfgenmsg(0), "ask for the generation", 0)
        except KernelError as error:
            raise NftError(str(error)) from error
        return nl.be32(nl.attr_map(reply.payload, 4)[1])


def transactions(table: Table, changes: list[elements.Change], limit: int) -> Iterator[Transaction]:
    """Split changes into transactions of at most `limit` elements each, in order.

    For first loads: each transaction holds the commit lock only briefly. Only what may be applied in parts is split so.
    """
    for change in changes:
        for start in range(0, max(len(change.remove), len(change.add)), limit):
            part = elements.Change(change.set, change.remove[start : start + limit], change.add[start : start + limit])
            yield Transaction(table, (part,))


def _counted(owner: Set, rest: bytes) -> Counted:
    return Counted(wire.decoded_verdict(rest) if isinstance(owner, Map) else "", wire.packets(rest))


def libnftables() -> Any:
    """A context of libnftables. Raises NftError where it is not installed."""
    try:
        return importlib.import_module("nftables").Nftables()
    except (ImportError, OSError) as error:
        raise NftError(
            f"libnftables cannot be used: {error}", hint="install Debian's package libnftables1 (1.0.6 or newer)"
        ) from error


def _first_error(error: str) -> str:
    """nft's message and the line it is about, without the long tail of follow-up errors."""
    return "\n".join(error.strip().splitlines()[:3]) or "no reason given"


def _explain(table: Table, parts: list[wire.Part], position: int, failure: nl.Failure) -> NftError:
    if position == 0 or position > len(parts):
        return NftError(f"nftables refused the whole batch for {table.spec}: {failure}")
    part = parts[position - 1]
    verb = "add to" if part.adding else "delete from"
    key = wire.blamed(part, table, failure.offset)
    what = elements.key_text(part.change.set, key) if key is not None else f"one of {len(part.keys)} elements"
    return NftError(f"nftables: cannot {verb} {table.spec} {part.change.set.name} {{ {what} }}: {failure}")

"""Follows a real packet with nftables' own trace.

A table of our own marks the first packet of one flow for tracing. It has the owner flag: it belongs to a netlink
socket of this process and goes with it, however the process ends.

    prerouting, output     after conntrack, before NAT     first packet of the flow → meta nftrace set 1
    input, postrouting     after NAT                       no rules: their policy's message shows the packet at its end
"""

import os
import time
from types import TracebackType
from typing import Self

from netplane.kernel import netns
from netplane.kernel.netlink import NETLINK_NETFILTER, NetlinkSocket
from netplane.kernel.nft import NftError, libnftables
from netplane.nft import events
from netplane.nft.events import Event

PREFIX = "netplane-trace-"
_NFNLGRP_NFTRACE = 9
# After conntrack (-200), which knows first packets, and before destination NAT (-100); and after source NAT (100).
_EARLY, _LATE = -190, 350


class Follower:
    """Marks packets that `match` (nft text, such as `ip saddr 10.0.0.1 tcp dport 80`) matches, until the context ends.

    Raises:
        NftError: when nftables refuses the table, or cannot be used here.
    """

    def __init__(self, match: str, netns_fd: int | None = None) -> None:
        self.table = f"{PREFIX}{os.getpid()}"
        self._events = NetlinkSocket(NETLINK_NETFILTER, netns_fd=netns_fd, groups=[_NFNLGRP_NFTRACE])
        try:
            with netns.entered(netns_fd):
                self._library = libnftables()
                self._run(self._script(match))
        except BaseException:
            self._events.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._run(f"delete table inet {self.table}")
        finally:
            self._events.close()
            del self._library

    def _script(self, match: str) -> str:
        lines = [f"add table inet {self.table} {{ flags owner; }}"]
        for hook, priority in (("prerouting", _EARLY), ("output", _EARLY), ("input", _LATE), ("postrouting", _LATE)):
            base = f"type filter hook {hook} priority {priority}; policy accept;"
            lines.append(f"add chain inet {self.table} {hook} {{ {base} }}")
        mark = f"ct state new {match} meta nftrace set 1"
        lines += [f"add rule inet {self.table} {hook} {mark}" for hook in ("prerouting", "output")]
        return "\n".join(lines)

    def _run(self, text: str) -> str:
        code, output, error = self._library.cmd(text)
        if code != 0:
            raise NftError(f"nft: {error.strip()}")
        return str(output)

    def rules(self) -> dict[tuple[str, str, int], str]:
        """The text of every rule in this namespace: (family and table, chain, handle) → rule."""
        self._library.set_handle_output(True)
        self._library.set_stateless_output(True)
        self._library.set_terse_output(True)
        return events.rules_by_handle(self._run("list ruleset"))

    def follow(self, wait_s: float, quiet_s: float = 0.2) -> list[Event]:
        """What was decided about the packet that comes next; empty when none comes within `wait_s`.

        A packet's messages come at once; when none has come for `quiet_s`, that was all.
        """
        found: list[Event] = []
        deadline = time.monotonic() + wait_s
        while (left_s := deadline - time.monotonic()) > 0:
            self._events.sock.settimeout(left_s)
            try:
                messages = list(self._events.receive())
            except TimeoutError:
                break
            found += [event for message in messages if (event := events.decode(message)) is not None]
            if found:
                deadline = min(deadline, time.monotonic() + quiet_s) if len(found) > 1 else time.monotonic() + quiet_s
        return found

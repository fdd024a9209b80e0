"""nftables' own trace messages (`meta nftrace set 1`), from bytes: one for each rule, return or policy that decided.

    nfgenmsg . TABLE . CHAIN . [RULE_HANDLE] . TYPE . VERDICT{ CODE . [CHAIN] } | POLICY . ID . NFPROTO . [headers]

A hook's first message carries the packet's headers as they are at that hook, so later hooks show what NAT did.
Source: linux/netfilter/nf_tables.h (NFTA_TRACE_*), net/netfilter/nf_tables_trace.c.
"""

import re
import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

from netplane.net import netlink as nl
from netplane.nft.types import IPV4

TRACE = 10 << 8 | 17
_TABLE, _CHAIN, _HANDLE, _TYPE, _VERDICT, _NETWORK, _TRANSPORT, _POLICY = 1, 2, 3, 4, 5, 8, 9, 16
_TYPES: dict[int, Literal["policy", "return", "rule"]] = {1: "policy", 2: "return", 3: "rule"}
_CODES = {0: "drop", 1: "accept", -1: "continue", -3: "jump", -4: "goto", -5: "return"}
_FAMILIES = {1: "inet", 2: "ip", 7: "bridge", 10: "ip6"}
_HANDLED = re.compile(r"^(.*?) # handle (\d+)$")


class Headers(NamedTuple):
    """Where a packet comes from and goes to, at one hook. Addresses packed; `dport` 0 when it was not seen."""

    saddr: bytes
    daddr: bytes
    dport: int


class Event(NamedTuple):
    """One decision about the traced packet. `handle` is 0 but for rules."""

    family: str
    table: str
    chain: str
    kind: Literal["policy", "return", "rule"]
    verdict: str
    handle: int
    headers: Headers | None


def decode(message: nl.Message) -> Event | None:
    """A trace message; None for any other."""
    if message.type != TRACE:
        return None
    attrs = nl.attr_map(message.payload, 4)
    return Event(
        _FAMILIES.get(message.payload[0], "?"),
        nl.string(attrs[_TABLE]),
        nl.string(attrs[_CHAIN]),
        _TYPES[nl.be32(attrs[_TYPE])],
        _verdict(attrs),
        int.from_bytes(attrs.get(_HANDLE, b""), "big"),
        _headers(attrs),
    )


def _verdict(attrs: dict[int, bytes]) -> str:
    if _VERDICT not in attrs:
        return _CODES.get(nl.be32(attrs[_POLICY]), "?") if _POLICY in attrs else ""
    said = nl.attr_map(attrs[_VERDICT])
    (code,) = struct.unpack("!i", said[1])
    word = _CODES.get(code, str(code))
    return f"{word} {nl.string(said[2])}" if 2 in said else word


def _headers(attrs: dict[int, bytes]) -> Headers | None:
    network, transport = attrs.get(_NETWORK, b""), attrs.get(_TRANSPORT, b"")
    if len(network) < 20:
        return None
    dport = int.from_bytes(transport[2:4], "big")
    if network[0] >> 4 == IPV4.version:
        return Headers(network[12:16], network[16:20], dport)
    return Headers(network[8:24], network[24:40], dport) if len(network) >= 40 else None


def rules_by_handle(listing: str) -> dict[tuple[str, str, int], str]:
    """(family and table, chain, handle) → rule, of a listing with handles (`nft -a list ruleset`)."""
    return {(table, chain, handle): rule for table, chain, handle, rule in _handled(listing)}


def _handled(listing: str) -> Iterator[tuple[str, str, int, str]]:
    table = chain = ""
    for line in listing.splitlines():
        match = _HANDLED.match(line.strip())
        text = match[1] if match else line.strip()
        words = text.split()
        if text.startswith("table ") and text.endswith("{"):
            table = " ".join(words[1:3])
        elif text.startswith("chain ") and text.endswith("{"):
            chain = words[1]
        elif text == "}":
            chain = ""
        elif match and chain:
            yield table, chain, int(match[2]), text

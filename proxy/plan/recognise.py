"""The options that a loaded table was made with, read off its listing: for tracing what is in the kernel.

The rules are few and fixed, so they are recognised, not parsed: with the right options the skeleton is the listing.
"""

import re

from netplane.nft.objects import Table
from netplane.nft.types import Family
from proxy.plan.compare import blocks
from proxy.plan.model import DetectLocal, Options
from proxy.plan.skeleton import missing_balancers, skeleton, with_balancers

_MARK = re.compile(r"meta mark & (0x[0-9a-f]{8}) != 0x0+ ")
_NETWORK = re.compile(r"^ip6? saddr ([0-9a-f.:]+(?:/\d+)?) ip")
_IIF = re.compile(r'^iifname "([^"*]+)(\*?)" ')


def options(listing: str) -> Options:
    """The options of a table by its listing; what cannot be recognised is as by default."""
    found = blocks(listing)
    marks = (_MARK.match(line) for line in found.get("chain postrouting", []))
    bit = next((int(match[1], 16) for match in marks if match), Options().masquerade_bit)
    everything = any(line.startswith(("ip daddr @", "ip6 daddr @")) for line in found.get("chain prerouting", []))
    mode, name = _detector(found.get("chain ext-local", []))
    return Options(masquerade_bit=bit, masquerade_all=everything, detect_local=mode, local=name)


def _detector(lines: list[str]) -> tuple[DetectLocal, str]:
    first = lines[0] if lines else ""
    if "saddr @pod-cidrs" in first:
        return "ClusterCIDR", ""
    network = _NETWORK.match(first)
    if network is not None:
        return "ClusterCIDR", network[1]
    match = _IIF.match(first)
    if match is None:
        return "", ""
    mode: DetectLocal = "InterfaceNamePrefix" if match[2] else "BridgeInterface"
    return mode, match[1]


def table(family: Family, listing: str, verdicts: set[str]) -> Table:
    """The table that a listing shows, as values; `verdicts` are those that its maps hold."""
    return with_balancers(skeleton(family, options(listing)), missing_balancers(verdicts))

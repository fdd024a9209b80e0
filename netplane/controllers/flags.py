"""Flags from text to values; each mistake is one error that names the flag."""

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path

from netplane.controllers.plan.balancers import Span
from netplane.controllers.plan.election import Timing
from netplane.controllers.plan.ranges import Network, Pool
from netplane.errors import UsageError, reason

DEFAULT_MASK = {4: 24, 6: 64}
# How many parts one range may have: bounds what a single look for a free one can cost.
MAX_PARTS_BITS = 16


def parse_pools(cluster_cidr: str, sizes: dict[int, int | None]) -> tuple[Pool, ...]:
    """--cluster-cidr with the mask sizes per IP version → pools, at most one per family."""
    pools = tuple(_pool(text.strip(), sizes) for text in cluster_cidr.split(",") if text.strip())
    if len({pool.network.version for pool in pools}) != len(pools):
        raise UsageError(f"--cluster-cidr {cluster_cidr}: two ranges of one family", hint="give one IPv4, one IPv6")
    return pools


def _pool(text: str, sizes: dict[int, int | None]) -> Pool:
    try:
        network: Network = ipaddress.ip_network(text)
    except ValueError as error:
        raise UsageError(f"--cluster-cidr: {error}", hint="give a network such as 10.244.0.0/16") from error
    size = sizes[network.version] or DEFAULT_MASK[network.version]
    longest = min(network.prefixlen + MAX_PARTS_BITS, network.max_prefixlen)
    if not network.prefixlen <= size <= longest:
        raise UsageError(
            f"--node-cidr-mask-size {size} does not divide --cluster-cidr {network}",
            hint=f"give a prefix length from {network.prefixlen} to {longest}",
        )
    return Pool(network, size)


def parse_addresses(text: str) -> tuple[Span, ...]:
    """--load-balancer-pool: networks, ranges (first-last) and single addresses, of both families, none twice."""
    spans = tuple(_span(part.strip()) for part in text.split(",") if part.strip())
    for i, one in enumerate(spans):
        for other in spans[:i]:
            if one.first in other or other.first in one:
                told = f"{other.first}-{other.last} and {one.first}-{one.last}"
                raise UsageError(f"--load-balancer-pool: {told} overlap", hint="name each address once")
    return spans


def _span(text: str) -> Span:
    """All addresses of a network count, its first and last too: they are announced one by one."""
    try:
        if "/" in text:
            network = ipaddress.ip_network(text)
            return Span(network.network_address, network.broadcast_address)
        low, _, high = text.partition("-")
        first, last = ipaddress.ip_address(low.strip()), ipaddress.ip_address((high or low).strip())
    except ValueError as error:
        hint = "give networks (192.0.2.0/28), ranges (192.0.2.10-192.0.2.20) or addresses"
        raise UsageError(f"--load-balancer-pool: {text!r}: {error}", hint=hint) from error
    if first.version != last.version or int(first) > int(last):
        raise UsageError(f"--load-balancer-pool: {text!r} is no range", hint="give first-last, of one family")
    return Span(first, last)


def parse_duration(flag: str, text: str) -> float:
    """A duration as Go writes it (`40s`, `1m30s`, `500ms`), or plain seconds."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s|)", text)
    seconds = sum(float(number) * units[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or seconds <= 0:
        raise UsageError(f"{flag} is {text!r}", hint="give a duration such as 40s or 1m30s")
    return seconds


def parse_timing(lease: str, renew: str, retry: str) -> Timing:
    """The three durations of leader election, which must keep two leaders apart."""
    timing = Timing(
        parse_duration("--leader-elect-lease-duration", lease),
        parse_duration("--leader-elect-renew-deadline", renew),
        parse_duration("--leader-elect-retry-period", retry),
    )
    if timing.problem():
        raise UsageError(f"--leader-elect-*: {timing.problem()}", hint="the defaults are 15s, 10s and 2s")
    return timing


def parse_controllers(text: str, known: Iterable[str]) -> frozenset[str]:
    """--controllers: `*` for all, a name for one more, `-name` for one less."""
    wanted: set[str] = set()
    for word in (part.strip() for part in text.split(",")):
        name = word.removeprefix("-")
        if name != "*" and name not in known:
            raise UsageError(f"--controllers: there is no {name!r}", hint=f"known are: {', '.join(known)}")
        some = set(known) if name == "*" else {name}
        wanted = wanted - some if word.startswith("-") else wanted | some
    if not wanted:
        raise UsageError(f"--controllers {text}: none is left", hint="start with *, as in '*,-scheduler'")
    return frozenset(wanted)


def read_root_ca(path: str) -> str:
    """--root-ca-file: PEM certificates, as text."""
    try:
        text = Path(path).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--root-ca-file {path}: {reason(error)}", hint="give a readable file of PEM certificates"
        ) from error
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise UsageError(f"--root-ca-file: {path} has no certificate in it", hint="give a file of PEM certificates")
    return text

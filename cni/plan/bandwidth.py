"""How fast a pod may receive and send: a token bucket for each direction, both on the node, out of the pod's reach.

    ingress   to the pod     the bucket is the queue of the node's end
    egress    from the pod   what comes in by the node's end is led through an ifb device whose queue is the bucket

The keys and their limits are those of the reference plugin `bandwidth`: rates in bits per second, bursts in bits.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from cni.errors import invalid
from cni.plan.lease import Key
from netplane.net import names
from netplane.rtnl import (
    CLASSIFIERS,
    Change,
    Classifier,
    Ifb,
    Ingress,
    Link,
    Redirect,
    Request,
    TokenBucket,
    add,
)

# How long a packet may wait (the reference plugin's 25 ms): longer ones are dropped, so that senders notice.
LATENCY_MS = 25
_BURST_MAX_BITS = 8 * ((1 << 32) - 1)
_USUAL_MTU_BYTES = 1500
_FRAME_HEADER_BYTES = 18  # Ethernet with one VLAN tag
MARK = "bandwidth"


class Limit(msgspec.Struct, frozen=True):
    """One direction: bits per second, bits at once."""

    rate: int
    burst: int


class Bandwidth(msgspec.Struct, frozen=True):
    """Both directions as the pod sees them; None is no limit."""

    ingress: Limit | None = None
    egress: Limit | None = None

    def __bool__(self) -> bool:
        return self != Bandwidth()


class _Keys(msgspec.Struct, frozen=True, rename="camel"):
    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


def parse(static: Mapping[str, Any], runtime: Any) -> Bandwidth:
    """The capability `bandwidth` where it is given, else the configuration's own keys.

    Raises:
        CniError: INVALID_CONFIG naming the key.
    """
    given = runtime is not None and runtime != {}
    field = "runtimeConfig.bandwidth." if given else ""
    try:
        keys = msgspec.convert(runtime, _Keys) if given else _Keys(**static)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$")
        raise invalid(field.rstrip(".") + where.rstrip("`") or MARK, problem) from error
    ingress = _limit(f"{field}ingress", keys.ingress_rate, keys.ingress_burst)
    return Bandwidth(ingress, _limit(f"{field}egress", keys.egress_rate, keys.egress_burst))


def _limit(field: str, rate: int, burst: int) -> Limit | None:
    if rate == burst == 0:
        return None
    if rate < 8:
        raise invalid(f"{field}Rate", f"{rate} is less than 8 bits per second")
    if not 0 < burst <= _BURST_MAX_BITS:
        raise invalid(f"{field}Burst", f"{burst} is not between 1 and {_BURST_MAX_BITS} bits", "a rate needs a burst")
    return Limit(rate, burst)


def bucket(dev: str, limit: Limit, mtu_bytes: int) -> TokenBucket:
    """The queue. A burst holds at least one whole frame, or no frame of that size would ever pass; one of Ethernet's
    usual size in any case, since a pod's MTU may grow.
    """
    rate, burst = limit.rate // 8, max(limit.burst // 8, max(mtu_bytes, _USUAL_MTU_BYTES) + _FRAME_HEADER_BYTES)
    return TokenBucket(dev, rate, burst, min(rate * LATENCY_MS // 1000 + burst, (1 << 32) - 1))


def device(key: Key) -> str:
    """The ifb device of an attachment."""
    return names.fitted("ifb", *key)


def requests(
    key: Key, link: str, mtu_bytes: int, wanted: Bandwidth, owner: str, classifier: Classifier = CLASSIFIERS[0]
) -> list[Request]:
    """Everything that limits one pod.

    Args:
        key: whose it is.
        link: the node's end of the pod's pair.
        mtu_bytes: of both ends.
        wanted: the limits.
        owner: mark of the lease store.
        classifier: how the kernel is told that all packets are meant.
    """
    found: list[Request] = []
    if wanted.ingress is not None:
        found.append(add(bucket(link, wanted.ingress, mtu_bytes)))
    if wanted.egress is not None:
        ifb = device(key)
        found += [
            add(Link(ifb, Ifb(), mtu=mtu_bytes, up=True)),
            Change(ifb, alias=alias(key, link, owner)),
            add(bucket(ifb, wanted.egress, mtu_bytes)),
            add(Ingress(link)),
            add(Redirect(link, ifb, classifier)),
        ]
    return found


def alias(key: Key, link: str, owner: str) -> str:
    """The mark on the ifb device: whose it is, and of which link. A container's ID may be long: cut to what fits."""
    return f"{owner}/{MARK} {link} {key.ifname} {key.network} {key.container}"[:255]


def read_alias(text: str, owner: str) -> tuple[str, Key] | None:
    """(link, attachment) of an ifb device of `owner`; None when it is none. The container may be cut short."""
    words = text.split(" ")
    if len(words) < 3 or words[0] != f"{owner}/{MARK}":
        return None
    ifname, network, container = (*words[2:], "", "")[:3]
    return words[1], Key(network, container, ifname)


def differences(dev: str, wanted: Limit | None, found: TokenBucket | None, mtu_bytes: int) -> str:
    """What CHECK says of one direction; "" when it is as it should be."""
    rate = bucket(dev, wanted, mtu_bytes).rate if wanted is not None else None
    if rate == (found.rate if found is not None else None):
        return ""
    has = f"{found.rate * 8} bit/s" if found is not None else "no limit"
    return f"{dev} has {has}, not {rate * 8 if rate is not None else 'none'}"

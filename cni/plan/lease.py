"""The lease: which addresses one attachment of a container has."""

from typing import Literal, NamedTuple

import msgspec

from netplane.rtnl import IP


class Key(NamedTuple):
    """What identifies an attachment (CNI specification, section 2)."""

    network: str
    container: str
    ifname: str


class Lease(msgspec.Struct, frozen=True):
    """One attachment's addresses.

    Args:
        key: network, container, interface.
        state: reserved until a runtime may be told.
        link: name of its link on the node.
        addresses: one per range set.
        netns: path of the pod's namespace as the runtime named it.
        pod: `namespace/name`, "" when the runtime did not say.
        since_s: Unix time of the reservation.
        guard: the only MAC address the pod may send from; "" for any.
        delegated: another IPAM plugin gave the addresses.
    """

    key: Key
    state: Literal["reserved", "active"]
    link: str
    addresses: tuple[IP, ...] = ()
    netns: str = ""
    pod: str = ""
    since_s: float = 0.0
    guard: str = ""
    delegated: bool = False

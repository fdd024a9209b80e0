"""Changes as values: add, replace, delete, change. `str()` of one reads like the `ip` or `bridge` command.

Undoing is inverting: what was added is deleted, what was deleted is added, what was changed is changed back. An
addition never overwrites (NLM_F_EXCL), so its inverse removes only what the addition made.
"""

from typing import Literal

import msgspec

from netplane.rtnl.shaping import Ingress, Redirect, TokenBucket
from netplane.rtnl.values import Address, BridgePort, FdbEntry, Link, Neighbour, PortVlan, Route, Value

_COMMAND = {
    Link: "ip link",
    Address: "ip address",
    Route: "ip route",
    Neighbour: "ip neighbour",
    FdbEntry: "bridge fdb",
    PortVlan: "bridge vlan",
    TokenBucket: "tc qdisc",
    Ingress: "tc qdisc",
    Redirect: "tc filter",
}


class Add(msgspec.Struct, frozen=True):
    """Make `value`. With `replace` an existing one of the same key takes its place; with `append` a route comes after
    those to the same destination by other ways; else that is an error (EEXIST).
    """

    value: Value
    replace: bool = False
    append: bool = False

    def __str__(self) -> str:
        verb = "replace" if self.replace else "append" if self.append else "add"
        return f"{_COMMAND[type(self.value)]} {verb} {self.value}"


class Delete(msgspec.Struct, frozen=True):
    """Remove `value`. With `missing_ok` it is no error when it is not there."""

    value: Value
    missing_ok: bool = False

    def __str__(self) -> str:
        what = self.value.name if isinstance(self.value, Link) else str(self.value)
        return f"{_COMMAND[type(self.value)]} delete {what}"


class DeleteGroup(msgspec.Struct, frozen=True):
    """Remove all links of a group at once: the kernel then waits for its readers once, not once per link."""

    group: int

    def __str__(self) -> str:
        return f"ip link delete group {self.group}"


class Change(msgspec.Struct, frozen=True):
    """Change a link. None leaves a property as it is; `master` "" takes the link out of its bridge.

    `netns` (a descriptor) moves the link to another namespace; `vlan_filtering` is a bridge's.
    """

    name: str
    up: bool | None = None
    rename: str | None = None
    mac: str | None = None
    mtu: int | None = None
    master: str | None = None
    port: BridgePort | None = None
    group: int | None = None
    alias: str | None = None
    promisc: bool | None = None
    netns: int | None = None
    vlan_filtering: bool | None = None

    def __str__(self) -> str:
        pairs = {"name": self.rename, "address": self.mac, "mtu": self.mtu, "group": self.group, "alias": self.alias}
        words = [f"{key} {value}" for key, value in pairs.items() if value is not None]
        if self.master is not None:
            words.append(f"master {self.master}" if self.master else "nomaster")
        if self.netns is not None:
            words.append(f"netns /proc/self/fd/{self.netns}")
        if self.promisc is not None:
            words.append("promisc on" if self.promisc else "promisc off")
        if self.up is not None:
            words.append("up" if self.up else "down")
        if self.port is not None:
            words.append(str(self.port))
        if self.vlan_filtering is not None:
            words.append(f"type bridge vlan_filtering {int(self.vlan_filtering)}")
        return " ".join(["ip link set", self.name, *words])


Request = Add | Delete | DeleteGroup | Change
Undoable = Literal["up", "mac", "mtu", "master", "group", "alias", "promisc"]


def add(value: Value) -> Add:
    """Make it; an error when it is there already."""
    return Add(value)


def append(route: Route) -> Add:
    """Make it, after the routes to the same destination that are there."""
    return Add(route, append=True)


def replace(value: Value) -> Add:
    """Make it, or make the one that is there like it. Links cannot be replaced; change them."""
    return Add(value, replace=True)


def delete(value: Value, *, missing_ok: bool = False) -> Delete:
    """Remove it."""
    return Delete(value, missing_ok)


def delete_link(name: str, *, missing_ok: bool = False) -> Delete:
    """Remove a link by its name."""
    return Delete(Link(name), missing_ok)


def inverse(request: Request, before: Link | None = None) -> Request | None:
    """The request that undoes `request`; None when there is none.

    A deleted link is gone with its addresses, and a replacement overwrote what nobody kept: both have no inverse.

    Args:
        request: what was done.
        before: the link as it was, to undo a `Change`.
    """
    match request:
        case Add(value, replace=False):
            return Delete(value, missing_ok=True)
        case Delete(Address() | Route() | Neighbour() | FdbEntry() as value):
            return Add(value)
        case Change() if before is not None and request.netns is None:
            return _change_back(request, before)
        case _:
            return None


def _change_back(request: Change, before: Link) -> Change:
    fields: tuple[Undoable, ...] = ("up", "mac", "mtu", "master", "group", "alias", "promisc")
    old = {field: getattr(before, field) for field in fields if getattr(request, field) is not None}
    if request.rename is None:
        return Change(before.name, port=before.port if request.port else None, **old)
    return Change(request.rename, rename=before.name, port=before.port if request.port else None, **old)

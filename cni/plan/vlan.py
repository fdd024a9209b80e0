"""Which VLANs a pod's port belongs to: the keys `vlan`, `vlanTrunk` and `preserveDefaultVlan` of the reference bridge.

    vlan 100                     pod's plain frames ⇄ VLAN 100
    vlanTrunk 200, 300-310       pod's frames tagged so ⇄ those VLANs; its plain ones VLAN 1, or what `vlan` says

A port is in the bridge's default VLAN when it is made; it leaves that one unless `preserveDefaultVlan` is on. The pod's
own end is still down then, so nothing gets through in between. A gateway of a network with `vlan` is an interface of
its own, BRIDGE.VLAN: a veth pair whose far end is a port of that VLAN.
"""

from collections.abc import Iterable, Sequence

import msgspec

from cni.errors import invalid
from netplane.rtnl import PortVlan, Request, add, delete

FIRST, LAST = 1, 4094  # IEEE 802.1Q: 0 and 4095 have other meanings
NATIVE = 1  # of a trunk that names none, as the reference bridge has it


class Trunk(msgspec.Struct, frozen=True):
    """One entry of `vlanTrunk`: one VLAN, a range, or both."""

    id: int | None = None
    minID: int | None = None  # noqa: N815 - the name on the wire
    maxID: int | None = None  # noqa: N815 - the name on the wire


class Vlans(msgspec.Struct, frozen=True):
    """What a port is in.

    Args:
        own: the VLAN of frames without a tag; 0: the bridge's default.
        trunk: (first, last) of the tagged ones, in order, none touching another.
        keep_default: the port stays in the bridge's default VLAN too.
    """

    own: int = 0
    trunk: tuple[tuple[int, int], ...] = ()
    keep_default: bool = False

    def __bool__(self) -> bool:
        return bool(self.own or self.trunk)


def parse(own: int, trunk: Sequence[Trunk] | None, *, keep_default: bool) -> Vlans:
    """Check the three keys.

    Raises:
        CniError: INVALID_CONFIG naming the key.
    """
    if own and not FIRST <= own <= LAST:
        raise invalid("vlan", f"{own} is not between {FIRST} and {LAST}")
    ranges = [pair for i, entry in enumerate(trunk or ()) for pair in _ranges(f"vlanTrunk[{i}]", entry)]
    return Vlans(own, tuple(_merged(ranges)), keep_default)


def _ranges(field: str, entry: Trunk) -> list[tuple[int, int]]:
    for key in ("id", "minID", "maxID"):
        value = getattr(entry, key)
        if value is not None and not FIRST <= value <= LAST:
            raise invalid(f"{field}.{key}", f"{value} is not between {FIRST} and {LAST}")
    found = [] if entry.id is None else [(entry.id, entry.id)]
    if entry.minID is None and entry.maxID is None:
        return found
    if entry.minID is None or entry.maxID is None:
        missing = "minID" if entry.minID is None else "maxID"
        raise invalid(f"{field}.{missing}", "is missing", "give both minID and maxID")
    if entry.minID > entry.maxID:
        raise invalid(f"{field}.minID", f"{entry.minID} is greater than maxID {entry.maxID}")
    return [*found, (entry.minID, entry.maxID)]


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found


def requests(dev: str, vlans: Vlans) -> list[Request]:
    """What makes `dev`, a port that was just added to its bridge, belong to `vlans`."""
    if not vlans:
        return []
    leave: list[Request] = [] if vlans.keep_default else [delete(PortVlan(dev, FIRST, LAST))]
    return [*leave, *(add(one) for one in wanted(dev, vlans))]


def wanted(dev: str, vlans: Vlans) -> list[PortVlan]:
    """The port's VLANs: its own last, or a trunk that holds it too would make it tagged."""
    own = vlans.own or (NATIVE if vlans.trunk else 0)
    tagged = [PortVlan(dev, first, last if last > first else 0) for first, last in vlans.trunk]
    return [*tagged, *([PortVlan(dev, own, pvid=True, untagged=True)] if own else [])]


def missing(dev: str, vlans: Vlans, found: Iterable[PortVlan]) -> list[int]:
    """CHECK: VLANs that the port should be in, and the one that should be its own, that are not so."""
    have = list(found)
    members = {vid for one in have for vid in _vids(one)}
    own = {one.first for one in have if one.pvid}
    want = wanted(dev, vlans)
    lost = {vid for one in want for vid in _vids(one)} - members
    return sorted(lost | {one.first for one in want if one.pvid} - own)


def _vids(one: PortVlan) -> range:
    return range(one.first, max(one.first, one.last) + 1)

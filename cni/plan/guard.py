"""`macspoofchk`: frames that a pod sends with a MAC address other than its own are dropped at the bridge.

One static table; a pod is an element of each of its two sets, which carry the mark of the lease store they belong to:

    from a port of @guarded, and not (port . source MAC) in @owners   ─▶ drop
"""

import re
from collections.abc import Iterable

import msgspec

TABLE = "bridge netplane-cni"
SETS = ("guarded", "owners")


class Guard(msgspec.Struct, frozen=True):
    """A port and the only MAC address it may send from."""

    link: str
    mac: str


def table() -> str:
    """Text that makes the table, or makes an existing one like it; sets keep their elements."""
    return "".join(
        f"{line}\n"
        for line in (
            f"add table {TABLE}",
            f"add set {TABLE} guarded {{ type ifname; }}",
            f"add set {TABLE} owners {{ type ifname . ether_addr; }}",
            f"add chain {TABLE} senders {{ type filter hook prerouting priority -300; }}",
            f"flush chain {TABLE} senders",
            f"add rule {TABLE} senders iifname @guarded iifname . ether saddr != @owners drop",
        )
    )


def _elements(guards: Iterable[Guard], owner: str) -> Iterable[tuple[str, str]]:
    for guard in guards:
        # First the owner: a port that is guarded and has none would be cut off.
        yield "owners", f'"{guard.link}" . {guard.mac} comment "{owner}"'
        yield "guarded", f'"{guard.link}" comment "{owner}"'


def add(guards: Iterable[Guard], owner: str) -> str:
    """Text that makes the elements; one that is there already is left alone."""
    return "".join(f"add element {TABLE} {name} {{ {element} }}\n" for name, element in _elements(guards, owner))


def remove(guards: Iterable[Guard], owner: str) -> str:
    """Text that removes the elements, whether they are there or not."""
    found = list(_elements(guards, owner))
    return "".join(f"{verb} element {TABLE} {n} {{ {e} }}\n" for verb in ("add", "delete") for n, e in found)


def question(guard: Guard) -> str:
    """Text that fails when the pod may not send, or when it may send what it likes."""
    elements = (element.partition(" comment ")[0] for element in (e for _, e in _elements([guard], "")))
    return "".join(f"get element {TABLE} {n} {{ {e} }}\n" for n, e in zip(("owners", "guarded"), elements, strict=True))


def unlisted(name: str, listing: str, owner: str) -> str:
    """Text that removes the elements of one set that carry the mark, as `nft list` shows them."""
    keys = re.findall(rf'("[^"]+"(?: \. [0-9a-f:]+)?) comment "{re.escape(owner)}"', listing)
    return "".join(f"delete element {TABLE} {name} {{ {key} }}\n" for key in keys)


def lost(guards: Iterable[Guard], owners: str, guarded: str) -> list[Guard]:
    """Those that one of the two sets, as `nft list set` shows them, does not have."""
    pairs = set(re.findall(r'"([^"]+)" \. ([0-9a-f:]+)', owners))
    links = set(re.findall(r'"([^"]+)"', guarded))  # and marks, which are no links' names
    return [guard for guard in guards if (guard.link, guard.mac) not in pairs or guard.link not in links]


def listed(listing: str, owner: str) -> list[Guard]:
    """The guards of a store, as `nft list set` shows @owners."""
    found = re.findall(rf'"([^"]+)" \. ([0-9a-f:]+) comment "{re.escape(owner)}"', listing)
    return [Guard(*words) for words in found]

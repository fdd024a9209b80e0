"""Two contents of one table, compared by what they mean: which services answer where, with which endpoints.

Indices and handles are left aside: an endpoint is there when the verdict's random number can reach it, in whatever
order. `have` is what the kernel holds, `want` what it should hold.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from netplane.net.addresses import with_port
from netplane.nft import types
from netplane.nft.elements import Elements, element_text
from netplane.nft.objects import Map, Table
from netplane.nft.types import Family
from proxy.plan.model import ROW_SHARDS, STICKY, STICKY_SHORT, endpoint_types, frontend_types
from proxy.plan.skeleton import is_balancer

Contents = Mapping[str, Elements]

# Verdict map, what leads to it, and the maps of rows that its balancers choose from.
_VERDICTS = (
    ("services", ""),
    ("fw-services", "after the source ranges"),
    ("ext-services", "from outside"),
    ("sc-services", "from pods and the node"),
)
_ROWS = {"services": "", "ext-services": "", "sc-services": "sc-"}


class Difference(NamedTuple):
    """One thing that differs. `have` and `want` are "" where it is not there at all."""

    what: str
    about: str
    have: str
    want: str


def contents(table: Table, have: Contents, want: Contents, owner: Callable[[bytes], str]) -> Iterator[Difference]:
    """Differences of two contents; `owner` names the service of a frontend."""
    keys = {key for name, _ in _VERDICTS for key in (*have.get(name, {}), *want.get(name, {}))}
    for key in sorted(keys):
        service = owner(key)
        text = _frontend_text(table.family, key)
        yield from _frontend(table.family, f"{service}  {text}" if service else text, key, have, want)
    for item in table.sets:
        if not isinstance(item, Map) and not item.dynamic:
            mine, wanted = have.get(item.name, {}), want.get(item.name, {})
            for element in sorted(mine.keys() ^ wanted.keys()):
                said = element_text(item, element, None)
                yield Difference(f"set {item.name}", "", *((said, "") if element in mine else ("", said)))


def _frontend(family: Family, what: str, key: bytes, have: Contents, want: Contents) -> Iterator[Difference]:
    for name, about in _VERDICTS:
        old, new = (str(side.get(name, {}).get(key, "")) for side in (have, want))
        if _kind(old) != _kind(new):
            yield Difference(what, about, _kind(old), _kind(new))
        if name in _ROWS:
            mine, wanted = (_endpoints(family, side, name, key) for side in (have, want))
            for endpoint in sorted(mine ^ wanted):
                yield Difference(
                    what, f"endpoint {about}".strip(), *((endpoint, "") if endpoint in mine else ("", endpoint))
                )


def _frontend_text(family: Family, key: bytes) -> str:
    """`10.96.0.10:80/tcp`."""
    kinds = frontend_types(family)
    address, protocol, port = (kind.text(slot) for kind, slot in zip(kinds, types.split(kinds, key), strict=True))
    return f"{with_port(address, int(port))}/{protocol}"


def _kind(verdict: str) -> str:
    """A verdict as one would say it: how many endpoints a balancer has is seen at its endpoints."""
    chain = verdict.removeprefix("goto ")
    if not is_balancer(chain):
        return verdict
    kind, _, *more = chain.split("_")
    return f"balanced, clients stick for {more[0]} s" if kind in (STICKY, STICKY_SHORT) else "balanced"


def _endpoints(family: Family, side: Contents, name: str, key: bytes) -> set[str]:
    """What the balancer that a verdict leads to can choose."""
    chain = str(side.get(name, {}).get(key, "")).removeprefix("goto ")
    if not is_balancer(chain):
        return set()
    prefix, (kind, count, *more) = _ROWS[name], chain.split("_")
    slots = (types.INTEGER.pack(index) for index in range(int(count)))
    if kind in (STICKY, STICKY_SHORT):
        ids, ends = side.get(f"{prefix}sticky-ids", {}), side.get(f"{prefix}sticky-endpoints", {})
        rows = [ends.get(key + handle) for slot in slots if isinstance(handle := ids.get(key + slot), bytes)]
    else:
        owner = "sc-endpoints" if prefix else ROW_SHARDS[int(more[0]) if more else 0]
        rows = [side.get(owner, {}).get(key + slot) for slot in slots]
    return {_endpoint(family, row) for row in rows if isinstance(row, bytes)}


def _endpoint(family: Family, row: bytes) -> str:
    address, port = (
        kind.text(slot)
        for kind, slot in zip(endpoint_types(family), types.split(endpoint_types(family), row), strict=True)
    )
    return with_port(address, int(port))


def rules(listed: str, wanted: str) -> Iterator[Difference]:
    """Chains and declarations that differ, line by line; balancers of sizes that nobody has now do not count."""
    have, want = blocks(listed), blocks(wanted)
    for name in [*want, *(name for name in have if name not in want)]:
        if name not in want and is_balancer(name.removeprefix("chain ")):
            continue
        for line in difflib.ndiff(have.get(name, []), want.get(name, [])):
            if line[:2] in ("- ", "+ "):
                yield Difference(name, "", *((line[2:], "") if line[0] == "-" else ("", line[2:])))


def blocks(text: str) -> dict[str, list[str]]:
    """`chain dispatch` → its lines, without indentation."""
    found: dict[str, list[str]] = {}
    for block in text.split("\n\n"):
        lines = [line.strip() for line in block.splitlines() if line.strip() not in ("", "}")]
        lines = [line for line in lines if not line.startswith(("table ", "comment "))]
        if lines:
            found[lines[0].removesuffix(" {")] = lines[1:]
    return found

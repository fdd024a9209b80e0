"""Endpoints into slices, so that as few slices as possible are written. Source: KEP-752.

Readers pay for every slice that is written, on every node. So, for one address family and one set of ports:

1. Endpoints stay in the slice they are in. A slice is written only if one of its endpoints changed or left.
2. New endpoints go first into slices that are written anyway, fullest first.
3. What remains fills new slices; the last, partial lot goes into the fullest untouched slice with room for all of it.

Hints are not looked at here: they are dealt out afterwards, and what has not changed keeps those it has.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from netplane.api.objects import Endpoint, EndpointPort, EndpointSlice
from netplane.controllers.plan.hints import hinted

MAX_ENDPOINTS = 100

Ports = tuple[EndpointPort, ...]
EndpointKey = tuple[str, str, str]


class Draft(NamedTuple):
    """A slice under construction. `old` is None for a new one; `touched` when it will be written."""

    old: EndpointSlice | None
    endpoints: dict[EndpointKey, Endpoint]
    touched: bool


def pack(
    desired: Mapping[EndpointKey, Endpoint],
    existing: Sequence[EndpointSlice],
    labels: Mapping[str, str],
    limit: int = MAX_ENDPOINTS,
) -> list[Draft]:
    """Drafts that hold every desired endpoint once, at most `limit` each. Slices with other labels are touched."""
    missing = dict(desired)
    drafts = [_keep(one, missing, labels) for one in existing]
    for draft in sorted(drafts, key=lambda draft: -len(draft.endpoints)):
        if draft.touched and draft.endpoints:
            _move(missing, draft.endpoints, limit)
    while missing:
        target = _with_room(drafts, len(missing), limit)
        if target is None:
            drafts.append(Draft(None, {}, touched=True))
            target = len(drafts) - 1
        drafts[target] = drafts[target]._replace(touched=True)
        _move(missing, drafts[target].endpoints, limit)
    return drafts


def pack_all(
    desired: Mapping[Ports, Mapping[EndpointKey, Endpoint]],
    existing: Iterable[EndpointSlice],
    labels: Mapping[str, str],
    limit: int = MAX_ENDPOINTS,
) -> list[tuple[Ports, Draft]]:
    """`pack` for every set of ports that is desired, or that a slice has."""
    grouped: dict[Ports, list[EndpointSlice]] = {}
    for one in existing:
        grouped.setdefault(port_key(one.ports or ()), []).append(one)
    return [
        (ports, draft)
        for ports in [*desired, *(ports for ports in grouped if ports not in desired)]
        for draft in pack(desired.get(ports, {}), grouped.get(ports, []), labels, limit)
    ]


def _keep(one: EndpointSlice, missing: dict[EndpointKey, Endpoint], labels: Mapping[str, str]) -> Draft:
    """An existing slice without the endpoints that left, and with the present state of those that stay."""
    before = {endpoint_key(endpoint): endpoint for endpoint in one.endpoints or ()}
    after = {key: hinted(missing.pop(key), before[key].hints) for key in before if key in missing}
    touched = list(before.values()) != list(after.values()) or labels != (one.metadata.labels or {})
    return Draft(one, after, touched or len(before) != len(one.endpoints or ()))


def _with_room(drafts: Sequence[Draft], count: int, limit: int) -> int | None:
    """The fullest untouched slice that takes all of a partial lot."""
    if count >= limit:
        return None
    fitting = [
        (-len(draft.endpoints), i)
        for i, draft in enumerate(drafts)
        if not draft.touched and len(draft.endpoints) + count <= limit
    ]
    return min(fitting)[1] if fitting else None


def _move(source: dict[EndpointKey, Endpoint], target: dict[EndpointKey, Endpoint], limit: int) -> None:
    for key in list(source)[: max(limit - len(target), 0)]:
        target[key] = source.pop(key)


def port_key(ports: Iterable[EndpointPort]) -> Ports:
    """Ports in one order and with their defaults said, so that equal ones compare equal."""
    named = (
        EndpointPort(
            name=port.name or "", protocol=port.protocol or "TCP", port=port.port, app_protocol=port.app_protocol
        )
        for port in ports
    )
    return tuple(sorted(named, key=lambda port: (port.name, port.protocol, port.port or 0, port.app_protocol or "")))


def endpoint_key(one: Endpoint) -> EndpointKey:
    """What makes it the same endpoint: its address, the pod behind it, and its DNS name."""
    target = one.target_ref
    return (one.addresses[0] if one.addresses else "", target.uid or target.name if target else "", one.hostname or "")

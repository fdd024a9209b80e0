"""Services whose Local policy finds no endpoint on this node: their connections are dropped here."""

from collections import Counter
from collections.abc import Iterable

from netplane.nft.types import Family
from proxy.plan import slices
from proxy.plan.changes import Tracker
from proxy.plan.model import Endpoint


def without_local(tracker: Tracker, families: Iterable[Family]) -> Counter[tuple[str, str]]:
    """How many service ports have endpoints but none here, by (family, policy): `internal` or `external`."""
    found: Counter[tuple[str, str]] = Counter()
    kinds = tuple(families)
    for key, service in tracker.services.items():
        for view in service.views:
            if view.family not in kinds or not (view.internal_local or view.external_local):
                continue
            endpoints = slices.merge(tracker.slices(key), view.family)
            for port in view.ports:
                if not _far(endpoints.get((port.name, port.protocol), ())):
                    continue
                found[view.family.name, "internal"] += view.internal_local
                found[view.family.name, "external"] += view.external_local and view.externally_accessible(port)
    return found


def _far(endpoints: Iterable[Endpoint]) -> bool:
    usable = [endpoint for endpoint in endpoints if endpoint.ready or endpoint.draining]
    return bool(usable) and not any(endpoint.local for endpoint in usable)

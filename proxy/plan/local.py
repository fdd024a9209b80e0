"""Services whose Local policy finds no endpoint on this node: their connections are dropped here."""

from collections import Counter
from collections.abc import Callable, Iterable

from netplane.nft.types import Family
from proxy.plan.changes import Tracker
from proxy.plan.ledger import Ledger
from proxy.plan.model import NO_LOCAL, Frontend, ServiceView, frontend_key


def without_local(tracker: Tracker, ledgers: Iterable[Ledger]) -> Counter[tuple[str, str]]:
    """How many service ports have endpoints but none here, by (family, policy): `internal` or `external`.

    Read off what the tables hold: to merge the slices of every service at each scrape would keep changes waiting.
    """
    by_family: dict[Family, Ledger] = {ledger.table.family: ledger for ledger in ledgers}
    found: Counter[tuple[str, str]] = Counter()
    for service in tracker.services.values():
        for view in service.views:
            ledger = by_family.get(view.family)
            if ledger is not None and (view.internal_local or view.external_local):
                found[view.family.name, "internal"] += _ports(view, ledger, _drops_inside)
                found[view.family.name, "external"] += _ports(view, ledger, _drops_outside)
    return found


def _ports(view: ServiceView, ledger: Ledger, drops: Callable[[Frontend], bool]) -> int:
    """How many ports of a service have a frontend of this kind."""
    size = view.family.address.slot
    held = ((key[size:], ledger.frontend(key)) for key in ledger.frontends_of(view.key))
    endings = {ending for ending, frontend in held if frontend is not None and drops(frontend)}
    return sum(
        any(frontend_key(b"", port.protocol, number) in endings for number in (port.port, port.node_port))
        for port in view.ports
    )


def _drops_inside(frontend: Frontend) -> bool:
    return frontend.entry == NO_LOCAL


def _drops_outside(frontend: Frontend) -> bool:
    """Behind `ext-local`, with endpoints for pods and the node, and none for others."""
    return bool(frontend.short) and not frontend.external

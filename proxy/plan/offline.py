"""The whole plan at once: objects in, a family's table with all its elements out, ready to be printed or traced."""

from collections.abc import Iterable

from netplane.api.objects import EndpointSlice, Service
from netplane.nft.trace import Ruleset
from netplane.nft.types import Family
from proxy.plan import desired, slices
from proxy.plan.ledger import Ledger
from proxy.plan.model import Node, Options
from proxy.plan.skeleton import missing_balancers, skeleton, with_balancers


def plan(
    services: Iterable[Service],
    items: Iterable[EndpointSlice],
    family: Family,
    node: Node,
    options: Options,
    *,
    service_cidrs: Iterable[str] = (),
    pod_cidrs: Iterable[str] = (),
) -> tuple[Ledger, list[str]]:
    """A family's ledger for these objects, and what was skipped and why."""
    by_service: dict[str, list[EndpointSlice]] = {}
    for item in items:
        owner = slices.service_of(item)
        if owner is not None:
            by_service.setdefault(owner, []).append(item)
    problems: list[str] = []
    ledger = Ledger(skeleton(family, options))
    ledger.set_cidrs("service-cidrs", service_cidrs)
    ledger.set_cidrs("pod-cidrs", pod_cidrs)
    ledger.update(
        {
            service.key: desired.fragment(service, by_service.get(service.key, ()), family, node, options, problems)
            for service in services
        }
    )
    return ledger, problems


def ruleset(ledger: Ledger, node: Node) -> Ruleset:
    """A ledger as a ruleset that packets can be traced through."""
    contents = ledger.contents()
    table = with_balancers(ledger.table, missing_balancers(ledger.table, contents))
    return Ruleset(table, contents, node.addresses)

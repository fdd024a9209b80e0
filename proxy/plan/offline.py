"""The whole plan at once: objects in, a family's table with all its elements out, ready to be printed or traced."""

from collections.abc import Iterable

from netplane.api.objects import EndpointSlice, Service
from netplane.nft.trace import Ruleset
from netplane.nft.types import Family
from proxy.plan import desired, slices
from proxy.plan.ledger import Ledger
from proxy.plan.model import Node, Options
from proxy.plan.services import read
from proxy.plan.skeleton import missing_balancers, skeleton, with_balancers
from proxy.plan.slices import Slice


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
    services, items = tuple(services), tuple(items)
    by_service: dict[str, list[Slice]] = {}
    problems = _unfinished(services, items)
    for item in (slices.read(item, node.name) for item in items):
        if item is not None:
            by_service.setdefault(item.service, []).append(item)
            problems += item.problems
    ledger = Ledger(skeleton(family, options))
    ledger.set_cidrs("service-cidrs", service_cidrs)
    ledger.set_cidrs("pod-cidrs", pod_cidrs)
    fragments = {}
    for service in map(read, services):
        problems += service.problems
        mine = by_service.get(service.key, ())
        fragments[service.key] = desired.fragment(service, mine, family, node, options, problems)
    ledger.update(fragments)
    return ledger, problems


def _unfinished(services: Iterable[Service], items: Iterable[EndpointSlice]) -> list[str]:
    """What no apiserver would say so, but a file may: it would be passed over without a word."""
    return [
        *(
            f"service {service.key}: it has no clusterIP: the apiserver gives one (`None`: headless, not for a proxy)"
            for service in services
            if service.spec.type != "ExternalName" and not (service.spec.cluster_ips or service.spec.cluster_ip)
        ),
        *(
            f"endpoint slice {item.key}: addressType {item.address_type!r} is none of IPv4, IPv6, FQDN"
            for item in items
            if item.address_type not in ("IPv4", "IPv6", "FQDN")
        ),
    ]


def ruleset(ledger: Ledger, node: Node) -> Ruleset:
    """A ledger as a ruleset that packets can be traced through."""
    table = with_balancers(ledger.table, missing_balancers(ledger.verdicts()))
    return Ruleset(table, ledger.contents(), node.addresses)

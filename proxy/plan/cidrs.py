"""Ranges that objects of the cluster tell: what cannot be read is named and left out."""

from collections.abc import Iterable

from netplane.api.objects import Node, ServiceCIDR
from netplane.net.addresses import network


def of_services(items: Iterable[ServiceCIDR], problems: list[str]) -> tuple[str, ...]:
    """The cluster's service ranges, sorted."""
    found = (cidr for item in items for cidr in _readable(f"ServiceCIDR {item.key}", item.spec.cidrs, problems))
    return tuple(sorted(set(found)))


def of_node(said: Node | None, problems: list[str]) -> tuple[str, ...]:
    """A node's pod CIDRs."""
    if said is None:
        return ()
    told = said.spec.pod_cidrs or ([said.spec.pod_cidr] if said.spec.pod_cidr else ())
    return tuple(_readable(f"node {said.key}", told, problems))


def _readable(whose: str, texts: Iterable[str] | None, problems: list[str]) -> Iterable[str]:
    for text in texts or ():
        try:
            yield str(network(text))
        except ValueError:
            problems.append(f"{whose}: {text!r} is no CIDR")

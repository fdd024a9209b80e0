"""Reads Services: what this proxy must serve, per family. What it cannot use is named in `problems` and skipped.

Ignored: headless and ExternalName services, and those another proxy serves (the service-proxy-name label).
"""

from collections.abc import Iterable
from typing import NamedTuple

from netplane.api.objects import Service
from netplane.net.addresses import lenient, network, special
from netplane.nft.elements import cidr_elements
from netplane.nft.types import FAMILIES, Family
from proxy.plan.model import OTHER_PROXY, TRANSPORTS, Port, ServiceView

_DEFAULT_AFFINITY_S = 10_800
_LONGEST_AFFINITY_S = 86_400

Problems = list[str]


def ignored(service: Service) -> bool:
    """Whether a service is none of this proxy's business, in either family."""
    labels = service.metadata.labels or {}
    spec = service.spec
    addresses = spec.cluster_ips or [spec.cluster_ip]
    return OTHER_PROXY in labels or spec.type == "ExternalName" or addresses[0] in ("", "None")


class Served(NamedTuple):
    """A service in compact form: one view per family it has."""

    key: str
    views: tuple[ServiceView, ...]
    problems: tuple[str, ...] = ()

    def view(self, family: Family) -> ServiceView | None:
        """One family's side; None when the service has none."""
        return next((view for view in self.views if view.family is family), None)


def read(service: Service) -> Served:
    """A service in compact form; without views when it is none of this proxy's business."""
    problems: list[str] = []
    if ignored(service):
        return Served(service.key, ())
    ports = _ports(service, problems)
    views = (_view(service, ports, family, problems) for family in FAMILIES)
    return Served(service.key, tuple(view for view in views if view is not None), tuple(dict.fromkeys(problems)))


def _view(service: Service, ports: tuple[Port, ...], family: Family, problems: Problems) -> ServiceView | None:
    spec, key = service.spec, service.key
    cluster_ips = _addresses(key, "clusterIPs", spec.cluster_ips or [spec.cluster_ip], family, problems)
    if not cluster_ips:
        return None
    ingress = (service.status.load_balancer.ingress if service.status and service.status.load_balancer else None) or []
    # A service that outsiders could ask once may have kept the policy.
    open_to_all = spec.type in ("LoadBalancer", "NodePort") or bool(spec.external_ips)
    external_local = open_to_all and spec.external_traffic_policy == "Local"
    vips = [item.ip for item in ingress if item.ip and item.ip_mode in (None, "VIP")]
    return ServiceView(
        key=key,
        family=family,
        ports=ports,
        cluster_ip=cluster_ips[0],
        external_ips=_addresses(key, "externalIPs", spec.external_ips or (), family, problems),
        load_balancer_ips=_addresses(key, "loadBalancer ingress", vips, family, problems, besides="link-local"),
        source_ranges=_source_ranges(key, spec.load_balancer_source_ranges or [], family, problems),
        internal_local=spec.internal_traffic_policy == "Local",
        external_local=external_local,
        affinity_timeout_s=_affinity(service, problems),
        # Likewise the port.
        health_port=_health_port(service, problems) if spec.type == "LoadBalancer" and external_local else 0,
    )


def _health_port(service: Service, problems: Problems) -> int:
    port = service.spec.health_check_node_port
    if 0 <= port < 65_536:
        return port
    problems.append(f"service {service.key}: healthCheckNodePort {port} is no port")
    return 0


def _affinity(service: Service, problems: Problems) -> int:
    """Seconds that a client sticks to its endpoint; 0 without affinity."""
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config and config.client_ip else None
    if seconds is not None and not 0 < seconds <= _LONGEST_AFFINITY_S:
        problems.append(f"service {service.key}: session affinity for {seconds} s; {_DEFAULT_AFFINITY_S} s it is")
        seconds = None
    return seconds or _DEFAULT_AFFINITY_S


def _ports(service: Service, problems: Problems) -> tuple[Port, ...]:
    found: dict[tuple[int, int], Port] = {}
    for port in service.spec.ports or ():
        about = f"service {service.key}: port {port.name!r} ({port.port}/{port.protocol})"
        number = TRANSPORTS.get(port.protocol.lower())
        if number is None or not 0 < port.port < 65_536 or not 0 <= port.node_port < 65_536:
            problems.append(f"{about} cannot be served")
        elif (number, port.port) in found:
            problems.append(f"{about} is that of port {found[number, port.port].name!r}, too, which has it")
        else:
            found[number, port.port] = Port(port.name, number, port.port, port.node_port)
    return tuple(found.values())


def _addresses(
    key: str, field: str, texts: Iterable[str], family: Family, problems: Problems, *, besides: str = ""
) -> tuple[bytes, ...]:
    """Addresses of this family, each once, packed; others are the other family's business.

    Special addresses are skipped, `besides` one kind of them.
    """
    found: dict[bytes, None] = {}
    for text in texts:
        try:
            address = lenient(text)
        except ValueError:
            problems.append(f"service {key}: {field} has {text!r}, which is no IP address")
            continue
        kind = special(address)
        if kind and kind != besides:
            problems.append(f"service {key}: {field} has {text!r}, which is {kind}")
        elif len(address) == family.address.size:
            found[address] = None
    return tuple(found)


def _source_ranges(key: str, texts: list[str], family: Family, problems: Problems) -> tuple[bytes, ...] | None:
    """Allowed ranges, merged; None when all are. Ranges that cannot be read allow nobody: closed, not open."""
    good, bad = [], False
    for text in texts:
        try:
            found = network(text.strip())
        except ValueError:
            problems.append(f"service {key}: loadBalancerSourceRanges has {text!r}, which is no CIDR")
            bad = True
            continue
        if found.version == family.version:
            good.append(str(found))
    return tuple(cidr_elements(family, good)) if good or bad else None

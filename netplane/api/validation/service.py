"""A Service: every rule of it on one pass.

What is allocated (ClusterIPs, node ports, the health check's port) may still be missing here; what is given must be
right. Addresses and families have their own page, service_ips.py. Source: core/v1 validation of Kubernetes 1.36.
"""

from collections.abc import Collection
from typing import Any

from netplane.api import addresses, names
from netplane.api.fields import FieldError, all_invalid, duplicate, forbidden, invalid, not_supported, required
from netplane.api.validation import meta, service_ips

Json = dict[str, Any]

TYPES = frozenset({"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"})
POLICIES = frozenset({"Cluster", "Local"})
AFFINITIES = frozenset({"ClientIP", "None"})
DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
MAX_AFFINITY_S = 86_400
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
TOPOLOGY_HINTS = "service.kubernetes.io/topology-aware-hints"
_ONLY_LB = "may only be used when `type` is 'LoadBalancer'"


def validate(obj: Json, old: Json | None) -> list[FieldError]:
    """Everything wrong with the spec."""
    spec = obj.get("spec") or {}
    before = (old or {}).get("spec") or {}
    known = before.get("externalIPs") or ()
    changes = [*service_ips.changes(spec, before), *_changes(spec, before)] if old else []
    return [
        *changes,
        *_topology(obj),
        *_by_type(spec),
        *_ports(spec),
        *meta.labels(spec.get("selector"), "spec.selector"),
        *_affinity(spec),
        *service_ips.validate(spec),
        *(error for i, ip in enumerate(spec.get("externalIPs") or ()) for error in _external_ip(i, ip, known)),
        *meta.one_of("spec.type", spec.get("type"), TYPES),
        *_duplicates(spec),
        *_source_ranges(obj, old or {}),
        *_balancer(spec),
        *_traffic(spec),
    ]


def _topology(obj: Json) -> list[FieldError]:
    given = (obj.get("metadata") or {}).get("annotations") or {}
    mode, hints = given.get(TOPOLOGY_MODE), given.get(TOPOLOGY_HINTS)
    if mode is None or hints is None or mode == hints:
        return []
    why = f"must match annotations[{TOPOLOGY_HINTS}] when both are specified"
    return [invalid(f"metadata.annotations[{TOPOLOGY_MODE}]", mode, why)]


def _by_type(spec: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    ports, kind = spec.get("ports") or [], spec.get("type")
    headless = service_ips.headless(spec)
    if not ports and not headless and kind != "ExternalName":
        errors.append(required("spec.ports"))
    if headless and kind in ("LoadBalancer", "NodePort"):
        errors.append(invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    if kind == "ExternalName":
        errors += _external_name(spec)
    return errors


def _external_name(spec: Json) -> list[FieldError]:
    why = "may not be set for ExternalName services"
    errors = [forbidden(f"spec.{one}", why) for one in ("clusterIPs", "ipFamilies") if spec.get(one)]
    if spec.get("ipFamilyPolicy") is not None:
        errors.append(forbidden("spec.ipFamilyPolicy", why))
    name = (spec.get("externalName") or "").removesuffix(".")
    if not name:
        return [*errors, required("spec.externalName")]
    return errors + all_invalid("spec.externalName", name, names.dns_subdomain(name))


def _ports(spec: Json) -> list[FieldError]:
    ports = spec.get("ports") or []
    seen: set[str] = set()
    errors: list[FieldError] = []
    for i, port in enumerate(ports):
        errors += service_port(port, f"spec.ports[{i}]", named=len(ports) > 1, seen=seen, targeted=True)
    return errors


def service_port(port: Json, path: str, *, named: bool, seen: set[str], targeted: bool = False) -> list[FieldError]:
    """Name, number, protocol and application protocol of a port of a Service, which has a target, or of Endpoints."""
    errors: list[FieldError] = []
    name = port.get("name") or ""
    if named and not name:
        errors.append(required(f"{path}.name"))
    elif name:
        errors += all_invalid(f"{path}.name", name, names.dns_label(name))
        if name in seen:
            errors.append(duplicate(f"{path}.name", name))
        seen.add(name)
    number = port.get("port") or 0
    errors += all_invalid(f"{path}.port", number, names.port(number))
    errors += meta.one_of(f"{path}.protocol", port.get("protocol"), meta.PROTOCOLS)
    if targeted:
        target = port.get("targetPort", 0)
        bad = names.port(target) if isinstance(target, int) else names.port_name(target)
        errors += all_invalid(f"{path}.targetPort", target, bad)
    if (application := port.get("appProtocol")) is not None:
        errors += all_invalid(f"{path}.appProtocol", application, names.qualified_name(application))
    return errors


def _affinity(spec: Json) -> list[FieldError]:
    affinity, config = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig")
    errors = meta.one_of("spec.sessionAffinity", affinity, AFFINITIES)
    path = "spec.sessionAffinityConfig"
    if affinity == "None" and config is not None:
        errors.append(forbidden(path, "must not be set when session affinity is None"))
    if affinity != "ClientIP":
        return errors
    why = "when session affinity type is ClientIP"
    if config is None:
        return [*errors, required(path, why)]
    if (client := config.get("clientIP")) is None:
        return [*errors, required(f"{path}.clientIP", why)]
    if (timeout := client.get("timeoutSeconds")) is None:
        return [*errors, required(f"{path}.clientIP.timeoutSeconds", why)]
    if not 0 < timeout <= MAX_AFFINITY_S:
        text = f"must be greater than 0 and less than {MAX_AFFINITY_S}"
        errors.append(invalid(f"{path}.clientIP.timeoutSeconds", timeout, text))
    return errors


def _external_ip(i: int, ip: str, known: Collection[str]) -> list[FieldError]:
    path = f"spec.externalIPs[{i}]"
    return [] if ip in known else all_invalid(path, ip, addresses.ip(ip)) or meta.endpoint_ip(path, ip)


def _duplicates(spec: Json) -> list[FieldError]:
    """Node ports only where they may be; each (protocol, node port) and (protocol, port) once."""
    errors: list[FieldError] = []
    ports = spec.get("ports") or []
    if spec.get("type") == "ClusterIP":
        why = "may not be used when `type` is 'ClusterIP'"
        errors += [forbidden(f"spec.ports[{i}].nodePort", why) for i, port in enumerate(ports) if port.get("nodePort")]
    seen: set[tuple[str, str, int]] = set()
    for field in ("nodePort", "port"):
        for i, port in enumerate(ports):
            number, protocol = port.get(field) or 0, port.get("protocol", "")
            if (field, protocol, number) in seen:
                errors.append(_duplicate_port(i, field, protocol, number))
            elif field == "port" or number:
                seen.add((field, protocol, number))
    return errors


def _duplicate_port(i: int, field: str, protocol: str, number: int) -> FieldError:
    if field == "nodePort":
        return duplicate(f"spec.ports[{i}].nodePort", number)
    key = {"Name": "", "Protocol": protocol, "AppProtocol": None, "Port": number, "TargetPort": 0, "NodePort": 0}
    return duplicate(f"spec.ports[{i}]", key)


def _source_ranges(obj: Json, old: Json) -> list[FieldError]:
    """In the field, or for old clients in an annotation; what was there before may stay."""
    spec = obj.get("spec") or {}
    annotation = _annotated(obj)
    if spec.get("loadBalancerSourceRanges"):
        path, ranges = "spec.LoadBalancerSourceRanges", spec["loadBalancerSourceRanges"]
        known = {one.strip() for one in (old.get("spec") or {}).get("loadBalancerSourceRanges") or ()}
        places = [f"{path}[{i}]" for i in range(len(ranges))]
    elif annotation is not None:
        path, known = f"metadata.annotations[{SOURCE_RANGES}]", set()
        changed = annotation.strip() and annotation != _annotated(old)
        ranges = annotation.strip().split(",") if changed else []
        places = [path] * len(ranges)
    else:
        return []
    errors = [] if spec.get("type") == "LoadBalancer" else [forbidden(path, _ONLY_LB)]
    for where, value in zip(places, map(str.strip, ranges), strict=True):
        errors += [] if value in known else all_invalid(where, value, addresses.cidr(value))
    return errors


def _annotated(obj: Json) -> str | None:
    return ((obj.get("metadata") or {}).get("annotations") or {}).get(SOURCE_RANGES)


def _balancer(spec: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    if spec.get("allocateLoadBalancerNodePorts") is not None and spec.get("type") != "LoadBalancer":
        errors.append(forbidden("spec.allocateLoadBalancerNodePorts", _ONLY_LB))
    return errors + _balancer_class(spec)


def _balancer_class(spec: Json) -> list[FieldError]:
    path, name = "spec.loadBalancerClass", spec.get("loadBalancerClass")
    if name is None:
        return []
    if spec.get("type") != "LoadBalancer":
        return [forbidden(path, _ONLY_LB)]
    return all_invalid(path, name, names.qualified_name(name))


def _changes(spec: Json, old: Json) -> list[FieldError]:
    """What a balancer relies on stays while it is one. Its class is looked at here too: the real server tells twice."""
    errors: list[FieldError] = []
    both = spec.get("type") == old.get("type") == "LoadBalancer"
    if both and spec.get("loadBalancerClass") != old.get("loadBalancerClass"):
        errors.append(invalid("spec.loadBalancerClass", spec.get("loadBalancerClass"), "may not change once set"))
    errors += _balancer_class(spec)
    before, now = (one.get("healthCheckNodePort") or 0 for one in (old, spec))
    if needs_health_check(spec) and needs_health_check(old) and before != now:
        errors.append(forbidden("spec.healthCheckNodePort", meta.IMMUTABLE))
    return errors


def externally_accessible(spec: Json) -> bool:
    """Whether traffic reaches it from outside the cluster."""
    kind = spec.get("type")
    return kind in ("LoadBalancer", "NodePort") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def needs_health_check(spec: Json) -> bool:
    """Whether it has a healthCheckNodePort."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _traffic(spec: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    external, port = spec.get("externalTrafficPolicy") or "", spec.get("healthCheckNodePort") or 0
    if externally_accessible(spec):
        errors += meta.one_of("spec.externalTrafficPolicy", external, POLICIES)
    elif external:
        why = "may only be set for externally-accessible services"
        errors.append(invalid("spec.externalTrafficPolicy", external, why))
    if needs_health_check(spec):
        errors += all_invalid("spec.healthCheckNodePort", port, names.port(port) if port else [])
    elif port:
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        errors.append(invalid("spec.healthCheckNodePort", port, why))
    internal = spec.get("internalTrafficPolicy")
    if internal is not None and internal not in POLICIES:
        errors.append(not_supported("spec.internalTrafficPolicy", internal, POLICIES))
    elif internal is None and spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer"):
        errors.append(required("spec.internalTrafficPolicy"))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in DISTRIBUTIONS:
        errors.append(not_supported("spec.trafficDistribution", distribution, DISTRIBUTIONS))
    return errors


def status(obj: Json, old: Json | None) -> list[FieldError]:
    """Everything wrong with the status, which a balancer writes; an address that was there before may stay."""
    ingresses = _balanced(obj)
    path = "status.loadBalancer.ingress"
    if ingresses and (obj.get("spec") or {}).get("type") != "LoadBalancer":
        return [forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")]
    known = {one.get("ip") for one in _balanced(old or {})}
    return [error for i, one in enumerate(ingresses) for error in _ingress(one, f"{path}[{i}]", known)]


def _balanced(obj: Json) -> list[Json]:
    return ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []


def _ingress(ingress: Json, path: str, known: Collection[str | None]) -> list[FieldError]:
    errors: list[FieldError] = []
    ip, mode, host = ingress.get("ip") or "", ingress.get("ipMode"), ingress.get("hostname") or ""
    if ip and ip not in known:
        errors += all_invalid(f"{path}.ip", ip, addresses.ip(ip))
    if ip and mode is None:
        errors.append(required(f"{path}.ipMode", "must be specified when `ip` is set"))
    elif mode is not None and not ip:
        errors.append(forbidden(f"{path}.ipMode", "may not be specified when `ip` is not set"))
    elif mode is not None and mode not in ("VIP", "Proxy"):
        errors.append(not_supported(f"{path}.ipMode", mode, {"VIP", "Proxy"}))
    if host:
        errors += all_invalid(f"{path}.hostname", host, names.dns_subdomain(host))
        if addresses.parse(host):
            errors.append(invalid(f"{path}.hostname", host, "must be a DNS name, not an IP address"))
    return errors

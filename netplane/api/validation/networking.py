"""NetworkPolicy, Ingress, IngressClass, ServiceCIDR, IPAddress. Source: networking/v1 validation of Kubernetes 1.36."""

import ipaddress
from typing import Any

from netplane.api import addresses, names
from netplane.api.fields import FieldError, all_invalid, forbidden, invalid, not_supported, required, too_many
from netplane.api.validation import meta
from netplane.api.validation.selecting import label_selector

Json = dict[str, Any]


def network_policy(obj: Json, old: Json | None) -> list[FieldError]:
    """Selectors, peers, ports and types."""
    del old
    spec = obj.get("spec") or {}
    errors = label_selector(spec.get("podSelector"), "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{i}]"
            for j, port in enumerate(rule.get("ports") or ()):
                errors += _policy_port(port, f"{path}.ports[{j}]")
            for j, peer in enumerate(rule.get(peers) or ()):
                errors += _peer(peer, f"{path}.{peers}[{j}]")
    types = spec.get("policyTypes") or []
    if len(types) > 2:
        return [*errors, invalid("spec.policyTypes", types, "may not specify more than two policyTypes")]
    errors += [
        not_supported(f"spec.policyTypes[{i}]", one, ("Egress", "Ingress"))
        for i, one in enumerate(types)
        if one not in ("Ingress", "Egress")
    ]
    return errors


def _policy_port(port: Json, path: str) -> list[FieldError]:
    errors = meta.one_of(f"{path}.protocol", port.get("protocol"), meta.PROTOCOLS)
    number, end = port.get("port"), port.get("endPort")
    if isinstance(number, int):
        errors += all_invalid(f"{path}.port", number, names.port(number))
        if end is not None and end < number:
            errors.append(invalid(f"{path}.endPort", number, "must be greater than or equal to `port`"))
    elif number is not None:
        errors += all_invalid(f"{path}.port", number, names.port_name(number))
        if end is not None:
            why = "may not be specified when `port` is non-numeric"
            errors.append(invalid(f"{path}.endPort", end, why))
    elif end is not None:
        errors.append(invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified"))
    return errors


def _peer(peer: Json, path: str) -> list[FieldError]:
    kinds = [one for one in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(one) is not None]
    if not kinds:
        return [required(path, "must specify a peer")]
    if "ipBlock" in kinds and len(kinds) > 1:
        return [forbidden(path, "may not specify both ipBlock and another peer")]
    errors: list[FieldError] = []
    for one in kinds:
        if one != "ipBlock":
            errors += label_selector(peer[one], f"{path}.{one}")
    return errors + (_ip_block(peer["ipBlock"], f"{path}.ipBlock") if "ipBlock" in kinds else [])


def _ip_block(block: Json, path: str) -> list[FieldError]:
    cidr = block.get("cidr") or ""
    if not cidr:
        return [required(f"{path}.cidr")]
    errors = all_invalid(f"{path}.cidr", cidr, addresses.cidr(cidr))
    if errors:
        return errors
    whole = ipaddress.ip_network(cidr, strict=False)
    for i, one in enumerate(block.get("except") or ()):
        where = f"{path}.except[{i}]"
        wrong = addresses.cidr(one)
        errors += all_invalid(where, one, wrong)
        if not wrong and not _inside(ipaddress.ip_network(one, strict=False), whole):
            errors.append(invalid(where, one, f"must be a strict subset of `{path}.cidr`"))
    return errors


def _inside(part: Any, whole: Any) -> bool:
    return part.version == whole.version and part != whole and bool(part.subnet_of(whole))


_NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")


def ingress(obj: Json, old: Json | None) -> list[FieldError]:
    """Rules, paths, backends."""
    del old
    spec = obj.get("spec") or {}
    errors: list[FieldError] = []
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        errors.append(invalid("spec", spec.get("rules"), "either `defaultBackend` or `rules` must be specified"))
    if spec.get("defaultBackend") is not None:
        errors += _backend(spec["defaultBackend"], "spec.defaultBackend")
    for i, one in enumerate(spec.get("tls") or ()):
        for j, host in enumerate(one.get("hosts") or ()):
            errors += all_invalid(f"spec.tls[{i}].hosts[{j}]", host, names.host(host))
        if secret := one.get("secretName"):
            errors += all_invalid(f"spec.tls[{i}].secretName", secret, names.dns_subdomain(secret))
    if (name := spec.get("ingressClassName")) is not None:
        errors += all_invalid("spec.ingressClassName", name, names.dns_subdomain(name))
    for i, rule in enumerate(spec.get("rules") or ()):
        path, host = f"spec.rules[{i}]", rule.get("host") or ""
        if host and addresses.parse(host):
            errors.append(invalid(f"{path}.host", host, "must be a DNS name, not an IP address"))
        elif host:
            errors += all_invalid(f"{path}.host", host, names.host(host))
        http = rule.get("http")
        if http is not None and not http.get("paths"):
            errors.append(required(f"{path}.http.paths"))
        for j, one in enumerate((http or {}).get("paths") or ()):
            errors += _path(one, f"{path}.http.paths[{j}]")
    return errors


def _path(one: Json, path: str) -> list[FieldError]:
    kind, text = one.get("pathType"), one.get("path") or ""
    if kind is None:
        return [
            required(f"{path}.pathType", "pathType must be specified"),
            *_backend(one["backend"], f"{path}.backend"),
        ]
    errors: list[FieldError] = []
    if kind not in _PATH_TYPES:
        errors.append(not_supported(f"{path}.pathType", kind, _PATH_TYPES))
    if kind != "ImplementationSpecific" and not text.startswith("/"):
        errors.append(invalid(f"{path}.path", text, "must be an absolute path"))
    elif kind in ("Exact", "Prefix"):
        bad = [one for one in _NOT_IN_PATHS if one in text]
        errors += [invalid(f"{path}.path", text, f"must not contain '{one}'") for one in bad]
        ends = [one for one in ("/..", "/.") if text.endswith(one)]
        errors += [invalid(f"{path}.path", text, f"cannot end with '{one}'") for one in ends]
    return errors + _backend(one.get("backend") or {}, f"{path}.backend")


def _backend(backend: Json, path: str) -> list[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid(path, "", "cannot set both resource and service backends")]
    if service is None:
        return [] if resource is not None else [required(path, "resource or service backend is required")]
    errors: list[FieldError] = []
    if not service.get("name"):
        errors.append(required(f"{path}.service.name"))
    else:
        errors += all_invalid(f"{path}.service.name", service["name"], names.dns_label_1035(service["name"]))
    port = service.get("port") or {}
    if port.get("name") and port.get("number"):
        errors.append(invalid(path, "", "cannot set both port name & port number"))
    elif port.get("name"):
        errors += all_invalid(f"{path}.service.port.name", port["name"], names.port_name(port["name"]))
    elif port.get("number"):
        errors += all_invalid(f"{path}.service.port.number", port["number"], names.port(port["number"]))
    else:
        errors.append(required(path, "port name or number is required"))
    return errors


def ingress_class(obj: Json, old: Json | None) -> list[FieldError]:
    """Its controller is given once."""
    spec = obj.get("spec") or {}
    controller = spec.get("controller") or ""
    errors: list[FieldError] = []
    if old is not None:
        errors += meta.immutable("spec.controller", controller, (old.get("spec") or {}).get("controller"))
    if len(controller) > 250:
        errors.append(invalid("spec.controller", controller, "must be no more than 250 bytes"))
    parameters = spec.get("parameters")
    if parameters is not None:
        errors += [required(f"spec.parameters.{field}") for field in ("kind", "name") if not parameters.get(field)]
        scope = parameters.get("scope")
        errors += meta.one_of("spec.parameters.scope", scope, ("Cluster", "Namespace"))
        if scope == "Namespace" and not parameters.get("namespace"):
            why = "`parameters.scope` is set to 'Namespace'"
            errors.append(required("spec.parameters.namespace", why))
        if scope == "Cluster" and parameters.get("namespace"):
            why = "`parameters.scope` is set to 'Cluster'"
            errors.append(forbidden("spec.parameters.namespace", why))
    return errors


def service_cidr(obj: Json, old: Json | None) -> list[FieldError]:
    """One network for each family, given once."""
    cidrs = (obj.get("spec") or {}).get("cidrs") or []
    if old is not None:
        before = (old.get("spec") or {}).get("cidrs")
        return meta.immutable("spec.cidrs", cidrs, before)
    if not cidrs:
        return [required("spec.cidrs", "at least one CIDR required")]
    if len(cidrs) > 2:
        return [too_many("spec.cidrs", len(cidrs), 2)]
    errors = [e for i, one in enumerate(cidrs) for e in _canonical(one, f"spec.cidrs[{i}]")]
    if not errors and len(cidrs) == 2 and (":" in cidrs[0]) == (":" in cidrs[1]):
        why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        errors.append(invalid("spec.cidrs", cidrs, why))
    return errors


def _canonical(text: str, path: str) -> list[FieldError]:
    errors = all_invalid(path, text, addresses.cidr(text))
    if not errors and str(ipaddress.ip_network(text, strict=False)) != text:
        why = f'must be in canonical form ("{ipaddress.ip_network(text, strict=False)}")'
        errors.append(invalid(path, text, why))
    return errors


def ip_address(obj: Json, old: Json | None) -> list[FieldError]:
    """Named by its address; refers to what has it."""
    parent = (obj.get("spec") or {}).get("parentRef")
    if old is not None:
        return meta.immutable("spec.parentRef", parent, (old.get("spec") or {}).get("parentRef"))
    if parent is None:
        return [required("spec.parentRef")]
    return [required(f"spec.parentRef.{field}") for field in ("resource", "name") if not parent.get(field)]


def ip_name(name: str, prefix: bool) -> list[str]:
    """An address in its canonical form."""
    del prefix
    found = addresses.parse(name)
    if found is None:
        return addresses.ip(name)
    return [] if str(found) == name else [f'must be in canonical form ("{found}")']

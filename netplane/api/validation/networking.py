"""NetworkPolicy, ServiceCIDR, IPAddress. Source: networking/v1 validation of Kubernetes 1.36."""

from collections.abc import Collection, Iterator
from typing import Any

from netplane.api import addresses, names
from netplane.api.fields import FieldError, all_invalid, forbidden, go_struct, invalid, not_supported, required
from netplane.api.validation import meta
from netplane.api.validation.selecting import label_selector

Json = dict[str, Any]

_DIRECTIONS = (("ingress", "from"), ("egress", "to"))
_POLICY_TYPES = ("Ingress", "Egress")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_MOST_CIDRS = 2


def network_policy(obj: Json, old: Json | None) -> list[FieldError]:
    """Selectors, peers, ports and types. Networks that were there before may stay, right or wrong."""
    spec = obj.get("spec") or {}
    known = {one for block in _blocks((old or {}).get("spec") or {}) for one in _networks(block)}
    errors = label_selector(spec.get("podSelector"), "spec.podSelector")
    for direction, peers in _DIRECTIONS:
        for i, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{i}]"
            for j, port in enumerate(rule.get("ports") or ()):
                errors += _policy_port(port, f"{path}.ports[{j}]")
            for j, peer in enumerate(rule.get(peers) or ()):
                errors += _peer(peer, f"{path}.{peers}[{j}]", known)
    types = spec.get("policyTypes") or []
    if len(types) > len(_POLICY_TYPES):
        return [*errors, invalid("spec.policyTypes", types, "may not specify more than two policyTypes")]
    errors += [
        not_supported(f"spec.policyTypes[{i}]", one, _POLICY_TYPES)
        for i, one in enumerate(types)
        if one not in _POLICY_TYPES
    ]
    return errors


def _blocks(spec: Json) -> Iterator[Json]:
    for direction, peers in _DIRECTIONS:
        for rule in spec.get(direction) or ():
            yield from (peer["ipBlock"] for peer in rule.get(peers) or () if peer.get("ipBlock") is not None)


def _networks(block: Json) -> list[str]:
    return [block.get("cidr") or "", *(block.get("except") or ())]


def _policy_port(port: Json, path: str) -> list[FieldError]:
    number, end, protocol = port.get("port"), port.get("endPort"), port.get("protocol")
    errors: list[FieldError] = []
    if protocol is not None and protocol not in _PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, _PROTOCOLS))
    where = f"{path}.endPort"
    if isinstance(number, int):
        errors += all_invalid(f"{path}.port", number, names.port(number))
        if end is not None:
            # Told of the port, as the real server does.
            errors += [invalid(where, number, "must be greater than or equal to `port`")] if end < number else []
            errors += all_invalid(where, end, names.port(end))
        return errors
    if end is not None:
        what = "not specified" if number is None else "non-numeric"
        errors.append(invalid(where, end, f"may not be specified when `port` is {what}"))
    return errors if number is None else errors + all_invalid(f"{path}.port", number, names.port_name(number))


def _peer(peer: Json, path: str, known: Collection[str]) -> list[FieldError]:
    given = [one for one in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(one) is not None]
    errors: list[FieldError] = []
    for one in given:
        where = f"{path}.{one}"
        errors += _ip_block(peer[one], where, known) if one == "ipBlock" else label_selector(peer[one], where)
    if not given:
        errors.append(required(path, "must specify a peer"))
    elif len(given) > 1 and "ipBlock" in given:
        errors.append(forbidden(path, "may not specify both ipBlock and another peer"))
    return errors


def _ip_block(block: Json, path: str, known: Collection[str]) -> list[FieldError]:
    cidr = block.get("cidr") or ""
    if not cidr:
        return [required(f"{path}.cidr")]
    errors = _network(cidr, f"{path}.cidr", known)
    if (whole := addresses.network(cidr)) is None:
        return errors
    for i, one in enumerate(block.get("except") or ()):
        where = f"{path}.except[{i}]"
        errors += _network(one, where, known)
        part = addresses.network(one)
        if part is not None and not _inside(part, whole):
            errors.append(invalid(where, one, "must be a strict subset of `cidr`"))
    return errors


def _network(text: str, path: str, known: Collection[str]) -> list[FieldError]:
    return [] if text in known else all_invalid(path, text, addresses.cidr(text))


def _inside(part: Any, whole: Any) -> bool:
    return part.version == whole.version and part != whole and bool(part.subnet_of(whole))


def service_cidr(obj: Json, old: Json | None) -> list[FieldError]:
    """One network for each family, given once; a second family may come later."""
    cidrs = (obj.get("spec") or {}).get("cidrs") or []
    if old is None:
        return _service_networks(cidrs)
    before = (old.get("spec") or {}).get("cidrs") or []
    changed = [
        invalid(f"spec.cidrs[{i}]", new, meta.IMMUTABLE)
        for i, (new, was) in enumerate(zip(cidrs, before, strict=False))
        if new != was
    ]
    if len(cidrs) == len(before):
        return changed
    if (len(before), len(cidrs)) == (1, _MOST_CIDRS):
        return changed + _service_networks(cidrs)
    return [invalid("spec.cidrs", cidrs or None, meta.IMMUTABLE)]


def _service_networks(cidrs: list[str]) -> list[FieldError]:
    if not cidrs:
        return [required("spec.cidrs", "at least one CIDR required")]
    if len(cidrs) > _MOST_CIDRS:
        return [invalid("spec.cidrs", {"CIDRs": cidrs}, "may only hold up to 2 values")]
    errors = [
        e for i, one in enumerate(cidrs) for e in all_invalid(f"spec.cidrs[{i}]", one, addresses.canonical_cidr(one))
    ]
    versions = [found.version for one in cidrs if (found := addresses.network(one))]
    if len(versions) == _MOST_CIDRS and versions[0] == versions[1]:
        why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        errors.append(invalid("spec.cidrs", cidrs, why))
    return errors


def ip_address(obj: Json, old: Json | None) -> list[FieldError]:
    """Named by its address; refers to what has it."""
    parent = (obj.get("spec") or {}).get("parentRef")
    errors = _parent(parent, "spec.parentRef")
    if old is not None and parent != (old.get("spec") or {}).get("parentRef"):
        shown = None if parent is None else go_struct(parent, **_PARENT)
        errors.append(invalid("spec.parentRef", shown, meta.IMMUTABLE))
    return errors


_PARENT = {name: (name.lower(), "") for name in ("Group", "Resource", "Namespace", "Name")}


def _parent(parent: Json | None, path: str) -> list[FieldError]:
    if parent is None:
        return [required(path)]
    group = parent.get("group") or ""
    errors = all_invalid(f"{path}.group", group, names.dns_subdomain(group) if group else [])
    for field in ("resource", "name"):
        errors += meta.path_segment(parent.get(field) or "", f"{path}.{field}")
    namespace = parent.get("namespace") or ""
    return errors + all_invalid(f"{path}.namespace", namespace, names.path_segment(namespace))


def ip_name(name: str, prefix: bool) -> list[str]:
    """An address in its canonical form."""
    del prefix
    return addresses.canonical_ip(name)

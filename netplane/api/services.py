"""What a change of a Service means before and after allocation: addresses kept, fields of the old type dropped.

    client's object ─> keep_allocated ─> normalize ─> settle_families ─> allocation ─> drop_of_old_type ─> validation

A client may send back less than it was given (an old one knows no clusterIPs, one that edits a manifest knows no node
ports), or switch the type and leave what belonged to the old one. Nothing it said explicitly is changed.
Source: pkg/registry/core/service of Kubernetes 1.36; dual stack: KEP-563.
"""

from collections.abc import Sequence
from typing import Any

from netplane.api.fields import FieldError, invalid
from netplane.api.validation import service_ips
from netplane.api.validation.service import externally_accessible, needs_health_check

Json = dict[str, Any]

_POLICY = "spec.ipFamilyPolicy"


def needs_cluster_ip(spec: Json) -> bool:
    """Every type but ExternalName has one, or says None."""
    return spec.get("type") != "ExternalName"


def needs_node_ports(spec: Json) -> bool:
    """Whether its ports may have node ports."""
    return spec.get("type") in ("NodePort", "LoadBalancer")


def allocates_node_ports(spec: Json) -> bool:
    """Whether ports without a node port get one."""
    balanced = spec.get("type") == "LoadBalancer"
    return spec.get("type") == "NodePort" or (balanced and spec.get("allocateLoadBalancerNodePorts") is not False)


def normalize(spec: Json, old: Json | None) -> None:
    """Keep clusterIP and clusterIPs together, whichever of the two the client knows."""
    single, several = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if old is None:
        if single and not several:
            spec["clusterIPs"] = [single]
        return
    before = old.get("clusterIPs") or []
    if before and not several and single == (old.get("clusterIP") or ""):
        spec["clusterIPs"] = list(before)
    if single == (old.get("clusterIP") or "") or several != before:
        return
    if single:
        spec["clusterIPs"] = [single]
    else:
        spec.pop("clusterIPs", None)


def keep_allocated(spec: Json, old: Json) -> None:
    """What was allocated and is not mentioned stays."""
    if needs_cluster_ip(old) and needs_cluster_ip(spec):
        for field in ("clusterIP", "clusterIPs"):
            if not spec.get(field) and old.get(field):
                spec[field] = old[field] if field == "clusterIP" else list(old[field])
    if allocates_node_ports(old) and allocates_node_ports(spec):
        _keep_node_ports(spec.get("ports") or [], old.get("ports") or [])
    if needs_health_check(old) and needs_health_check(spec) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = old.get("healthCheckNodePort", 0)


def _keep_node_ports(ports: list[Json], before: list[Json]) -> None:
    """By the port's name, unless both have that number for some port."""
    used = _node_ports(ports) & _node_ports(before)
    named = {port.get("name") or "": port.get("nodePort") or 0 for port in before}
    for port in ports:
        number = named.get(port.get("name") or "", 0)
        if not port.get("nodePort") and number and number not in used:
            port["nodePort"] = number


def _node_ports(ports: list[Json]) -> set[int]:
    return {port["nodePort"] for port in ports if port.get("nodePort")}


def drop_of_old_type(spec: Json, old: Json) -> None:
    """Fields that the new type does not have go, if the client left them as they were."""
    if needs_cluster_ip(old) and not needs_cluster_ip(spec):
        _drop_same(spec, old, "clusterIP", "clusterIPs")
        _drop_same(spec, old, "ipFamilies")
        _drop_same(spec, old, "ipFamilyPolicy")
    if needs_node_ports(old) and not needs_node_ports(spec):
        ports = spec.get("ports") or []
        if _node_ports(ports) <= _node_ports(old.get("ports") or []):
            for port in ports:
                port.pop("nodePort", None)
    if needs_health_check(old) and not needs_health_check(spec):
        _drop_same(spec, old, "healthCheckNodePort")
    if old.get("type") == "LoadBalancer" != spec.get("type"):
        _drop_same(spec, old, "allocateLoadBalancerNodePorts")
        if spec.get("loadBalancerClass") == old.get("loadBalancerClass"):  # an empty one is another than none
            spec.pop("loadBalancerClass", None)
    if externally_accessible(old) and not externally_accessible(spec):
        _drop_same(spec, old, "externalTrafficPolicy")


def _drop_same(spec: Json, old: Json, *fields: str) -> None:
    """All of them, if all are as they were."""
    if all((spec.get(field) or None) == (old.get(field) or None) for field in fields):
        for field in fields:
            spec.pop(field, None)


def settle_families(spec: Json, old: Json | None, cluster: Sequence[str]) -> list[FieldError]:
    """Fill in ipFamilyPolicy and ipFamilies for a cluster with these families, the first being its default.

    Returns what is wrong; then the fields may be half filled in and the object must not be stored.
    """
    if spec.get("type") == "ExternalName" or still_prefers_dual(spec, old):
        return []
    _policy(spec, old)
    errors = service_ips.validate(spec)
    if not errors:
        errors = [*_shrink(spec, old), *_policy_fits(spec), *_infer(spec, cluster)]
    if errors:
        return errors
    free = service_ips.headless(spec) and not spec.get("selector")
    if not free and (errors := _configured(spec, cluster)):
        return errors
    families = spec.get("ipFamilies") or [cluster[0]]
    if len(families) == 1 and spec["ipFamilyPolicy"] != "SingleStack" and (free or len(cluster) == 2):
        families = [families[0], "IPv6" if families[0] == "IPv4" else "IPv4"]
    spec["ipFamilies"] = families
    return []


def still_prefers_dual(spec: Json, old: Json | None) -> bool:
    """A PreferDualStack Service is not moved between one and two families by a change that says nothing of them."""
    return (
        old is not None
        and spec.get("ipFamilyPolicy") == "PreferDualStack"
        and spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer")
        and all((spec.get(field) or None) == (old.get(field) or None) for field in _FAMILY_FIELDS)
    )


_FAMILY_FIELDS = ("clusterIPs", "ipFamilies", "ipFamilyPolicy", "type")


def _policy(spec: Json, old: Json | None) -> None:
    if spec.get("ipFamilyPolicy") is not None:
        return
    free = spec.get("clusterIP") == "None" and not spec.get("selector")
    spec["ipFamilyPolicy"] = (old or {}).get("ipFamilyPolicy") or ("RequireDualStack" if free else "SingleStack")


def _shrink(spec: Json, old: Json | None) -> list[FieldError]:
    """SingleStack says that the second address goes; taking it away without saying so is an error."""
    errors: list[FieldError] = []
    for field, words in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        now, was = spec.get(field) or [], (old or {}).get(field) or []
        if spec["ipFamilyPolicy"] == "SingleStack":
            if old is not None and now == was and len(now) > 1:
                spec[field] = now[:1]
        elif 0 < len(now) < len(was):
            why = f"must be 'SingleStack' to release the secondary {words}"
            errors.append(invalid(_POLICY, spec["ipFamilyPolicy"], why))
    return errors


def _policy_fits(spec: Json) -> list[FieldError]:
    if spec["ipFamilyPolicy"] != "SingleStack":
        return []
    given = (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families"))
    why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
    return [
        invalid(_POLICY, "SingleStack", why.format(words)) for field, words in given if len(spec.get(field) or ()) == 2
    ]


def _infer(spec: Json, cluster: Sequence[str]) -> list[FieldError]:
    """Families that are not named follow from the addresses."""
    ips, families = spec.get("clusterIPs") or [], list(spec.get("ipFamilies") or ())
    errors: list[FieldError] = []
    for i, ip in enumerate(ips):
        if ip == "None" or i < len(families):
            continue
        family = service_ips.family(ip)
        if family in cluster:
            families.append(family)
        else:
            errors.append(invalid(f"spec.clusterIPs[{i}]", ips, f"{family} is not configured on this cluster"))
    spec["ipFamilies"] = families
    return errors


def _configured(spec: Json, cluster: Sequence[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    if spec["ipFamilyPolicy"] == "RequireDualStack" and len(cluster) < 2:
        why = "this cluster is not configured for dual-stack services"
        errors.append(invalid(_POLICY, spec["ipFamilyPolicy"], why))
    why = "not configured on this cluster"
    for i, family in enumerate(spec["ipFamilies"]):
        if family not in cluster:
            errors.append(invalid(f"spec.ipFamilies[{i}]", family, why))
    return errors

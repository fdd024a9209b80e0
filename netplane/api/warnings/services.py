"""What Services, endpoints and policies earn a warning for (pure). Source: the warnings of Kubernetes 1.36."""

from collections.abc import Iterable
from typing import Any

from netplane.api.addresses import cidr_warnings, ip_warnings
from netplane.api.fields import go_quote
from netplane.api.validation.ingress import CLASS_ANNOTATION
from netplane.api.validation.service import TOPOLOGY_HINTS, TOPOLOGY_MODE

Json = dict[str, Any]


def service(obj: Json) -> list[str]:
    """A Service as it is stored."""
    spec = obj.get("spec") or {}
    found: list[str] = []
    if TOPOLOGY_HINTS in (obj["metadata"].get("annotations") or {}):
        found.append(f"annotation {TOPOLOGY_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead")
    given = [(f"spec.clusterIPs[{i}]", ip) for i, ip in enumerate(spec.get("clusterIPs") or ()) if ip != "None"]
    given += [(f"spec.externalIPs[{i}]", ip) for i, ip in enumerate(spec.get("externalIPs") or ())]
    given += [("spec.loadBalancerIP", spec["loadBalancerIP"])] if spec.get("loadBalancerIP") else []
    found += _all_ips(given)
    for i, cidr in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        found += cidr_warnings(f"spec.loadBalancerSourceRanges[{i}]", cidr.strip())
    return found + _ignored(spec)


def _ignored(spec: Json) -> list[str]:
    """What means nothing for this type of Service."""
    external_name = spec.get("type") == "ExternalName"
    headless = spec.get("type") == "ClusterIP" and spec.get("clusterIP") == "None"
    found: list[str] = []
    if headless:
        ignored = [name for name in ("loadBalancerIP", "externalIPs") if spec.get(name)]
        ignored += ["SessionAffinity"] if spec.get("sessionAffinity") != "None" else []
        found += [f"spec.{name} is ignored for headless services" for name in ignored]
    if spec.get("externalIPs") and not headless and not external_name:
        found.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if spec.get("externalIPs") and external_name:
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if spec.get("externalName") and not external_name:
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found


def _all_ips(given: Iterable[tuple[str, str]]) -> list[str]:
    return [text for path, ip in given for text in ip_warnings(path, ip)]


def balanced(obj: Json) -> list[str]:
    """The status of what has a balancer."""
    ingresses = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    path = "status.loadBalancer.ingress"
    return _all_ips((f"{path}[{i}]", one["ip"]) for i, one in enumerate(ingresses) if one.get("ip"))


def ingress(obj: Json) -> list[str]:
    """A new Ingress."""
    old_way = CLASS_ANNOTATION in (obj["metadata"].get("annotations") or {})
    if not old_way or (obj.get("spec") or {}).get("ingressClassName") is not None:
        return []
    return [f"annotation {go_quote(CLASS_ANNOTATION)} is deprecated, please use 'spec.ingressClassName' instead"]


def endpoints(obj: Json) -> list[str]:
    """Endpoints that somebody wrote by hand."""
    return _all_ips(
        (f"subsets[{i}].{field}[{j}].ip", one.get("ip") or "")
        for i, subset in enumerate(obj.get("subsets") or ())
        for field in ("addresses", "notReadyAddresses")
        for j, one in enumerate(subset.get(field) or ())
    )


def new_slice(obj: Json) -> list[str]:
    """A new EndpointSlice, whoever wrote it."""
    return ["spec.addressType: FQDN endpoints are deprecated"] if obj.get("addressType") == "FQDN" else []


def policy(obj: Json) -> list[str]:
    """A NetworkPolicy."""
    spec = obj.get("spec") or {}
    found: list[str] = []
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction) or ()):
            for j, peer in enumerate(rule.get(peers) or ()):
                path, block = f"spec.{direction}[{i}].{peers}[{j}].ipBlock", peer.get("ipBlock") or {}
                found += cidr_warnings(f"{path}.cidr", block.get("cidr") or "")
                for k, one in enumerate(block.get("except") or ()):
                    found += cidr_warnings(f"{path}.except[{k}]", one)
    return found


def node(obj: Json) -> list[str]:
    """A Node's networks, and what is no more used."""
    spec = obj.get("spec") or {}
    texts = {
        "configSource": "the feature is removed",
        "externalID": "this field is deprecated, and is unused by Kubernetes",
    }
    found = [f"spec.{field}: {text}" for field, text in texts.items() if spec.get(field)]
    given = spec.get("podCIDRs") or ()
    return found + [text for i, one in enumerate(given) for text in cidr_warnings(f"spec.podCIDRs[{i}]", one)]

"""What an object earns a warning for: it is taken, and means less than its author may think (pure).

Source: the warnings that Kubernetes 1.36 gives for Services.
"""

from typing import Any

Json = dict[str, Any]

_OLD_HINTS = "service.kubernetes.io/topology-aware-hints"
_MODE = "service.kubernetes.io/topology-mode"


def of_service(obj: Json) -> list[str]:
    """Warnings for a Service as it is stored."""
    spec = obj.get("spec") or {}
    external_name = spec.get("type") == "ExternalName"
    headless = spec.get("type") == "ClusterIP" and spec.get("clusterIP") == "None"
    found: list[str] = []
    if _OLD_HINTS in (obj["metadata"].get("annotations") or {}):
        found.append(f"annotation {_OLD_HINTS} is deprecated, please use {_MODE} instead")
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

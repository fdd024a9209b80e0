"""What programs of a control plane look for in every cluster: two PriorityClasses, and ConfigMaps about its apiservers.

    system-cluster-critical, system-node-critical      for pods that a cluster cannot do without
    kube-system/extension-apiserver-authentication     the CAs of clients, for programs that ask clients who they are
    kube-system/kube-apiserver-legacy-service-account-token-tracking    since when the use of such tokens is noted

Source: the apiserver of Kubernetes 1.36.
"""

from pathlib import Path
from typing import Any

from netplane.apiserver import cluster as cl

Json = dict[str, Any]

_CRITICAL = {
    "system-node-critical": (
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    "system-cluster-critical": (
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
}
AUTHENTICATION = "extension-apiserver-authentication"
TRACKING = "kube-apiserver-legacy-service-account-token-tracking"


def priority_classes() -> list[Json]:
    """As they are created."""
    return [
        {"metadata": {"name": name}, "value": value, "description": about} for name, (value, about) in _CRITICAL.items()
    ]


def authentication(client_ca: Path | None) -> Json:
    """The ConfigMap of those who ask clients for certificates. Raises OSError."""
    data = {} if client_ca is None else {"client-ca-file": client_ca.read_text()}
    return {"metadata": {"name": AUTHENTICATION}, "data": data}


def tracking() -> Json:
    """The ConfigMap that says since when: today, if it is made now."""
    return {"metadata": {"name": TRACKING}, "data": {"since": cl.stamp()[:10]}}

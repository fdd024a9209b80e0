"""Which labels a node may give itself: none by which others choose nodes for what must not run anywhere else (pure).

Labels of kubernetes.io and k8s.io are reserved, but for what a kubelet knows of its machine; those under
node-restriction.kubernetes.io are never a node's to set. Source: "Node labels populated by the kubelet" and the
NodeRestriction plugin of Kubernetes 1.36.
"""

from collections.abc import Mapping

RESTRICTED = "node-restriction.kubernetes.io"
_RESERVED = ("kubernetes.io", "k8s.io")
_KUBELETS = ("kubelet.kubernetes.io", "node.kubernetes.io")
_KNOWN = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "node.kubernetes.io/instance-type",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
    }
)


def forbidden(labels: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    """The labels that differ and are not the node's to change, in order."""
    changed = (
        key for key in {*labels, *before} if labels.get(key) != before.get(key) or (key in labels) != (key in before)
    )
    return sorted(key for key in changed if not _allowed(key))


def _allowed(key: str) -> bool:
    domain, slash, _ = key.partition("/")
    if not slash or not _within(domain, _RESERVED):
        return True
    return not _within(domain, (RESTRICTED,)) and (key in _KNOWN or _within(domain, _KUBELETS))


def _within(domain: str, domains: tuple[str, ...]) -> bool:
    return any(domain == one or domain.endswith(f".{one}") for one in domains)

"""The roles and bindings that every cluster starts with, for administrators, nodes, proxies and agents (pure).

Names are Kubernetes' own, so that manifests which bind to them work. What each may do is what its program
asks for. `admin`, `edit` and `view` have no rules of their own: they gather those of every role that is labelled for
them (netplane.api.rbac.aggregated), so that users can add to them. Source: the default policy of Kubernetes 1.36, cut
to the kinds that are served.
"""

from typing import Any

from netplane.api import controller_roles

Json = dict[str, Any]

_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]
_NETWORK, _DISCOVERY, _LEASES = "networking.k8s.io", "discovery.k8s.io", "coordination.k8s.io"
_EVENTS, _RBAC = "events.k8s.io", "rbac.authorization.k8s.io"
_CORE = ["configmaps", "endpoints", "pods", "services", "serviceaccounts"]
_WORKLOADS = ["daemonsets", "deployments", "deployments/scale", "replicasets", "replicasets/scale", "statefulsets",
              "statefulsets/scale"]  # fmt: skip


def rule(verbs: list[str], group: str, *resources: str) -> Json:
    """A rule about resources of one group."""
    return {"verbs": verbs, "apiGroups": [group], "resources": list(resources)}


def _paths(*urls: str) -> Json:
    return {"verbs": ["get"], "nonResourceURLs": list(urls)}


def _in_namespaces(verbs: list[str]) -> list[Json]:
    return [
        rule(verbs, "", *_CORE, "pods/status" if verbs is _READ else "pods/eviction"),
        rule(verbs, "apps", *_WORKLOADS, "controllerrevisions"),
        rule(verbs, "batch", "cronjobs", "jobs"),
        rule(verbs, _NETWORK, "ingresses", "networkpolicies"),
        rule(verbs, _DISCOVERY, "endpointslices"),
        rule(verbs, _LEASES, "leases"),
    ]


_VIEW = [*_in_namespaces(_READ), rule(_READ, "", "namespaces", "events"), rule(_READ, _EVENTS, "events")]
_VIEW += [rule(_READ, "", "pods/log"), rule(_READ, _NETWORK, "ingresses/status")]
_EDIT = [*_in_namespaces(_WRITE), rule([*_READ, *_WRITE], "", "secrets"),
         rule(_READ, "", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"),
         rule(_WRITE, "", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"),
         rule(["impersonate"], "", "serviceaccounts"),
         rule(["create"], "", "serviceaccounts/token")]  # fmt: skip
_ADMIN = [
    rule(["create"], "authorization.k8s.io", "localsubjectaccessreviews"),
    rule([*_READ, *_WRITE], _RBAC, "roles", "rolebindings"),
]
_REPORT = [rule(["create", "patch", "update"], group, "events") for group in ("", _EVENTS)]

CLUSTER_ROLES: dict[str, list[Json]] = {
    "cluster-admin": [rule(["*"], "*", "*"), {"verbs": ["*"], "nonResourceURLs": ["*"]}],
    "system:aggregate-to-admin": _ADMIN,
    "system:aggregate-to-edit": _EDIT,
    "system:aggregate-to-view": _VIEW,
    "system:auth-delegator": [
        rule(["create"], "authentication.k8s.io", "tokenreviews"),
        rule(["create"], "authorization.k8s.io", "subjectaccessreviews"),
    ],
    "system:kube-dns": [rule(["list", "watch"], "", "endpoints", "services")],
    "system:kubelet-api-admin": [
        rule(_READ, "", "nodes"),
        rule(["proxy"], "", "nodes"),
        rule(["*"], "", "nodes/log", "nodes/metrics", "nodes/proxy", "nodes/stats"),
    ],
    "system:node-problem-detector": [
        rule(["get"], "", "nodes"),
        rule(["patch"], "", "nodes/status"),
        *_REPORT,
    ],
    **controller_roles.roles(),
    "system:basic-user": [
        rule(["create"], "authorization.k8s.io", "selfsubjectaccessreviews", "selfsubjectrulesreviews"),
        rule(["create"], "authentication.k8s.io", "selfsubjectreviews"),
    ],
    "system:discovery": [
        _paths("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz",
               "/version", "/version/"),
    ],
    "system:monitoring": [_paths("/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/readyz", "/readyz/*")],
    "system:public-info-viewer": [_paths("/healthz", "/livez", "/readyz", "/version", "/version/")],
    "system:service-account-issuer-discovery": [_paths("/.well-known/openid-configuration", "/openid/v1/jwks")],
    "system:node": [
        rule(["create", "get", "list", "watch", "patch", "update"], "", "nodes"),
        rule(["patch", "update"], "", "nodes/status", "pods/status"),
        rule([*_READ, "create", "delete"], "", "pods"),
        rule(_READ, "", "configmaps", "secrets", "services", "namespaces"),
        rule(["get"], "", "serviceaccounts"),
        rule(["create"], "", "pods/eviction", "serviceaccounts/token"),
        rule(["create"], "authentication.k8s.io", "tokenreviews"),
        rule(["create"], "authorization.k8s.io", "localsubjectaccessreviews", "subjectaccessreviews"),
        rule(["create", "delete", "get", "patch", "update"], _LEASES, "leases"),
        *_REPORT,
    ],
    "system:node-proxier": [
        rule(_READ, "", "nodes", "services", "endpoints"),
        rule(_READ, _DISCOVERY, "endpointslices"),
        rule(_READ, _NETWORK, "servicecidrs"),
        *_REPORT,
    ],
    "netplane:agent": [
        rule(_READ, "", "nodes", "pods", "namespaces"),
        rule(["patch", "update"], "", "nodes/status"),
        rule(_READ, _NETWORK, "networkpolicies"),
        *_REPORT,
    ],
    "system:kube-scheduler": [
        rule([*_READ, "delete"], "", "pods"),
        rule(["create"], "", "pods/binding", "bindings"),
        rule(["patch", "update"], "", "pods/status"),
        rule(_READ, "", "nodes", "namespaces", "services"),
        rule(_READ, "apps", "replicasets", "statefulsets"),
        rule([*_READ, "create", "patch", "update"], _LEASES, "leases"),
        *_REPORT,
    ],
    "system:kube-controller-manager": [
        rule(_READ, "*", "*"),
        rule([*_WRITE], "", "pods", "endpoints", "events", "secrets", "serviceaccounts", "configmaps", "namespaces",
             "nodes", "namespaces/finalize", "namespaces/status", "nodes/status", "pods/status", "services/status",
             "pods/binding", "serviceaccounts/token"),
        rule([*_WRITE], _DISCOVERY, "endpointslices"),
        rule([*_WRITE], _LEASES, "leases"),
        rule([*_WRITE], "apps", "*"),
        rule([*_WRITE], "batch", "*"),
        rule([*_WRITE], _NETWORK, "servicecidrs", "servicecidrs/status", "ipaddresses"),
        rule([*_WRITE], _EVENTS, "events"),
    ],
}  # fmt: skip

_GROUP, _USER = "Group", "User"
BINDINGS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "cluster-admin": ("cluster-admin", [(_GROUP, "system:masters")]),
    "system:basic-user": ("system:basic-user", [(_GROUP, "system:authenticated")]),
    "system:discovery": ("system:discovery", [(_GROUP, "system:authenticated")]),
    "system:monitoring": ("system:monitoring", [(_GROUP, "system:monitoring")]),
    "system:public-info-viewer": (
        "system:public-info-viewer",
        [(_GROUP, "system:authenticated"), (_GROUP, "system:unauthenticated")],
    ),
    "system:service-account-issuer-discovery": (
        "system:service-account-issuer-discovery",
        [(_GROUP, "system:serviceaccounts")],
    ),
    "system:node": ("system:node", []),  # what nodes may do is the node authorizer's to say
    "system:node-proxier": ("system:node-proxier", [(_USER, "system:kube-proxy")]),
    "netplane:agent": ("netplane:agent", [(_GROUP, "netplane:agents")]),
    "system:kube-scheduler": ("system:kube-scheduler", [(_USER, "system:kube-scheduler")]),
    "system:kube-controller-manager": (
        "system:kube-controller-manager",
        [(_USER, "system:kube-controller-manager")],
    ),
}


def _metadata(name: str) -> Json:
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    if name.startswith(_AGGREGATE):
        labels |= _label(name.removeprefix(_AGGREGATE))
    return {"name": name, "labels": labels, "annotations": {AUTO_UPDATE: "true"}}


_AGGREGATE = "system:aggregate-to-"
AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"


# Who gathers whose rules: edit holds what view does, and admin what edit does.
_GATHER = {"admin": ("admin", "edit", "view"), "edit": ("edit", "view"), "view": ("view",)}


def cluster_roles() -> list[Json]:
    """The ClusterRoles, as they are created."""
    plain = [{"metadata": _metadata(name), "rules": rules} for name, rules in CLUSTER_ROLES.items()]
    return plain + [_gathering(name) for name in _GATHER]


def _label(name: str) -> dict[str, str]:
    return {f"rbac.authorization.k8s.io/aggregate-to-{name}": "true"}


def _gathering(name: str) -> Json:
    """The real server nests: view is itself labelled for edit, and edit for admin."""
    metadata = _metadata(name)
    for above, below in (("admin", "edit"), ("edit", "view")):
        if name == below:
            metadata["labels"] |= _label(above)
    selectors = [{"matchLabels": _label(name)}]
    rules = [rule for one in reversed(_GATHER[name]) for rule in CLUSTER_ROLES[f"system:aggregate-to-{one}"]]
    return {"metadata": metadata, "aggregationRule": {"clusterRoleSelectors": selectors}, "rules": rules}


def cluster_role_bindings() -> list[Json]:
    """The ClusterRoleBindings, as they are created."""
    return [
        {
            "metadata": _metadata(name),
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": kind, "apiGroup": _RBAC, "name": who} for kind, who in subjects],
        }
        for name, (role, subjects) in BINDINGS.items()
    ] + [_of_account(role, account) for role, account in controller_roles.accounts().items()]


def _of_account(role: str, account: str) -> Json:
    return {
        "metadata": _metadata(role),
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}],
    }

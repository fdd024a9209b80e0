"""The roles of the controllers that run with accounts of their own in kube-system (pure).

`system:controller:NAME` is bound to kube-system's ServiceAccount NAME. Source: the default controller policy of
Kubernetes 1.36, cut to the kinds that are served.
"""

from typing import Any

Json = dict[str, Any]

# group/resource, with spaces between: verbs. "core" is the group without a name.
_SEE, _FIND = "get list watch", "list watch"
_OWN = "create delete get list patch update watch"
_TABLE: dict[str, dict[str, str]] = {
    "clusterrole-aggregation-controller": {"rbac.authorization.k8s.io/clusterroles": f"escalate {_SEE} patch update"},
    "cronjob-controller": {
        "batch/cronjobs": f"{_SEE} update", "batch/jobs": _OWN, "batch/cronjobs/status": "update",
        "batch/cronjobs/finalizers": "update", "core/pods": f"delete {_FIND}",
    },
    "daemon-set-controller": {
        "apps/daemonsets": _SEE, "apps/daemonsets/status apps/daemonsets/finalizers": "update", "core/nodes": _FIND,
        "core/pods": f"create delete {_FIND} patch", "core/pods/binding": "create", "apps/controllerrevisions": _OWN,
    },
    "deployment-controller": {
        "apps/deployments": f"{_SEE} update", "apps/deployments/status apps/deployments/finalizers": "update",
        "apps/replicasets": _OWN, "core/pods": f"{_SEE} update",
    },
    "endpoint-controller": {
        "core/services core/pods": _SEE, "core/endpoints": f"create delete {_SEE} update",
        "core/endpoints/restricted": "create",
    },
    "endpointslice-controller": {
        "core/services core/pods core/nodes": _SEE, "core/services/finalizers": "update",
        "discovery.k8s.io/endpointslices": f"create delete {_SEE} update",
    },
    "endpointslicemirroring-controller": {
        "core/services core/endpoints": _SEE, "core/services/finalizers core/endpoints/finalizers": "update",
        "discovery.k8s.io/endpointslices": f"create delete {_SEE} update",
    },
    "generic-garbage-collector": {"*/*": f"delete {_SEE} patch update"},
    "job-controller": {
        "batch/jobs": f"{_SEE} patch update", "batch/jobs/status batch/jobs/finalizers": "update",
        "core/pods": f"create delete {_FIND} patch",
    },
    "namespace-controller": {
        "core/namespaces": f"delete {_SEE}", "core/namespaces/finalize core/namespaces/status": "update",
        "*/*": f"delete deletecollection {_SEE}",
    },
    "node-controller": {
        "core/nodes": f"delete {_SEE} patch update", "core/nodes/status": "patch update",
        "core/pods/status": "patch update", "core/pods": f"delete {_SEE}",
    },
    "pod-garbage-collector": {
        "core/pods": f"delete {_SEE}", "core/nodes": _SEE, "core/pods/status": "patch update",
    },
    "replicaset-controller": {
        "apps/replicasets": f"{_SEE} update", "apps/replicasets/status apps/replicasets/finalizers": "update",
        "core/pods": f"create delete {_FIND} patch",
    },
    "root-ca-cert-publisher": {"core/configmaps": "create update"},
    "route-controller": {"core/nodes": _FIND, "core/nodes/status": "patch"},
    "service-account-controller": {"core/serviceaccounts": "create"},
    "service-cidrs-controller": {
        "networking.k8s.io/servicecidrs": f"{_SEE} patch update",
        "networking.k8s.io/servicecidrs/finalizers networking.k8s.io/servicecidrs/status": "patch update",
        "networking.k8s.io/ipaddresses": _SEE,
    },
    "service-controller": {"core/services": _SEE, "core/services/status": "patch update", "core/nodes": _FIND},
    "statefulset-controller": {
        "core/pods": f"create delete {_SEE} patch update", "apps/statefulsets": _SEE,
        "apps/statefulsets/status apps/statefulsets/finalizers": "update", "apps/controllerrevisions": _OWN,
    },
    "taint-eviction-controller": {
        "core/nodes": _SEE, "core/pods": f"delete {_SEE}", "core/pods/status": "patch update",
    },
    "ttl-after-finished-controller": {"batch/jobs": f"delete {_SEE}"},
    "ttl-controller": {"core/nodes": f"{_FIND} patch update"},
}  # fmt: skip
_WITHOUT_EVENTS = frozenset({
    "clusterrole-aggregation-controller", "namespace-controller", "taint-eviction-controller",
})  # fmt: skip
_EVENTS: Json = {
    "verbs": ["create", "patch", "update"],
    "apiGroups": ["", "events.k8s.io"],
    "resources": ["events"],
}


def roles() -> dict[str, list[Json]]:
    """Rules of each role, by its name."""
    return {f"system:controller:{name}": _rules(name, table) for name, table in _TABLE.items()}


def accounts() -> dict[str, str]:
    """The ServiceAccount in kube-system that each role is bound to."""
    return {f"system:controller:{name}": name for name in _TABLE}


def _rules(name: str, table: dict[str, str]) -> list[Json]:
    rules = [_rule(resources.split(), sorted(set(verbs.split()))) for resources, verbs in table.items()]
    return rules if name in _WITHOUT_EVENTS else [*rules, _EVENTS]


def _rule(resources: list[str], verbs: list[str]) -> Json:
    group = resources[0].partition("/")[0]
    return {
        "verbs": verbs,
        "apiGroups": ["" if group == "core" else group],
        "resources": [one.partition("/")[2] for one in resources],
    }

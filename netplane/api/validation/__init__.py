"""What an object must be to be stored: everything wrong with it in one pass, in Kubernetes' words.

Objects are validated after defaulting; types are already right (netplane.api.typecheck). Source: the validation of
Kubernetes 1.36 for the served groups.
"""

from collections.abc import Callable
from typing import Any

from netplane.api.fields import FieldError
from netplane.api.kinds import Kind
from netplane.api.validation import (
    access,
    cron_jobs,
    endpoints,
    events,
    ingress,
    job_status,
    jobs,
    meta,
    networking,
    nodes,
    others,
    pod,
    rare_kinds,
    service,
    stateful_sets,
    workload_status,
    workloads,
)

Json = dict[str, Any]
Validate = Callable[[Json, Json | None], list[FieldError]]


def validate(kind: Kind, obj: Json, old: Json | None = None, part: str = "") -> list[FieldError]:
    """All field errors of an object; `old` is what it replaces, None when it is new.

    `part` is the subresource that was written ("": the object itself).
    """
    name_check, own = _BY_KIND.get((kind.group, kind.kind), (meta.subdomain, None))
    if old is None:
        errors = [] if kind.kind == "Event" else meta.create(obj.get("metadata") or {}, kind.namespaced, name_check)
    else:
        errors = _metadata(kind, obj.get("metadata") or {}, old.get("metadata") or {}, part)
        if (kind.group, kind.kind) not in _READ_METADATA and _same_content(obj, old):
            return errors
    own = _BY_PART.get((kind.group, kind.kind, part), own)
    return errors + (own(obj, old) if own else [])


def _metadata(kind: Kind, new: Json, old: Json, part: str) -> list[FieldError]:
    """What is wrong with changed metadata, as often as the real server says it: at the door, and as each kind's own."""
    errors = meta.create(new, kind.namespaced, meta.segment) + meta.update(new, old)
    if not errors:
        return []
    name = (kind.group, kind.kind)
    if (*name, part) in _NOT_AGAIN:
        return errors
    if name in _TWICE and not part:  # once more as if it were new
        errors += meta.create(new, kind.namespaced, _BY_KIND[name][0])
    return errors + meta.update(new, old)


_NOT_AGAIN = frozenset({("", "Event", ""), ("batch", "CronJob", "status")})
_TWICE = frozenset({
    ("", "ConfigMap"), ("", "Secret"), ("", "ServiceAccount"), ("", "Namespace"), ("", "Pod"), ("", "Node"),
    ("", "Endpoints"), ("apps", "ControllerRevision"), ("batch", "Job"),
    *(("networking.k8s.io", one) for one in ("Ingress", "IngressClass", "IPAddress")),
    *(("rbac.authorization.k8s.io", one) for one in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")),
})  # fmt: skip


def _same_content(obj: Json, old: Json) -> bool:
    """Whether nothing but metadata changed: the rest was valid before."""
    return all(obj.get(key) == old.get(key) for key in {*obj, *old} if key != "metadata")


# Their own checks look at metadata, or at what a change of it means.
_READ_METADATA = frozenset(
    {
        ("", "Service"),
        ("", "Pod"),
        ("", "Node"),
        ("", "Event"),
        ("events.k8s.io", "Event"),
        ("", "Secret"),
        ("batch", "CronJob"),
    }
)
_RBAC = "rbac.authorization.k8s.io"
_BY_KIND: dict[tuple[str, str], tuple[meta.NameCheck, Validate | None]] = {
    ("", "Service"): (meta.label, service.validate),
    ("", "Namespace"): (meta.label, others.namespace),
    ("", "Node"): (meta.subdomain, nodes.node),
    ("", "Pod"): (meta.subdomain, pod.validate),
    ("", "Endpoints"): (meta.subdomain, endpoints.endpoints),
    ("", "ConfigMap"): (meta.subdomain, others.config_map),
    ("", "Event"): (meta.subdomain, events.core_event),
    ("events.k8s.io", "Event"): (meta.subdomain, events.event),
    ("discovery.k8s.io", "EndpointSlice"): (meta.subdomain, endpoints.endpoint_slice),
    ("coordination.k8s.io", "Lease"): (meta.subdomain, others.lease),
    ("", "Secret"): (meta.subdomain, access.secret),
    ("networking.k8s.io", "NetworkPolicy"): (meta.subdomain, networking.network_policy),
    ("networking.k8s.io", "Ingress"): (meta.subdomain, ingress.ingress),
    ("networking.k8s.io", "IngressClass"): (meta.subdomain, ingress.ingress_class),
    ("networking.k8s.io", "ServiceCIDR"): (meta.subdomain, networking.service_cidr),
    ("networking.k8s.io", "IPAddress"): (networking.ip_name, networking.ip_address),
    ("apps", "Deployment"): (meta.subdomain, workloads.deployment),
    ("apps", "ReplicaSet"): (meta.subdomain, workloads.replica_set),
    ("apps", "StatefulSet"): (meta.label, stateful_sets.stateful_set),
    ("apps", "DaemonSet"): (meta.subdomain, workloads.daemon_set),
    ("apps", "ControllerRevision"): (meta.subdomain, access.revision),
    ("batch", "Job"): (meta.subdomain, jobs.job),
    ("batch", "CronJob"): (meta.subdomain, cron_jobs.cron_job),
    (_RBAC, "Role"): (meta.segment, access.role),
    (_RBAC, "ClusterRole"): (meta.segment, access.cluster_role),
    (_RBAC, "RoleBinding"): (meta.segment, access.binding),
    (_RBAC, "ClusterRoleBinding"): (meta.segment, access.binding),
    **rare_kinds.BY_KIND,
}
_BY_PART: dict[tuple[str, str, str], Validate] = {
    ("", "Namespace", "status"): others.namespace_status,
    ("", "Namespace", "finalize"): others.namespace_finalized,
    ("", "Node", "status"): nodes.node_status,
    ("apps", "Deployment", "status"): workload_status.deployment,
    ("apps", "ReplicaSet", "status"): workload_status.replica_set,
    ("apps", "StatefulSet", "status"): workload_status.stateful_set,
    ("apps", "DaemonSet", "status"): workload_status.daemon_set,
    ("batch", "Job", "status"): job_status.job_status,
    ("batch", "CronJob", "status"): cron_jobs.cron_job_status,
    ("", "Service", "status"): service.status,
    ("", "Pod", "ephemeralcontainers"): pod.looked_at,
    ("", "Pod", "resize"): pod.resized,
    ("", "Pod", "status"): pod.status,
    **rare_kinds.BY_PART,
}
"""What of those checks is another one where a part of the object is written."""

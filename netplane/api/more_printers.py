"""Printers of Secrets, policies, Ingress, RBAC and workloads: the columns that kubectl users know."""

import re
from typing import Any

from netplane.api.table import AGE, NAME, NONE, Column, Json, Now, Printer, age, duration, get, name, pairs, since


def _secret(obj: Json, now: Now) -> list[Any]:
    return [name(obj), obj.get("type", ""), len(obj.get("data") or {}), age(obj, now)]


def _bare(obj: Json, now: Now) -> list[Any]:
    return [name(obj), age(obj, now)]


_OPERATORS = {"In": "in", "NotIn": "notin"}


def selector(given: Json | None, empty: str = NONE) -> str:
    """A LabelSelector as kubectl writes it: in order of its keys."""
    given = given or {}
    parts = [(key, f"{key}={value}") for key, value in (given.get("matchLabels") or {}).items()]
    for one in given.get("matchExpressions") or []:
        key, operator = one.get("key", ""), one.get("operator", "")
        if operator in _OPERATORS:
            parts.append((key, f"{key} {_OPERATORS[operator]} ({','.join(sorted(one.get('values') or []))})"))
        else:
            parts.append((key, key if operator == "Exists" else f"!{key}"))
    return ",".join(text for _, text in sorted(parts, key=lambda part: part[0])) or empty


def _network_policy(obj: Json, now: Now) -> list[Any]:
    return [name(obj), selector(get(obj, "spec", "podSelector")), age(obj, now)]


def _ingress(obj: Json, now: Now) -> list[Any]:
    spec = obj.get("spec") or {}
    ports = "80, 443" if spec.get("tls") else "80"
    chosen = spec.get("ingressClassName")
    shown = NONE if chosen is None else chosen
    return [name(obj), shown, _hosts(spec.get("rules") or []), ",".join(ingress_points(obj)), ports, age(obj, now)]


def ingress_points(obj: Json) -> list[str]:
    """Addresses, or names, of a load balancer, each once."""
    found = [one.get("ip") or one.get("hostname") for one in get(obj, "status", "loadBalancer", "ingress") or []]
    return sorted({one for one in found if one})


def _hosts(rules: list[Json]) -> str:
    """The first three hosts, and how many rules there are beyond three, if one comes after the third host."""
    named = [i for i, rule in enumerate(rules) if rule.get("host")][:3]
    shown = ",".join(rules[i]["host"] for i in named) or "*"
    more = len(named) == 3 and named[-1] < len(rules) - 1
    return f"{shown} + {len(rules) - 3} more..." if more else shown


_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"


def _ingress_class(obj: Json, now: Now) -> list[Any]:
    spec = obj.get("spec") or {}
    parameters = spec.get("parameters")
    shown = NONE
    if parameters:
        kind = parameters.get("kind", "")
        kind = f"{kind}.{parameters['apiGroup']}" if parameters.get("apiGroup") else kind
        shown = f"{kind}/{parameters.get('name', '')}"
    chosen = (obj["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
    return [name(obj) + (" (default)" if chosen else ""), spec.get("controller", ""), shown, age(obj, now)]


def _service_cidr(obj: Json, now: Now) -> list[Any]:
    return [name(obj), ",".join(get(obj, "spec", "cidrs") or []), age(obj, now)]


def _ip_address(obj: Json, now: Now) -> list[Any]:
    parent = get(obj, "spec", "parentRef") or {}
    group = f".{parent['group']}" if parent.get("group") else ""
    named = "/".join(parent[key] for key in ("namespace", "name") if parent.get(key))
    shown = f"{parent.get('resource', '')}{group}".lower() + f"/{named}" if parent else NONE
    return [name(obj), shown, age(obj, now)]  # a cell that no column names, as on the real server


def container_cells(spec: Json) -> tuple[str, str]:
    """Names and images of the containers in a template, each in one cell."""
    containers = get(spec, "template", "spec", "containers") or []
    return ",".join(one.get("name", "") for one in containers), ",".join(one.get("image", "") for one in containers)


def _deployment(obj: Json, now: Now) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        name(obj),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age(obj, now),
        *container_cells(spec),
        selector(spec.get("selector"), empty=""),
    ]


def _replica_set(obj: Json, now: Now) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    counts = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [name(obj), *counts, age(obj, now), *container_cells(spec), selector(spec.get("selector"))]


def _stateful_set(obj: Json, now: Now) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    return [name(obj), ready, age(obj, now), *container_cells(spec)]


def _daemon_set(obj: Json, now: Now) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    fields = (
        "desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable",
    )  # fmt: skip
    return [
        name(obj),
        *(status.get(field, 0) for field in fields),
        pairs(get(spec, "template", "spec", "nodeSelector")),
        age(obj, now),
        *container_cells(spec),
        selector(spec.get("selector")),
    ]


def _job(obj: Json, now: Now) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    done, parallel = status.get("succeeded", 0), spec.get("parallelism", 0)
    wanted = spec.get("completions")
    completions = (
        f"{done}/{wanted}" if wanted is not None else f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"
    )
    took = ""
    if status.get("startTime"):
        took = since(status["startTime"], now)
        if status.get("completionTime"):
            took = duration(_seconds(status["completionTime"]) - _seconds(status["startTime"]))
    state = _job_state(obj, status)
    return [name(obj), state, completions, took, age(obj, now), *container_cells(spec), selector(spec.get("selector"))]


def _seconds(timestamp: str) -> int:
    return int(Now.fromisoformat(re.sub("Z$", "+00:00", timestamp)).timestamp())


def _job_state(obj: Json, status: Json) -> str:
    true = {one.get("type") for one in status.get("conditions") or [] if one.get("status") == "True"}
    if obj["metadata"].get("deletionTimestamp"):
        true.add("Terminating")
    ranked = ("Complete", "Failed", "Terminating", "Suspended", "FailureTarget", "SuccessCriteriaMet")
    return next((state for state in ranked if state in true), "Running")


def _cron_job(obj: Json, now: Now) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    last = since(status["lastScheduleTime"], now) if status.get("lastScheduleTime") else NONE
    job = get(spec, "jobTemplate", "spec") or {}
    return [
        name(obj),
        spec.get("schedule", ""),
        NONE if spec.get("timeZone") is None else spec["timeZone"],
        "True" if spec.get("suspend") else "False",
        len(status.get("active") or []),
        last,
        age(obj, now),
        *container_cells(job),
        selector(job.get("selector")),
    ]


def _revision(obj: Json, now: Now) -> list[Any]:
    owner = next((one for one in obj["metadata"].get("ownerReferences") or [] if one.get("controller")), None)
    controller = NONE
    if owner:
        group = owner.get("apiVersion", "").rpartition("/")[0]
        controller = f"{owner.get('kind', '').lower()}{'.' if group else ''}{group}/{owner.get('name', '')}"
    return [name(obj), controller, obj.get("revision", 0), age(obj, now)]


def _role(obj: Json, now: Now) -> list[Any]:
    return [name(obj), obj["metadata"].get("creationTimestamp", "")]


def _binding(obj: Json, now: Now) -> list[Any]:
    ref = obj.get("roleRef") or {}
    named: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for one in obj.get("subjects") or []:
        kind, whom = one.get("kind", ""), one.get("name", "")
        named.get(kind, []).append(f"{one.get('namespace', '')}/{whom}" if kind == "ServiceAccount" else whom)
    role = f"{ref.get('kind', '')}/{ref.get('name', '')}"
    return [name(obj), role, age(obj, now), *(", ".join(group) for group in named.values())]


def counts(*columns: tuple[str, str]) -> tuple[Column, ...]:
    """Columns of whole numbers."""
    return tuple(Column(title, about, type="integer") for title, about in columns)


WIDE_CONTAINERS = (
    Column("Containers", "Names of each container in the template.", wide=True),
    Column("Images", "Images referenced by each container in the template.", wide=True),
)
SELECTOR = Column("Selector", "spec.selector", wide=True)
_CREATED = Column("Created At", "metadata.creationTimestamp", type="date")
BARE = Printer((NAME, AGE), _bare)


def _bindings(kind: str) -> Printer:
    subjects = (Column(whom, f"{whom} in the {kind}", wide=True) for whom in ("Users", "Groups", "ServiceAccounts"))
    return Printer((NAME, Column("Role", "roleRef"), AGE, *subjects), _binding)


_NET, _RBAC = "networking.k8s.io", "rbac.authorization.k8s.io"

PRINTERS: dict[tuple[str, str], Printer] = {
    ("", "Secret"): Printer((NAME, Column("Type", "type"), Column("Data", "data"), AGE), _secret),
    ("", "ServiceAccount"): BARE,
    (_NET, "NetworkPolicy"): Printer((NAME, Column("Pod-Selector", "spec.podSelector"), AGE), _network_policy),
    (_NET, "Ingress"): Printer(
        (
            NAME,
            Column("Class", "The name of the IngressClass resource that should be used for additional configuration"),
            Column("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
            Column("Address", "Address is a list containing ingress points for the load-balancer"),
            Column("Ports", "Ports of TLS configurations that open"),
            AGE,
        ),
        _ingress,
    ),
    (_NET, "IngressClass"): Printer(
        (
            NAME,
            Column("Controller", "Controller that is responsible for handling this class"),
            Column("Parameters", "A reference to a resource with additional parameters"),
            AGE,
        ),
        _ingress_class,
    ),
    (_NET, "ServiceCIDR"): Printer((NAME, Column("CIDRs", "spec.cidrs"), AGE), _service_cidr),
    (_NET, "IPAddress"): Printer((NAME, Column("ParentRef", "spec.parentRef")), _ip_address),
    ("apps", "Deployment"): Printer(
        (
            NAME,
            Column("Ready", "Number of the pod with ready state"),
            Column("Up-to-date", "status.updatedReplicas"),
            Column("Available", "status.availableReplicas"),
            AGE,
            *WIDE_CONTAINERS,
            SELECTOR,
        ),
        _deployment,
    ),
    ("apps", "ReplicaSet"): Printer(
        (
            NAME,
            *counts(("Desired", "spec.replicas"), ("Current", "status.replicas"), ("Ready", "status.readyReplicas")),
            AGE,
            *WIDE_CONTAINERS,
            SELECTOR,
        ),
        _replica_set,
    ),
    ("apps", "StatefulSet"): Printer(
        (NAME, Column("Ready", "Number of the pod with ready state"), AGE, *WIDE_CONTAINERS), _stateful_set
    ),
    ("apps", "DaemonSet"): Printer(
        (
            NAME,
            *counts(
                ("Desired", "status.desiredNumberScheduled"),
                ("Current", "status.currentNumberScheduled"),
                ("Ready", "status.numberReady"),
                ("Up-to-date", "status.updatedNumberScheduled"),
                ("Available", "status.numberAvailable"),
            ),
            Column("Node Selector", "spec.template.spec.nodeSelector"),
            AGE,
            *WIDE_CONTAINERS,
            SELECTOR,
        ),
        _daemon_set,
    ),
    ("apps", "ControllerRevision"): Printer(
        (
            NAME,
            Column("Controller", "Controller of the object"),
            Column("Revision", "revision"),
            AGE,
        ),
        _revision,
    ),
    ("batch", "Job"): Printer(
        (
            NAME,
            Column("Status", "Status of the job."),
            Column("Completions", "status.succeeded"),
            Column("Duration", "Time required to complete the job."),
            AGE,
            *WIDE_CONTAINERS,
            SELECTOR,
        ),
        _job,
    ),
    ("batch", "CronJob"): Printer(
        (
            NAME,
            Column("Schedule", "spec.schedule"),
            Column("Timezone", "spec.timeZone"),
            Column("Suspend", "spec.suspend", type="boolean"),
            *counts(("Active", "status.active")),
            Column("Last Schedule", "status.lastScheduleTime"),
            AGE,
            *WIDE_CONTAINERS,
            Column("Selector", "spec.jobTemplate.spec.selector", wide=True),
        ),
        _cron_job,
    ),
    (_RBAC, "Role"): Printer((NAME, _CREATED), _role),
    (_RBAC, "ClusterRole"): Printer((NAME, _CREATED), _role),
    (_RBAC, "RoleBinding"): _bindings("roleBinding"),
    (_RBAC, "ClusterRoleBinding"): _bindings("clusterRoleBinding"),
}

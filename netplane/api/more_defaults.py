"""Defaults of the kinds that a network reads little of: policies, Ingress, RBAC, workloads (pure).

Source: the defaults of networking/v1, rbac/v1, apps/v1 and batch/v1 in Kubernetes 1.36.
"""

import base64
from collections.abc import Callable
from typing import Any

from netplane.api import errors, go_numbers, pod_defaults
from netplane.api.pod_defaults import fill, parts

Json = dict[str, Any]

RBAC = "rbac.authorization.k8s.io"


def _secret(obj: Json) -> None:
    """stringData is for writing: it is stored, encoded, in data."""
    fill(obj, {"type": "Opaque"})
    text = obj.pop("stringData", None)
    if text:
        encoded = {key: base64.b64encode((value or "").encode()).decode() for key, value in text.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}


def _network_policy(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, {"podSelector": {}}, zero_counts=False)
    fill(spec, {"ingress[].ports[].protocol": "TCP", "egress[].ports[].protocol": "TCP"}, zero_counts=False)
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _ingress(obj: Json) -> None:
    parts(obj, "spec", "status")
    obj["status"].setdefault("loadBalancer", {})


def _ingress_class(obj: Json) -> None:
    fill(obj, {"spec": {}, "spec.parameters.scope": "Cluster"}, zero_counts=False)


def _service_cidr(obj: Json) -> None:
    parts(obj, "spec", "status")


def _binding(obj: Json) -> None:
    fill(obj, {"roleRef": {}}, zero_counts=False)
    fill(obj["roleRef"], {"apiGroup": RBAC})
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            fill(subject, {"apiGroup": RBAC})


def _role(obj: Json) -> None:
    obj.setdefault("rules", None)  # Go writes it, null when there is none


def _labels_of_template(obj: Json) -> None:
    """The very same labels: what is added to the template's is added to the object's."""
    labels = (obj["spec"]["template"].get("metadata") or {}).get("labels")
    metadata = obj.setdefault("metadata", {})
    if labels and not metadata.get("labels"):
        metadata["labels"] = labels


def _workload(obj: Json) -> Json:
    parts(obj, "spec", "status")
    spec: Json = obj["spec"]
    pod_defaults.apply_template(spec)
    return spec


def _deployment(obj: Json) -> None:
    spec = _workload(obj)
    given = {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600, "strategy": {}}
    fill(spec, given, zero_counts=False)
    strategy = spec["strategy"]
    fill(strategy, {"type": "RollingUpdate"})
    if strategy["type"] == "RollingUpdate":
        fill(strategy, {"rollingUpdate": {}}, zero_counts=False)
        fill(strategy["rollingUpdate"], {"maxUnavailable": "25%", "maxSurge": "25%"}, zero_counts=False)


def _replica_set(obj: Json) -> None:
    spec = _workload(obj)
    fill(spec, {"replicas": 1}, zero_counts=False)
    obj["status"].setdefault("replicas", 0)


def _stateful_set(obj: Json) -> None:
    spec = _workload(obj)
    fill(spec, {"podManagementPolicy": "OrderedReady"})
    given = {"replicas": 1, "revisionHistoryLimit": 10, "updateStrategy": {}, "serviceName": ""}
    fill(spec, given, zero_counts=False)
    strategy = spec["updateStrategy"]
    if not strategy.get("type"):
        fill(strategy, {"type": "RollingUpdate", "rollingUpdate": {}}, zero_counts=False)
    if strategy["type"] == "RollingUpdate":
        fill(strategy, {"rollingUpdate.partition": 0}, zero_counts=False)
    fill(spec, {"persistentVolumeClaimRetentionPolicy": {}}, zero_counts=False)
    fill(spec["persistentVolumeClaimRetentionPolicy"], {"whenDeleted": "Retain", "whenScaled": "Retain"})
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.update({"kind": "PersistentVolumeClaim", "apiVersion": "v1"})
        parts(claim, "spec", "status")
        fill(claim["spec"], {"volumeMode": "Filesystem"}, zero_counts=False)
        fill(claim["status"], {"phase": "Pending"})
    fill(obj["status"], {"replicas": 0, "availableReplicas": 0}, zero_counts=False)


TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
"""The annotation that counts a DaemonSet's templates."""


def _daemon_set(obj: Json) -> None:
    _template_generation(obj.setdefault("metadata", {}))
    spec = _workload(obj)
    fill(spec, {"revisionHistoryLimit": 10, "updateStrategy": {}}, zero_counts=False)
    fill(spec["updateStrategy"], {"type": "RollingUpdate"})
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        fill(spec["updateStrategy"], {"rollingUpdate": {}}, zero_counts=False)
        fill(spec["updateStrategy"]["rollingUpdate"], {"maxUnavailable": 1, "maxSurge": 0}, zero_counts=False)
    counts = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
    fill(obj["status"], dict.fromkeys(counts, 0), zero_counts=False)


def _template_generation(metadata: Json) -> None:
    """A number, 0 when there is none. Raises StatusError 400."""
    annotations = metadata["annotations"] = dict(metadata.get("annotations") or {})
    try:
        count = go_numbers.whole(annotations.get(TEMPLATE_GENERATION, "0"))
    except ValueError as error:
        raise errors.cannot_handle("DaemonSet", "apps/v1", str(error)) from error
    annotations[TEMPLATE_GENERATION] = str(count)


def _job_template(spec: Json) -> None:
    """What a Job and the template of one have in common."""
    pod_defaults.apply_template(spec)
    fill(spec, {"podFailurePolicy.rules[].onPodConditions[].status": "True"})


def _job_spec(spec: Json) -> None:
    _job_template(spec)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    elif spec.get("parallelism") is None:
        spec["parallelism"] = 1
    limit = 2**31 - 1 if spec.get("backoffLimitPerIndex") is not None else 6
    replacement = "Failed" if spec.get("podFailurePolicy") is not None else "TerminatingOrFailed"
    given = {"backoffLimit": limit, "completionMode": "NonIndexed", "suspend": False, "manualSelector": False}
    fill(spec, {**given, "podReplacementPolicy": replacement}, zero_counts=False)


def _job(obj: Json) -> None:
    parts(obj, "spec", "status")
    _job_spec(obj["spec"])
    _labels_of_template(obj)


def _cron_job(obj: Json) -> None:
    parts(obj, "spec", "status")
    spec = obj["spec"]
    fill(spec, {"concurrencyPolicy": "Allow"})
    fill(spec, {"suspend": False, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1}, zero_counts=False)
    template = spec.setdefault("jobTemplate", {})
    template.setdefault("metadata", {})
    _job_template(template.setdefault("spec", {}))


BY_KIND: dict[tuple[str, str], Callable[[Json], None]] = {
    ("", "Secret"): _secret,
    ("networking.k8s.io", "NetworkPolicy"): _network_policy,
    ("networking.k8s.io", "Ingress"): _ingress,
    ("networking.k8s.io", "IngressClass"): _ingress_class,
    ("networking.k8s.io", "ServiceCIDR"): _service_cidr,
    (RBAC, "RoleBinding"): _binding,
    (RBAC, "ClusterRoleBinding"): _binding,
    (RBAC, "Role"): _role,
    (RBAC, "ClusterRole"): _role,
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _cron_job,
}

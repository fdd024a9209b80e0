"""How pods come to be, change and go (pure)."""

from typing import Any

from netplane.api import pod_features, pod_resources
from netplane.apiserver.admission.strategy import Json, Strategy, keep, keep_metadata
from netplane.apiserver.wire.options import DeleteOptions

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
PATIENCE_S = 300
_RESIZED = ("resources", "resizePolicy")


class PodStrategy(Strategy):
    """Deleted gracefully once bound: its kubelet says when it is over."""

    answers_deleted = True
    counts_generations = True
    graceful = True

    def prepare_create(self, obj: Json) -> None:
        """Every pod starts Pending."""
        super().prepare_create(obj)
        obj["status"] = {"phase": "Pending"}

    def after_defaults(self, obj: Json) -> None:
        """What admission adds: the quality of service, and patience with nodes that are not ready."""
        spec = obj["spec"]
        obj["status"]["qosClass"] = pod_resources.qos_class(spec)
        pod_features.complete(obj, obj["metadata"]["creationTimestamp"])
        _be_patient(spec)

    def prepare_update(self, new: Json, old: Json) -> None:
        """What admission added stays where a client leaves it out."""
        super().prepare_update(new, old)
        spec, before = new["spec"], old["spec"]
        pod_features.drop_disabled(spec)
        for field in ("priority", "preemptionPolicy"):
            if spec.get(field) is None and before.get(field) is not None:
                spec[field] = before[field]
        _be_patient(spec)

    def prepare_part(self, part: str, new: Json, old: Json) -> None:
        """Containers to look around come, or resources change, and nothing else."""
        super().prepare_part(part, new, old)
        if part == "status":
            return
        spec = _looked_at(new, old) if part == "ephemeralcontainers" else _resized(new, old)
        if spec is None:
            return
        new["spec"] = spec
        keep(new, old, "status")
        keep_metadata(new, old)

    def prepare_status(self, new: Json, old: Json) -> None:
        """The quality of service and the owners are not the kubelet's to forget."""
        super().prepare_status(new, old)
        status, was = new.setdefault("status", {}), (old.get("status") or {}).get("qosClass")
        if was and not status.get("qosClass"):
            status["qosClass"] = was
        keep(new["metadata"], old["metadata"], "ownerReferences")
        _keep_generations(status, old.get("status") or {})

    def grace_s(self, obj: Json, options: DeleteOptions) -> int:
        """Nothing to wait for when no kubelet has it, or when it is over."""
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
            return 0
        given = spec.get("terminationGracePeriodSeconds") if options.grace_s is None else options.grace_s
        seconds = int(given or 0)
        return seconds if seconds >= 0 else 1


def _keep_generations(status: Json, old: Json) -> None:
    """Nor which form of the pod it, or a condition, speaks of."""
    if not status.get("observedGeneration"):
        keep(status, old, "observedGeneration")
    told: dict[str, list[Json]] = {}
    for one in old.get("conditions") or ():
        told.setdefault(one.get("type", ""), []).append(one)
    for one in status.get("conditions") or ():
        had = told.get(one.get("type", ""))
        before = had.pop(0) if had else {}
        if not one.get("observedGeneration"):
            keep(one, before, "observedGeneration")


def _be_patient(spec: Json) -> None:
    """A node may be gone for a while, unless the pod says for how long."""
    tolerations = spec.setdefault("tolerations", [])
    for key in (NOT_READY, UNREACHABLE):
        if not any(_tolerates(one, key) for one in tolerations):
            tolerations.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": PATIENCE_S}
            )


def _tolerates(toleration: Json, key: str) -> bool:
    return toleration.get("effect") in (None, "", "NoExecute") and toleration.get("key") in (None, "", key)


def _looked_at(new: Json, old: Json) -> Json:
    spec = dict(old["spec"])
    keep(spec, new.get("spec") or {}, "ephemeralContainers")
    return spec


def _resized(new: Json, old: Json) -> Json | None:
    """The old spec with new resources; None when containers came, went or changed places, which is refused later."""
    spec, before = new["spec"], old["spec"]
    made = dict(before)
    keep(made, spec, "resources")
    for field in ("containers", "initContainers"):
        given, had = spec.get(field) or [], before.get(field) or []
        if len(given) != len(had):
            return None
        renamed = any(one.get("name") != was.get("name") for one, was in zip(given, had, strict=True))
        made[field] = given if renamed else [_container(*pair) for pair in zip(given, had, strict=True)]
        if not made[field]:
            made.pop(field)
    return made


def _container(new: Json, old: Json) -> Any:
    made = dict(old)
    for field in _RESIZED:
        keep(made, new, field)
    return made

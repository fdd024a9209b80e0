"""What of a new pod the server rewrites: fields that are switched off, and what fields and annotations imply (pure).

Source: the registry of pods and the feature gates of Kubernetes 1.36, as they are set there.
"""

from typing import Any

from netplane.api.pod_refs import APP_ARMOR, containers, is_windows, projected

Json = dict[str, Any]

_OFF_SOURCES = ("clusterTrustBundle", "podCertificate")
GATED = "SchedulingGated"


def drop_disabled(spec: Json) -> None:
    """Leave out the fields of features that are off, in place."""
    spec.pop("schedulingGroup", None)
    for volume in spec.get("volumes") or ():
        for source in projected(volume):
            for field in _OFF_SOURCES:
                source.pop(field, None)
    for container in containers(spec):
        life = container.get("lifecycle")
        if life is not None and life.pop("stopSignal", None) is not None and not life:
            del container["lifecycle"]


def complete(pod: Json, now: str) -> None:
    """What follows from the fields of a new pod, in place. `now`: the time of its creation."""
    drop_disabled(pod["spec"])
    if pod["spec"].get("schedulingGates"):
        pod["status"]["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": None,
                "lastTransitionTime": now,
                "reason": GATED,
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }
        ]
    _select_by_labels(pod)
    _confine(pod)


def _select_by_labels(pod: Json) -> None:
    """matchLabelKeys: what the pod's own labels say is asked of others."""
    labels, spec = pod["metadata"].get("labels") or {}, pod["spec"]
    for term in [*_pod_terms(spec.get("affinity") or {}), *(spec.get("topologySpreadConstraints") or ())]:
        for field, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
            if term.get("labelSelector") is None:
                continue
            more = [
                {"key": key, "operator": operator, "values": [labels[key]]}
                for key in term.get(field) or ()
                if key in labels
            ]
            if more:
                term["labelSelector"].setdefault("matchExpressions", []).extend(more)


def _pod_terms(affinity: Json) -> list[Json]:
    found: list[Json] = []
    for field in ("podAffinity", "podAntiAffinity"):
        of = affinity.get(field) or {}
        weighted = of.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        found += [one.get("podAffinityTerm") or {} for one in weighted]
        found += of.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
    return found


def _confine(pod: Json) -> None:
    """AppArmor: what an annotation says, its field says too."""
    spec, given = pod["spec"], pod["metadata"].get("annotations") or {}
    if is_windows(spec):
        return
    whole = (spec.get("securityContext") or {}).get("appArmorProfile")
    for container in containers(spec):
        own = (container.get("securityContext") or {}).get("appArmorProfile")
        told = app_armor(given.get(f"{APP_ARMOR}{container.get('name', '')}"))
        if own is None and told is not None and told != whole:
            container.setdefault("securityContext", {})["appArmorProfile"] = told


def app_armor(annotation: str | None) -> Json | None:
    """The profile that an annotation names; None for none and for one that is no good."""
    kinds = {"unconfined": "Unconfined", "runtime/default": "RuntimeDefault"}
    if annotation in kinds:
        return {"type": kinds[annotation]}
    profile = (annotation or "").removeprefix("localhost/")
    good = profile != annotation and profile and profile == profile.strip() and len(profile.encode()) < 4096
    return {"type": "Localhost", "localhostProfile": profile} if good and annotation is not None else None

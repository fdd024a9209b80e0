"""ReplicationController, PodTemplate. Source: core/v1 validation of Kubernetes 1.36."""

from typing import Any

from netplane.api.fields import FieldError, invalid, required
from netplane.api.validation import meta
from netplane.api.validation.workloads import NO_MATCH, lasting, pod_template

Json = dict[str, Any]


def replication_controller(obj: Json, old: Json | None) -> list[FieldError]:
    """core/v1 ReplicationController: so many pods with certain labels."""
    del old
    spec = obj["spec"]
    selector, template, path = spec.get("selector") or {}, spec.get("template"), "spec.template"
    errors = meta.not_negative(spec, "minReadySeconds", path="spec")
    errors += [] if selector else [required("spec.selector")]
    errors += meta.not_negative(spec, "replicas", path="spec")
    if template is None:
        return [*errors, required(path)]
    labels = (template.get("metadata") or {}).get("labels")
    if any((labels or {}).get(key) != value for key, value in selector.items()):
        shown = labels and dict(sorted(labels.items()))
        errors.append(invalid(f"{path}.metadata.labels", shown, NO_MATCH))
    return errors + pod_template(spec, path) + lasting(template.get("spec") or {}, "ReplicationController")


def template(obj: Json, old: Json | None) -> list[FieldError]:
    """core/v1 PodTemplate."""
    del old
    return pod_template(obj, "template")

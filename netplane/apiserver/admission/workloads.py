"""Strategies of the kinds that are served for others: workloads, policies, Ingress, RBAC, Secrets, addresses."""

from typing import Any

from netplane.api import kinds
from netplane.api.kinds import Kind
from netplane.api.more_defaults import TEMPLATE_GENERATION
from netplane.apiserver.admission.strategy import Json, Strategy, keep, keep_metadata


class Counted(Strategy):
    """Its generation grows with its content."""

    counts_generations = True


class CreatedByPut(Strategy):
    """PUT creates."""

    create_on_update = True


class SecretStrategy(Strategy):
    """Its type is given once."""

    def prepare_update(self, new: Json, old: Json) -> None:
        """A type that is not told stays."""
        super().prepare_update(new, old)
        if not new.get("type"):
            new["type"] = old.get("type")


class ServiceAccountStrategy(Strategy):
    """DELETE answers with the object. Of its Secrets only the names are kept."""

    answers_deleted = True

    def prepare_create(self, obj: Json) -> None:
        """Drop the rest."""
        super().prepare_create(obj)
        _only_names(obj)

    def prepare_update(self, new: Json, old: Json) -> None:
        """The same."""
        super().prepare_update(new, old)
        _only_names(new)


def _only_names(obj: Json) -> None:
    if obj.get("secrets"):
        obj["secrets"] = [{"name": one["name"]} if one.get("name") else {} for one in obj["secrets"]]


class ServiceCidrStrategy(Strategy):
    """A write of its status leaves labels and the like alone."""

    def prepare_status(self, new: Json, old: Json) -> None:
        """Nothing but the status is written."""
        super().prepare_status(new, old)
        keep_metadata(new, old)


_UID_LABELS = ("batch.kubernetes.io/controller-uid", "controller-uid")
_NAME_LABELS = ("batch.kubernetes.io/job-name", "job-name")


class DeploymentStrategy(Counted):
    """Its annotations count too: its controller hands them on to its ReplicaSets. Its status has no labels."""

    def content(self, obj: Json) -> Any:
        """Everything but the status and the rest of the metadata."""
        return super().content(obj), obj["metadata"].get("annotations") or {}

    def reset(self, part: str, new: Json, old: Json) -> None:
        """Labels stay with the status, and with whom they belong to."""
        if part == "status":
            keep(new["metadata"], old["metadata"], "labels")


class StatefulSetStrategy(Counted):
    """How many of its pods may be missing at a time is for its controller to say, while that is no feature for all."""

    def after_defaults(self, obj: Json) -> None:
        """Drop what is not to be had."""
        _drop_unavailable(obj)

    def prepare_update(self, new: Json, old: Json) -> None:
        """The same, unless it was there before."""
        super().prepare_update(new, old)
        strategy: Json = (old.get("spec") or {}).get("updateStrategy") or {}
        if "maxUnavailable" not in (strategy.get("rollingUpdate") or {}):
            _drop_unavailable(new)


def _drop_unavailable(obj: Json) -> None:
    strategy: Json = (obj.get("spec") or {}).get("updateStrategy") or {}
    if strategy.get("rollingUpdate"):
        strategy["rollingUpdate"].pop("maxUnavailable", None)


class DaemonSetStrategy(Counted):
    """Changes of its template are counted in an annotation, which nobody else may set."""

    def after_defaults(self, obj: Json) -> None:
        """The first template."""
        _count_templates(obj, max(1, _templates(obj)))

    def prepare_update(self, new: Json, old: Json) -> None:
        """One more, when the template is another one."""
        super().prepare_update(new, old)
        changed = new["spec"].get("template") != (old.get("spec") or {}).get("template")
        _count_templates(new, _templates(old) + changed)

    def prepare_status(self, new: Json, old: Json) -> None:
        """The count stays."""
        super().prepare_status(new, old)
        _count_templates(new, _templates(old))


def _templates(obj: Json) -> int:
    return int((obj["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, 0))


def _count_templates(obj: Json, count: int) -> None:
    metadata = obj["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TEMPLATE_GENERATION: str(count)}


class JobStrategy(Counted):
    """Its pods are found by its own uid, unless the user selects them."""

    def after_defaults(self, obj: Json) -> None:
        """Labels on the template, and the selector that finds them."""
        spec, uid, name = obj["spec"], obj["metadata"]["uid"], obj["metadata"].get("name", "")
        if spec.get("manualSelector"):
            return
        labels = spec["template"]["metadata"].setdefault("labels", {})
        for key in _UID_LABELS:
            labels.setdefault(key, uid)
        for key in _NAME_LABELS:
            labels.setdefault(key, name)
        selector = spec.setdefault("selector", {})
        selector.setdefault("matchLabels", {}).setdefault(_UID_LABELS[0], uid)

    def canonical(self, obj: Json) -> None:
        """A Job without labels has those of its pods, which were checked."""
        labels = (obj["spec"]["template"].get("metadata") or {}).get("labels")
        if labels and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)

    def content(self, obj: Json) -> Any:
        """The spec."""
        return obj.get("spec")


OWN: dict[Kind, type[Strategy]] = {
    kinds.SECRET: SecretStrategy,
    kinds.SERVICE_ACCOUNT: ServiceAccountStrategy,
    kinds.NETWORK_POLICY: Counted,
    kinds.INGRESS: Counted,
    kinds.INGRESS_CLASS: Counted,
    kinds.SERVICE_CIDR: ServiceCidrStrategy,
    kinds.DEPLOYMENT: DeploymentStrategy,
    kinds.REPLICA_SET: Counted,
    kinds.STATEFUL_SET: StatefulSetStrategy,
    kinds.DAEMON_SET: DaemonSetStrategy,
    kinds.JOB: JobStrategy,
    kinds.CRON_JOB: Counted,
    kinds.ROLE: CreatedByPut,
    kinds.ROLE_BINDING: CreatedByPut,
    kinds.CLUSTER_ROLE: CreatedByPut,
    kinds.CLUSTER_ROLE_BINDING: CreatedByPut,
}

"""Strategies of the kinds that are served for others: workloads, policies, Ingress, RBAC, Secrets, addresses."""

import base64
from typing import Any

from netplane.api import kinds
from netplane.api.kinds import Kind
from netplane.apiserver.admission.strategy import Json, Strategy


class Counted(Strategy):
    """Its generation grows with its content."""

    counts_generations = True


class CreatedByPut(Strategy):
    """PUT creates."""

    create_on_update = True


class SecretStrategy(Strategy):
    """stringData is for writing: it is stored, encoded, in data."""

    def prepare_create(self, obj: Json) -> None:
        """Fold stringData in."""
        super().prepare_create(obj)
        _fold(obj)

    def prepare_update(self, new: Json, old: Json) -> None:
        """Fold stringData in; a type that is not told stays."""
        super().prepare_update(new, old)
        _fold(new)
        if not new.get("type"):
            new["type"] = old.get("type")


def _fold(obj: Json) -> None:
    text = obj.pop("stringData", None)
    if text:
        data = obj.setdefault("data", {})
        data.update({key: base64.b64encode((value or "").encode()).decode() for key, value in text.items()})


class ServiceAccountStrategy(Strategy):
    """DELETE answers with the object."""

    answers_deleted = True


class ServiceCidrStrategy(Strategy):
    """An update must name the version it saw."""

    unconditional_update = False


_UID_LABELS = ("batch.kubernetes.io/controller-uid", "controller-uid")
_NAME_LABELS = ("batch.kubernetes.io/job-name", "job-name")


class DeploymentStrategy(Counted):
    """Its annotations count too: its controller hands them on to its ReplicaSets."""

    def content(self, obj: Json) -> Any:
        """Everything but the status and the rest of the metadata."""
        return super().content(obj), obj["metadata"].get("annotations") or {}


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
    kinds.STATEFUL_SET: Counted,
    kinds.DAEMON_SET: Counted,
    kinds.JOB: JobStrategy,
    kinds.CRON_JOB: Counted,
    kinds.ROLE: CreatedByPut,
    kinds.ROLE_BINDING: CreatedByPut,
    kinds.CLUSTER_ROLE: CreatedByPut,
    kinds.CLUSTER_ROLE_BINDING: CreatedByPut,
}

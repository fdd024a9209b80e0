"""The strategies of the served kinds. A kind that is not named here has the plain one."""

from typing import Any

from netplane.api import kinds, services
from netplane.api.kinds import KINDS, Kind
from netplane.apiserver.admission import rare_kinds, workloads
from netplane.apiserver.admission.nodes import NodeStrategy
from netplane.apiserver.admission.pods import PodStrategy
from netplane.apiserver.admission.strategy import Json, Strategy, keep
from netplane.apiserver.admission.workloads import CreatedByPut


class NamespaceStrategy(Strategy):
    """Deleted in two steps: marked Terminating, then gone once emptied and no finalizer is left in its spec."""

    answers_deleted = True

    def prepare_create(self, obj: Json) -> None:
        """Every namespace starts Active."""
        super().prepare_create(obj)
        obj["status"] = {"phase": "Active"}

    def after_defaults(self, obj: Json) -> None:
        """And with the finalizer that waits for its contents to go."""
        finalizers = (obj.get("spec") or {}).get("finalizers") or []
        obj["spec"] = {"finalizers": finalizers if "kubernetes" in finalizers else [*finalizers, "kubernetes"]}

    def prepare_update(self, new: Json, old: Json) -> None:
        """spec.finalizers change through the finalize subresource only."""
        super().prepare_update(new, old)
        spec = new.setdefault("spec", {})
        spec["finalizers"] = (old.get("spec") or {}).get("finalizers", [])

    def prepare_part(self, part: str, new: Json, old: Json) -> None:
        """Who finalizes it says who still has to."""
        super().prepare_part(part, new, old)
        if part == "finalize":
            keep(new, old, "status")
            left = (new.get("spec") or {}).get("finalizers")
            new["spec"] = {"finalizers": left} if left else {}

    def mark_deleted(self, obj: Json) -> None:
        """Users see that it goes."""
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}

    def holds(self, obj: Json) -> bool:
        """Either kind of finalizer holds it."""
        return super().holds(obj) or bool((obj.get("spec") or {}).get("finalizers"))


class ServiceStrategy(Strategy):
    """Its addresses and ports are allocated with it (netplane.apiserver.admission.allocation)."""

    create_on_update = True
    answers_deleted = True

    def after_defaults(self, obj: Json) -> None:
        """Linked fields speak for each other; the status is there from the start."""
        services.normalize(obj["spec"], None)
        obj.setdefault("status", {"loadBalancer": {}})

    def prepare_update(self, new: Json, old: Json) -> None:
        """What was allocated stays, if nothing else is said."""
        super().prepare_update(new, old)
        spec, before = new["spec"], old.get("spec") or {}
        services.keep_allocated(spec, before)
        services.normalize(spec, before)

    def canonical(self, obj: Json) -> None:
        """A policy for traffic inside means nothing for a name."""
        if obj["spec"].get("type") == "ExternalName":
            obj["spec"].pop("internalTrafficPolicy", None)

    def after_allocation(self, new: Json, old: Json) -> None:
        """What the old type alone had goes."""
        services.drop_of_old_type(new["spec"], old.get("spec") or {})
        if new["spec"].get("type") != "LoadBalancer":
            new["status"] = {**(new.get("status") or {}), "loadBalancer": {}}


class EndpointSliceStrategy(Strategy):
    """Its content is everything but metadata; labels count too."""

    counts_generations = True

    def after_defaults(self, obj: Json) -> None:
        """Topology labels are of v1beta1."""
        _drop_topology(obj)

    def after_allocation(self, new: Json, old: Json) -> None:
        """Topology labels are of v1beta1; they count as a change all the same."""
        _drop_topology(new)

    def content(self, obj: Json) -> Any:
        """Labels say which Service it belongs to."""
        return super().content(obj), obj["metadata"].get("labels") or {}


def _drop_topology(obj: Json) -> None:
    for endpoint in obj.get("endpoints") or ():
        endpoint.pop("deprecatedTopology", None)


class LeaseStrategy(CreatedByPut):
    """Locks: an update must name the version it saw. Who shall have one is not told: that is no feature for all yet."""

    unconditional_update = False

    def after_defaults(self, obj: Json) -> None:
        """Drop what is not to be had."""
        for field in _OF_ELECTIONS:
            obj["spec"].pop(field, None)

    def prepare_update(self, new: Json, old: Json) -> None:
        """The same, unless it was there before."""
        super().prepare_update(new, old)
        for field in _OF_ELECTIONS:
            if field not in (old.get("spec") or {}):
                new["spec"].pop(field, None)


_OF_ELECTIONS = ("strategy", "preferredHolder")


_OWN: dict[Kind, type[Strategy]] = {
    kinds.NAMESPACE: NamespaceStrategy,
    kinds.NODE: NodeStrategy,
    kinds.POD: PodStrategy,
    kinds.SERVICE: ServiceStrategy,
    kinds.ENDPOINTS: CreatedByPut,
    kinds.EVENT: CreatedByPut,
    kinds.NEW_EVENT: CreatedByPut,
    kinds.ENDPOINT_SLICE: EndpointSliceStrategy,
    kinds.LEASE: LeaseStrategy,
    **workloads.OWN,
    **rare_kinds.OWN,
}
STRATEGIES: dict[Kind, Strategy] = {kind: _OWN.get(kind, Strategy)(kind) for kind in KINDS}

"""Strategies of the kinds that schedulers and workload controllers read: storage, budgets, priorities, devices."""

from netplane.api import kinds
from netplane.api.kinds import Kind
from netplane.apiserver import cluster as cl
from netplane.apiserver.admission.strategy import Json, Strategy, keep
from netplane.apiserver.admission.workloads import Counted, CreatedByPut


class Answering(Strategy):
    """DELETE answers with the object."""

    answers_deleted = True


class CountedAnswering(Counted):
    """Its generation grows with its content; DELETE answers with the object."""

    answers_deleted = True


class Protected(Answering):
    """Deleted only once nothing uses it: a controller takes the finalizer away then."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind)
        self.finalizer = f"kubernetes.io/{_PROTECTION[kind]}-protection"

    def after_defaults(self, obj: Json) -> None:
        """Every new object is protected."""
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if self.finalizer not in finalizers:
            finalizers.append(self.finalizer)


_PROTECTION = {kinds.CLAIM: "pvc", kinds.PERSISTENT_VOLUME: "pv", kinds.VOLUME_ATTRIBUTES: "vac"}


class PersistentVolumeStrategy(Protected):
    """Its phase carries the time of its last change."""

    def after_defaults(self, obj: Json) -> None:
        """A new volume is Pending from now on."""
        super().after_defaults(obj)
        obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": obj["metadata"]["creationTimestamp"]}

    def prepare_status(self, new: Json, old: Json) -> None:
        """A phase that changes without a time gets one."""
        super().prepare_status(new, old)
        status, before = new.setdefault("status", {}), old.get("status") or {}
        then, time = before.get(_CHANGED), status.get(_CHANGED)
        if status.get("phase") == before.get("phase"):
            if not time and then:
                status[_CHANGED] = then
        elif not time or time == then:
            status[_CHANGED] = cl.stamp()


_CHANGED = "lastPhaseTransitionTime"


class ClaimStrategy(Protected):
    """dataSource and dataSourceRef say the same where both can."""

    def after_defaults(self, obj: Json) -> None:
        """The data source of a new claim is in both fields."""
        super().after_defaults(obj)
        data_sources(obj["spec"], None)

    def prepare_update(self, new: Json, old: Json) -> None:
        """As on creation: older clients leave the newer field out."""
        super().prepare_update(new, old)
        data_sources(new["spec"], old.get("spec") or {})


def data_sources(spec: Json, before: Json | None) -> None:
    """What only the newer field can say is dropped from the older one; the other is filled in (KEP-1495)."""
    source, ref = spec.get("dataSource"), spec.get("dataSourceRef")
    if source and ref is None and not _kept(source, before):
        del spec["dataSource"]
        source = None
    if (ref or {}).get("namespace"):
        return
    if source and ref is None:
        spec["dataSourceRef"] = dict(source)
    elif ref and source is None:
        spec["dataSource"] = {key: value for key, value in ref.items() if key != "namespace"}


def _kept(source: Json, before: Json | None) -> bool:
    if before is not None and before.get("dataSource") == source:
        return True
    group, kind = source.get("apiGroup") or "", source.get("kind")
    return (group, kind) in (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot"))


class UpdateNamesVersion(Answering):
    """An update must name the version it saw."""

    unconditional_update = False


class CapacityStrategy(Strategy):
    """An update must name the version it saw."""

    unconditional_update = False


class CsiDriverStrategy(UpdateNamesVersion):
    """Its generation counts changes of its spec, not its creation."""

    def generation(self, new: Json, old: Json) -> int:
        """Nothing before the first change."""
        have = int(old["metadata"].get("generation", 0))
        return have + (new.get("spec") != old.get("spec"))


class DisruptionBudgetStrategy(Counted):
    """An update must name the version it saw."""

    unconditional_update = False


class PriorityClassStrategy(Strategy):
    """Of the first generation for ever: what counts in it cannot change."""

    def prepare_create(self, obj: Json) -> None:
        """Generation 1."""
        super().prepare_create(obj)
        obj["metadata"]["generation"] = 1


class LimitRangeStrategy(CreatedByPut):
    """One without a name gets its own."""

    def prepare_create(self, obj: Json) -> None:
        """A UUID does for a name."""
        super().prepare_create(obj)
        if not obj["metadata"].get("name"):
            obj["metadata"]["name"] = cl.new_uid()


class ResourceClaimStrategy(Answering):
    """What devices say of themselves goes with their allocation."""

    def prepare_status(self, new: Json, old: Json) -> None:
        """The status of devices that are allocated no longer is dropped."""
        super().prepare_status(new, old)
        status = new.get("status") or {}
        results = ((status.get("allocation") or {}).get("devices") or {}).get("results") or []
        have = {tuple(one.get(part) for part in _DEVICE) for one in results}
        devices = [one for one in status.get("devices") or [] if tuple(one.get(part) for part in _DEVICE) in have]
        if devices:
            status["devices"] = devices
        else:
            status.pop("devices", None)
        keep(new["metadata"], old["metadata"], "ownerReferences")


_DEVICE = ("driver", "pool", "device", "shareID")


class ResourceSliceStrategy(CountedAnswering):
    """A taint of a device counts from when it was first said."""

    def after_defaults(self, obj: Json) -> None:
        """Taints of a new slice."""
        super().after_defaults(obj)
        _time_taints(obj, obj["metadata"]["creationTimestamp"])

    def prepare_update(self, new: Json, old: Json) -> None:
        """Taints that are new."""
        super().prepare_update(new, old)
        _time_taints(new, cl.stamp())


def _time_taints(obj: Json, now: str) -> None:
    for device in obj["spec"].get("devices") or ():
        for taint in device.get("taints") or ():
            taint.setdefault("timeAdded", now)


OWN: dict[Kind, type[Strategy]] = {
    kinds.PERSISTENT_VOLUME: PersistentVolumeStrategy,
    kinds.CLAIM: ClaimStrategy,
    kinds.POD_TEMPLATE: CountedAnswering,
    kinds.REPLICATION_CONTROLLER: Counted,
    kinds.RESOURCE_QUOTA: Answering,
    kinds.LIMIT_RANGE: LimitRangeStrategy,
    kinds.STORAGE_CLASS: Answering,
    kinds.CSI_NODE: UpdateNamesVersion,
    kinds.CSI_DRIVER: CsiDriverStrategy,
    kinds.CSI_CAPACITY: CapacityStrategy,
    kinds.VOLUME_ATTACHMENT: UpdateNamesVersion,
    kinds.VOLUME_ATTRIBUTES: Protected,
    kinds.DISRUPTION_BUDGET: DisruptionBudgetStrategy,
    kinds.PRIORITY_CLASS: PriorityClassStrategy,
    kinds.RESOURCE_CLAIM: ResourceClaimStrategy,
    kinds.CLAIM_TEMPLATE: Answering,
    kinds.RESOURCE_SLICE: ResourceSliceStrategy,
    kinds.DEVICE_CLASS: CountedAnswering,
}

"""How Nodes come to be and change (pure). What configured them is a removed feature: none can begin with it."""

from netplane.apiserver.admission.pods import NOT_READY
from netplane.apiserver.admission.strategy import Json, Strategy


class NodeStrategy(Strategy):
    """A kubelet registers its node with a status."""

    keeps_status = True

    def prepare_create(self, obj: Json) -> None:
        """Removed features are not there."""
        super().prepare_create(obj)
        _drop(obj, {}, "status", "config")

    def after_defaults(self, obj: Json) -> None:
        """A new node gets no pods before the node lifecycle controller saw that it is ready (KEP-382)."""
        _drop(obj, {}, "spec", "configSource")  # who sent it owns it all the same
        taints = obj.setdefault("spec", {}).setdefault("taints", [])
        mark = {"key": NOT_READY, "effect": "NoSchedule"}
        if not any((one.get("key"), one.get("effect")) == tuple(mark.values()) for one in taints):
            taints.append(mark)

    def prepare_update(self, new: Json, old: Json) -> None:
        """Removed features may stay."""
        super().prepare_update(new, old)
        _drop(new, old, "spec", "configSource")

    def prepare_part(self, part: str, new: Json, old: Json) -> None:
        """The same in its status."""
        super().prepare_part(part, new, old)
        _drop(new, old, "status", "config")


def _drop(new: Json, old: Json, where: str, field: str) -> None:
    if field not in (old.get(where) or {}):
        (new.get(where) or {}).pop(field, None)

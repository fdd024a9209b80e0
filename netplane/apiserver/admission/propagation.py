"""What a deletion means for dependents: finalizers that the garbage collector works off (pure)."""

from typing import Any

from netplane.api import kinds
from netplane.api.kinds import Kind

Json = dict[str, Any]

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
_ORPHANING = (kinds.JOB, kinds.REPLICATION_CONTROLLER)
_FINALIZER = {"Orphan": ORPHAN, "Foreground": FOREGROUND}


def prepare(kind: Kind, obj: Json, policy: str) -> bool:
    """Give an object that is to be deleted the finalizer of a policy; whether it changed.

    Without a policy a finalizer that is there stays; Jobs and ReplicationControllers orphan their pods, as they always
    did. Nothing depends on Events: they go at once.
    """
    if kind is kinds.EVENT:
        return False
    before = obj["metadata"].get("finalizers") or []
    if not policy:
        if kind not in _ORPHANING or ORPHAN in before or FOREGROUND in before:
            return False
        policy = "Orphan"
    after = [one for one in before if one not in (ORPHAN, FOREGROUND)]
    if policy in _FINALIZER:
        after.append(_FINALIZER[policy])
    if set(after) == set(before):
        return False
    obj["metadata"]["finalizers"] = after
    if not after:
        del obj["metadata"]["finalizers"]
    return True

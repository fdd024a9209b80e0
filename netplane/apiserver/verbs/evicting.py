"""POST pods/NAME/eviction: a deletion that asks the pod's PodDisruptionBudget first.

    the pod is over, or has not begun       deleted: nobody misses it
    no budget selects it                    deleted
    it is not ready, and may go (see below) deleted, unless it became ready meanwhile
    the budget allows a disruption          the budget notes it, and the pod is deleted
    otherwise                               429: come again

A pod that is not ready may go when its budget says AlwaysAllow, or has as many healthy pods as it wants. A budget
whose newest form its controller has not seen allows nothing. Source: policy/v1; Kubernetes 1.36.
"""

from typing import Any

from netplane.api import codec, errors, kinds, selectors
from netplane.apiserver import cluster as cl
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.verbs import binding, commit, conditions, deletes, preparing
from netplane.apiserver.wire.options import DeleteOptions

Json = dict[str, Any]

MANAGER = "kube-apiserver"
MOST_DISRUPTED = 2000
TRIES = 20
_WOULD_VIOLATE = "Cannot evict pod as it would violate the pod's disruption budget."
_SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
_FAILED = {**binding.DONE, "status": "Failure", "message": _SEVERAL, "code": 500}
_BUDGET = kinds.DISRUPTION_BUDGET


async def evict(cluster: Cluster, namespace: str, name: str, options: DeleteOptions) -> Json:
    """Evict a pod; the Status to answer with. Raises StatusError 403, 404, 409, 429."""
    pod = await _read(cluster, namespace, name)
    for tries_left in reversed(range(TRIES)):
        if not _over(pod):
            break
        try:
            await _delete(cluster, pod, options, pinned=_pending(pod))
        except errors.StatusError as error:
            if error.code != 409 or options.rev or not tries_left:
                raise
            pod = await _read(cluster, namespace, name)
        else:
            return binding.DONE
    budgets = await _budgets(cluster, pod)
    if len(budgets) > 1:
        return _FAILED
    budget = budgets[0] if budgets else None
    if budget is None:
        await _delete(cluster, pod, options)
    elif _may_go_unhealthy(pod, budget):
        await _delete_unhealthy(cluster, pod, budget, options)
    else:
        await _spend(cluster, budget, name, dry_run=options.dry_run)
        await _delete(cluster, pod, options)
    return binding.DONE


async def _read(cluster: Cluster, namespace: str, name: str) -> Json:
    kv = await cluster.store.get(cl.key(kinds.POD, namespace, name))
    if kv is None:
        raise errors.not_found("", "pods", name)
    return codec.decode(kinds.POD, kv.value, kv.mod_rev)


def _pending(pod: Json) -> bool:
    """Whether it may still become ready, and then be missed."""
    return (pod.get("status") or {}).get("phase") == "Pending" and not pod["metadata"].get("deletionTimestamp")


def _over(pod: Json) -> bool:
    """Whether deleting it disrupts nothing."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or bool(pod["metadata"].get("deletionTimestamp"))


async def _budgets(cluster: Cluster, pod: Json) -> list[Json]:
    """Those that select a pod; one without a selector selects none, one with an empty selector all."""
    metadata = pod["metadata"]
    found = await cluster.store.range(cl.prefix(_BUDGET, metadata["namespace"]))
    return [
        budget
        for budget in (codec.decode(_BUDGET, kv.value, kv.mod_rev) for kv in found.kvs)
        if _selects(budget, metadata.get("labels") or {})
    ]


def _selects(budget: Json, labels: dict[str, str]) -> bool:
    selector = (budget.get("spec") or {}).get("selector")
    try:
        return selector is not None and selectors.from_label_selector(selector).matches(labels)
    except errors.StatusError:
        return False


def _may_go_unhealthy(pod: Json, budget: Json) -> bool:
    told = (pod.get("status") or {}).get("conditions") or ()
    if any(one.get("type") == "Ready" and one.get("status") == "True" for one in told):
        return False
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    healthy, wanted = (int(budget["status"].get(field) or 0) for field in ("currentHealthy", "desiredHealthy"))
    return healthy >= wanted > 0


async def _delete_unhealthy(cluster: Cluster, pod: Json, budget: Json, options: DeleteOptions) -> None:
    try:
        await _delete(cluster, pod, options, pinned=True)
    except errors.StatusError as error:
        if error.code == 409 and not options.rev:
            raise _unsettled(budget["metadata"]["name"]) from error
        raise


async def _delete(cluster: Cluster, pod: Json, options: DeleteOptions, *, pinned: bool = False) -> None:
    """Say why in the pod's conditions, then delete it; `pinned`: only as it was read. Raises StatusError 404, 409."""
    metadata = pod["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    rev = options.rev or (metadata["resourceVersion"] if pinned else None)
    if not options.dry_run:
        checked = options._replace(rev=rev)

        def alter(have: Json) -> Json:
            deletes.check_preconditions(kinds.POD, have, checked)
            return _condemned(have)

        done = await commit.change(cluster, kinds.POD, namespace, name, alter, scope=preparing.ALL)
        rev = str(done.rev) if rev else None
    await deletes.remove(cluster, kinds.POD, namespace, name, options._replace(rev=rev))


def _condemned(pod: Json) -> Json:
    conditions.tell(pod.setdefault("status", {}), _CONDEMNED)
    return pod


_CONDEMNED = {
    "type": "DisruptionTarget",
    "status": "True",
    "lastProbeTime": None,
    "reason": "EvictionByEvictionAPI",
    "message": "Eviction API: evicting",
}


async def _spend(cluster: Cluster, budget: Json, pod: str, *, dry_run: bool) -> None:
    """Take one disruption from a budget. Raises StatusError 403, 429."""
    metadata = budget["metadata"]

    def alter(have: Json) -> Json:
        check(have)
        status = have["status"]
        status["disruptionsAllowed"] -= 1
        if not status["disruptionsAllowed"]:
            _exhausted(status)
        status.setdefault("disruptedPods", {})[pod] = cl.stamp()
        return have

    await commit.change(
        *(cluster, _BUDGET, metadata["namespace"], metadata["name"], alter),
        scope="status",
        dry_run=dry_run,
        manager=MANAGER,
    )


def _exhausted(status: Json) -> None:
    said: Json = {"type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": ""}
    conditions.tell(status, said | {"observedGeneration": status.get("observedGeneration") or 0})


def check(budget: Json) -> None:
    """Whether a budget allows one more disruption. Raises StatusError 403, 429."""
    metadata, status = budget["metadata"], budget.get("status") or {}
    name, allowed = metadata["name"], int(status.get("disruptionsAllowed") or 0)
    if int(status.get("observedGeneration") or 0) < int(metadata.get("generation") or 0):
        raise _unsettled(name)
    refuse = "" if allowed >= 0 else "pdb disruptions allowed is negative"
    if len(status.get("disruptedPods") or ()) > MOST_DISRUPTED:
        refuse = refuse or "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
    if refuse:
        raise errors.forbidden("policy", "poddisruptionbudget", name, refuse)
    if not allowed:
        raise _exceeded(_why_not(name, status))


def _why_not(name: str, status: Json) -> str:
    known = status.get("conditions") or ()
    told: Json = next((one for one in known if one.get("type") == "DisruptionAllowed"), {})
    message = (told.get("message") or "") if told.get("status") == "False" else ""
    reason, not_now = told.get("reason") or "", f"The disruption budget {name} does not allow evicting pods currently"
    healthy, wanted = (int(status.get(field) or 0) for field in ("currentHealthy", "desiredHealthy"))
    if message and reason == "SyncFailed":
        return f"{not_now} because it failed sync: {message}"
    if healthy <= wanted:
        return f"The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
    return f"{not_now} ({reason}): {message}" if message else not_now


def _unsettled(name: str) -> errors.StatusError:
    return _exceeded(f"The disruption budget {name} is still being processed by the server.", 10)


def _exceeded(why: str, retry_after_s: int = 0) -> errors.StatusError:
    error = errors.too_many_requests(_WOULD_VIOLATE, retry_after_s)
    details = {key: value for key, value in (error.details or {}).items() if value}
    error.details = {"causes": [{"reason": "DisruptionBudget", "message": why}], **details}
    return error

"""PodSecurity: pods keep to the standard that their namespace's labels name, or are refused or told of.

    pods                  refused where `enforce` says so, else warned of as `warn` says; changes that matter likewise
    what makes pods       warned of, never refused: its pods will be
    namespaces            labels must be right; pods that are there already are warned of when `enforce` gets stricter

Source: the admission plugin PodSecurity of Kubernetes 1.36.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from netplane.api import errors, kinds, pod_security
from netplane.api.kinds import Kind
from netplane.api.pod_security import Policy, Standard
from netplane.apiserver import cluster as cl
from netplane.apiserver.cluster import Cluster

Json = dict[str, Any]

PLUGIN = "PodSecurity"
_MOST_PODS = 3000
_MARK = pod_security.PREFIX.encode()
_MAKERS = (
    *(kinds.DEPLOYMENT, kinds.REPLICA_SET, kinds.STATEFUL_SET, kinds.DAEMON_SET, kinds.JOB),
    kinds.REPLICATION_CONTROLLER,
)
_TEMPLATES: dict[Kind, tuple[str, ...]] = {
    **dict.fromkeys(_MAKERS, ("spec", "template")),
    kinds.CRON_JOB: ("spec", "jobTemplate", "spec", "template"),
    kinds.POD_TEMPLATE: ("template",),
}


async def admit(cluster: Cluster, kind: Kind, new: Json, old: Json | None, part: str = "") -> list[str]:
    """Warnings for an object that is otherwise right; `part` is what was written of it. Raises StatusError 403, 422."""
    if PLUGIN in cluster.settings.without_plugins or part == "status":
        return []
    if kind is kinds.NAMESPACE:
        return await _namespace(cluster, new, old) if not part else []
    if kind is kinds.POD:
        pod: Json | None = new if old is None or _matters(new["spec"], old["spec"]) else None
    else:
        pod = _template(kind, new) if not part else None
    if pod is None:
        return []
    kv = await cluster.store.get(cl.key(kinds.NAMESPACE, "", new["metadata"]["namespace"]))
    if kv is None or _MARK not in kv.value:
        return []
    wanted, _ = pod_security.policy(orjson.loads(kv.value)["metadata"].get("labels") or {})
    return _judge(kind, pod, wanted)


def _template(kind: Kind, obj: Json) -> Json | None:
    """The pod that an object makes."""
    found: Json | None = obj if kind in _TEMPLATES else None
    for part in _TEMPLATES.get(kind, ()):
        found = (found or {}).get(part)
    return found


def _matters(new: Json, old: Json) -> bool:
    """Whether containers came or go, or have other images."""

    def shape(spec: Json) -> list[Any]:
        return [[one.get("image") for one in spec.get(group) or ()] for group in ("containers", "initContainers")]

    known = {one["name"]: one.get("image") for one in old.get("ephemeralContainers") or ()}
    more = any(known.get(one["name"]) != one.get("image") for one in new.get("ephemeralContainers") or ())
    return shape(new) != shape(old) or more


def _judge(kind: Kind, pod: Json, wanted: Policy) -> list[str]:
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    if kind is kinds.POD and (found := pod_security.violations(wanted.enforce, metadata, spec)):
        why = f'violates PodSecurity "{wanted.enforce}": {pod_security.told(found)}'
        raise errors.forbidden("", "pods", metadata.get("name", ""), why)
    found = pod_security.violations(wanted.warn, metadata, spec)
    return [f'would violate PodSecurity "{wanted.warn}": {pod_security.told(found)}'] if found else []


async def _namespace(cluster: Cluster, new: Json, old: Json | None) -> list[str]:
    metadata = new["metadata"]
    wanted, problems = pod_security.policy(metadata.get("labels") or {})
    had, before = (None, []) if old is None else pod_security.policy(old["metadata"].get("labels") or {})
    if problems and problems != before:
        raise errors.invalid("", "Namespace", metadata["name"], problems)
    if had is None or had.enforce == wanted.enforce or wanted.enforce.level == "privileged":
        return []
    if had.enforce.version == wanted.enforce.version and wanted.enforce.strictness <= had.enforce.strictness:
        return []
    found = await cluster.store.range(cl.prefix(kinds.POD, metadata["name"]))
    return _existing(metadata["name"], wanted.enforce, _first_of_each(map(cluster.decoded, found.kvs)))


def _first_of_each(pods: Iterable[Json]) -> list[Json]:
    """One pod of each owner first."""
    first: list[Json] = []
    others: list[Json] = []
    seen: set[str] = set()
    for pod in pods:
        owners = pod["metadata"].get("ownerReferences") or ()
        owner = next((one.get("uid", "") for one in owners if one.get("controller")), None)
        (others if owner in seen else first).append(pod)
        seen.update([owner] if owner is not None else ())
    return first + others


def _existing(namespace: str, enforced: Standard, pods: list[Json]) -> list[str]:
    """What is told of pods that are there."""
    guilty: dict[str, list[str]] = {}
    for pod in pods[:_MOST_PODS]:
        found = pod_security.violations(enforced, pod["metadata"], pod["spec"])
        if found:
            guilty.setdefault(", ".join(reason for reason, _ in found), []).append(pod["metadata"]["name"])
    out = []
    if len(pods) > _MOST_PODS:
        checked = f"only checked against the first {_MOST_PODS} of {len(pods)} existing pods"
        out.append(f"new PodSecurity enforce level {checked}")
    if guilty:
        what = f'violate the new PodSecurity enforce level "{enforced}"'
        out.append(f'existing pods in namespace "{namespace}" {what}')
    return out + sorted(_line(names, reasons) for reasons, names in guilty.items())


def _line(names: list[str], reasons: str) -> str:
    more = len(names) - 1
    others = f" (and {more} other pod{'s' if more > 1 else ''})" if more else ""
    return f"{min(names)}{others}: {reasons}"

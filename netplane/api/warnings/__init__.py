"""What an object earns a warning for: it is taken, and means less than its author may think (pure).

They go out as `Warning:` headers; kubectl prints them. Source: the warnings of Kubernetes 1.36.
"""

from collections.abc import Callable, Mapping
from typing import Any

from netplane.api import kinds
from netplane.api.kinds import Kind
from netplane.api.warnings import certificates, pods, services

Json = dict[str, Any]

_PAIR = f'"{certificates.TLS}"'.encode()
_NAMED_SLICE = b'"addressType":"FQDN"'
_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
_MANAGED_BY = "endpoints.kubernetes.io/managed-by"


def of(kind: Kind, value: Json, *, created: bool, status: bool, respecified: bool) -> list[str]:
    """Warnings for an object as it is stored: after a POST (`created`), for its status or not.

    `respecified`: what it asks for is not what it asked for before.
    """
    if status:
        return _STATUS[kind](value) if kind in _STATUS else []
    if kind is kinds.ENDPOINTS and (value["metadata"].get("labels") or {}).get(_MANAGED_BY) == "endpoint-controller":
        return []
    found = _CREATED[kind](value) if created and kind in _CREATED else []
    found += _ALWAYS[kind](value) if kind in _ALWAYS else []
    return found + (_template(kind, value) if (created or respecified) and kind in _TEMPLATES else [])


def warned(kind: Kind, text: bytes, *, status: bool) -> bool:
    """Whether an object, as JSON, or its status can earn any: whoever asks need not read the others."""
    if status:
        return kind in _STATUS
    if kind is kinds.ENDPOINT_SLICE:
        return _NAMED_SLICE in text
    if kind is kinds.SECRET:
        return _PAIR in text
    return kind in _WARNED


def _template(kind: Kind, value: Json) -> list[str]:
    spec, path = value.get("spec") or {}, "spec"
    if kind is kinds.CRON_JOB:
        spec, path = (spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec"
    found = _indexes(spec, path) if kind in (kinds.JOB, kinds.CRON_JOB) else []
    found += pods.template(spec.get("template") or {}, f"{path}.template")
    if kind is kinds.STATEFUL_SET and (spec.get("revisionHistoryLimit") or 0) < 0:
        why = "a negative value retains all historical revisions; a value >= 0 is recommended"
        found.append(f"spec.revisionHistoryLimit: {why}")
    return found


def _indexes(spec: Json, path: str) -> list[str]:
    """So many indexes that a list of those that failed may grow too long."""
    many = (spec.get("completions") or 0) > _MANY_COMPLETIONS and (spec.get("parallelism") or 0) > _MANY_PODS
    if spec.get("completionMode") != "Indexed" or not many:
        return []
    why = (
        "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes "
        "might not be able to track completedIndexes when a big number of indexes fail"
    )
    return [f"{path}: {why}"]


_MANY_COMPLETIONS, _MANY_PODS = 100_000, 10_000


def _schedule(obj: Json) -> list[str]:
    """A CronJob that names a time zone in its schedule, as no new one may."""
    if "TZ" not in ((obj.get("spec") or {}).get("schedule") or ""):
        return []
    return [
        "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see "
        "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
    ]


def _account(obj: Json) -> list[str]:
    if _MOUNTABLE not in (obj["metadata"].get("annotations") or {}):
        return []
    why = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
    return [f"metadata.annotations[{_MOUNTABLE}]: {why}"]


Warnings = Mapping[Kind, Callable[[Json], list[str]]]
_TEMPLATES = frozenset(
    {kinds.DEPLOYMENT, kinds.REPLICA_SET, kinds.STATEFUL_SET, kinds.DAEMON_SET, kinds.JOB, kinds.CRON_JOB}
)
_CREATED: Warnings = {
    kinds.POD: pods.pod,
    kinds.INGRESS: services.ingress,
    kinds.ENDPOINT_SLICE: services.new_slice,
    **dict.fromkeys(_TEMPLATES - {kinds.STATEFUL_SET, kinds.DAEMON_SET}, pods.named),
    kinds.SERVICE_ACCOUNT: _account,
}
_ALWAYS: Warnings = {
    kinds.SERVICE: services.service,
    kinds.ENDPOINTS: services.endpoints,
    kinds.NETWORK_POLICY: services.policy,
    kinds.NODE: services.node,
    kinds.SECRET: certificates.secret,
    kinds.CRON_JOB: _schedule,
}
_STATUS: Warnings = {kinds.SERVICE: services.balanced, kinds.INGRESS: services.balanced, kinds.POD: pods.status}
_WARNED = _TEMPLATES | _CREATED.keys() | _ALWAYS.keys()

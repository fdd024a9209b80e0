"""Subresources that lead to a node's agent: log, exec, attach, portforward, proxy. None can serve them yet.

What can be said without an agent is said as by the real server: options that are wrong, containers that are not there,
pods without a node, nodes that are gone. Then the answer is a Status that says so, which kubectl prints as it is.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

import orjson

from netplane.api import errors, fields, kinds, pod_refs
from netplane.api.fields import FieldError
from netplane.apiserver import cluster as cl
from netplane.apiserver.verbs import reads
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.options import integer
from netplane.apiserver.wire.reply import Reply

Json = dict[str, Any]

_WHAT = {
    "log": "its logs cannot be read",
    "exec": "commands cannot be run in it",
    "attach": "its containers cannot be attached to",
    "portforward": "its ports cannot be forwarded",
    "proxy": "requests cannot be passed on to it",
}
_RUNTIME = "do it on its node, with the container runtime's own tools"
_ADDRESS = "connect to its address from inside the cluster's network"
_INSTEAD = {
    "log": f"{_RUNTIME}; in a lab: netplane lab logs POD",
    "exec": f"{_RUNTIME}; in a lab: netplane lab exec POD -- COMMAND",
    "attach": _RUNTIME,
    "portforward": _ADDRESS,
    "proxy": _ADDRESS,
}
_OF_CONTAINERS = frozenset({"log", "exec", "attach"})
_COUNTS = ("tailLines", "limitBytes", "sinceSeconds")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


async def of_pod(call: Call) -> Reply:
    """log, exec, attach and portforward of a pod. Raises StatusError 400, 404, 422, 501."""
    part, name = call.target.subresource, call.target.name
    if part == "log" and (problems := _log_problems(call.query)):
        raise errors.invalid("", "PodLogOptions", name, problems)
    pod: Json = orjson.loads((await reads.stored(call)).value)
    if part in _OF_CONTAINERS:
        _check_container(pod, name, call.query.get("container") or "")
    node = pod["spec"].get("nodeName")
    if not node:
        if part == "log":
            return Reply(b"", 204)
        raise errors.bad_request(f"pod {name} does not have a host assigned")
    if await call.cluster.store.get(cl.key(kinds.NODE, "", node)) is None:
        raise errors.not_found("", "pods", node)  # told so by the real server
    raise _refusal(call)


def _log_problems(query: Mapping[str, str]) -> list[FieldError]:
    """What is wrong with the options of a log. Raises StatusError 400 for what is no option's value."""
    counts: dict[str, int] = {}
    for field in _COUNTS:
        if (number := integer(query, field)) is not None:
            counts[field] = number
    since = query.get("sinceTime")
    if since and not _TIME.fullmatch(since):
        why = f'parsing time "{since}" as "2006-01-02T15:04:05Z07:00": cannot parse "{since}" as "2006"'
        raise errors.bad_request(why)
    least = {"tailLines": (0, "must be greater than or equal to 0")}
    problems = []
    for field, count in counts.items():
        bound, why = least.get(field, (1, "must be greater than 0"))
        if field == "sinceSeconds" and since:
            both = "at most one of `sinceTime` or `sinceSeconds` may be specified"
            problems.append(fields.forbidden("", both))
        elif count < bound:
            problems.append(fields.invalid(field, count, why))
    if query.get("stream") is not None:
        problems.append(fields.forbidden("stream", "may not be specified"))
    return problems


def _check_container(pod: Json, name: str, wanted: str) -> None:
    """The pod has the container that is asked for, or one alone. Raises StatusError 400."""
    known = [one.get("name", "") for one in pod_refs.containers(pod["spec"])]
    if wanted and wanted not in known:
        raise errors.bad_request(f"container {wanted} is not valid for pod {name}")
    if not wanted and len(pod["spec"].get("containers") or ()) > 1:
        why = f"a container name must be specified for pod {name}, choose one of: [{' '.join(known)}]"
        raise errors.bad_request(why)


async def proxy_of_pod(call: Call) -> Reply:
    """Requests to a pod, at an address that can be asked. Raises StatusError 400, 404, 501."""
    pod: Json = orjson.loads((await reads.stored(call)).value)
    try:
        address = ipaddress.ip_address((pod.get("status") or {}).get("podIP") or "")
    except ValueError as error:
        raise errors.bad_request("address not allowed") from error
    local = address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
    if local:
        raise errors.bad_request("address not allowed")
    raise _refusal(call)


async def refuse(call: Call) -> Reply:
    """Any verb. Raises StatusError 404, 501."""
    await reads.stored(call)
    raise _refusal(call)


def _refusal(call: Call) -> errors.StatusError:
    target = call.target
    why = f"{_WHAT[target.subresource]}: no node agent of this cluster serves {target.resource}/{target.subresource}"
    return errors.not_implemented(target.group, target.resource, target.name, f"{why}; {_INSTEAD[target.subresource]}")


_STREAMS = ("create", "get")
_PROXIED = ("create", "delete", "get", "patch", "update")
HANDLERS = {
    ("pods", "log", "get"): of_pod,
    **{("pods", name, verb): of_pod for name in ("attach", "exec", "portforward") for verb in _STREAMS},
    **{("pods", "proxy", verb): proxy_of_pod for verb in _PROXIED},
    **{(plural, "proxy", verb): refuse for plural in ("nodes", "services") for verb in _PROXIED},
}

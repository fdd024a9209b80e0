"""Subresources that lead to a node's agent: log, exec, attach, portforward, proxy. None can serve them yet.

The object must be there; then the answer is a Status that says so, which kubectl prints as it is.
"""

from netplane.api import errors
from netplane.apiserver.verbs import reads
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.reply import Reply

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


async def refuse(call: Call) -> Reply:
    """Any verb. Raises StatusError 404, 501."""
    await reads.stored(call)
    target = call.target
    why = f"{_WHAT[target.subresource]}: no node agent of this cluster serves {target.resource}/{target.subresource}"
    raise errors.not_implemented(target.group, target.resource, target.name, f"{why}; {_INSTEAD[target.subresource]}")


_STREAMS = ("create", "get")
_PROXIED = ("create", "delete", "get", "patch", "update")
HANDLERS = {
    ("pods", "log", "get"): refuse,
    **{("pods", name, verb): refuse for name in ("attach", "exec", "portforward") for verb in _STREAMS},
    **{(plural, "proxy", verb): refuse for plural in ("nodes", "pods", "services") for verb in _PROXIED},
}

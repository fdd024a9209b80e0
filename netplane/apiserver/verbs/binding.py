"""POST pods/NAME/binding, and POST bindings: give a pod to a node, once."""

from typing import Any

from netplane.api import errors, fields, kinds
from netplane.apiserver.admission import placed_pods
from netplane.apiserver.admission.incoming import strict_as
from netplane.apiserver.verbs import commit, conditions, identity, preparing
from netplane.apiserver.wire import bodies
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.options import write_options
from netplane.apiserver.wire.reply import Reply, of_json, warned

Json = dict[str, Any]

DONE: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
SCHEDULED = "PodScheduled"


async def bind(call: Call) -> Reply:
    """Bind the pod that the path names, or else the binding. Raises StatusError 400, 404, 409, 500."""
    options = write_options(call.query, "CreateOptions")
    binding = await bodies.read(call, "Binding", "v1")
    strict_as(call, binding, "Binding", "v1", options)
    metadata = binding.get("metadata") or {}
    own_place(call, metadata)
    name = metadata.get("name") or ""
    if call.target.name and name != call.target.name:
        raise errors.bad_request("name in URL does not match name in Binding object")
    _check_target(binding)
    target = binding["target"]
    topology = await placed_pods.topology(call.cluster, target["name"]) if target.get("kind") == "Node" else {}
    more = {"annotations": metadata.get("annotations"), "labels": {**(metadata.get("labels") or {}), **topology}}

    def alter(pod: Json) -> Json:
        _check_unbound(pod, metadata)
        pod["spec"]["nodeName"] = target["name"]
        _tell(pod)
        for field, given in more.items():
            if given:
                pod["metadata"][field] = {**(pod["metadata"].get(field) or {}), **given}
        return pod

    await commit.change(
        call.cluster, kinds.POD, call.target.namespace, name, alter, scope=preparing.ALL, dry_run=options.dry_run
    )
    return of_json(DONE, 201)._replace(headers=warned(call.warnings))


def own_place(call: Call, metadata: Json) -> None:
    """What is said of a pod is said in its namespace. Raises StatusError 400."""
    if metadata.get("namespace") not in (None, "", call.target.namespace):
        why = "the namespace of the provided object does not match the namespace sent on the request"
        raise errors.bad_request(why)


def _check_target(binding: Json) -> None:
    target = binding.get("target") or {}
    problems = []
    if target.get("kind") not in (None, "", "Node"):
        problems.append(fields.not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        problems.append(fields.required("target.name"))
    if problems:
        told = ", ".join(map(str, problems))
        raise errors.StatusError(500, "", told if len(problems) == 1 else f"[{told}]")


def _check_unbound(pod: Json, wanted: Json) -> None:
    """The pod is the one that is meant, and waits for a node. Raises StatusError 409."""
    have, spec, name = pod["metadata"], pod["spec"], pod["metadata"]["name"]
    for field, word in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if wanted.get(field) and wanted[field] != have[field]:
            raise errors.conflict("", "pods", name, identity.unmet(kinds.POD, have, word, wanted[field]))
    why = ""
    if have.get("deletionTimestamp"):
        why = f"pod {name} is being deleted, cannot be assigned to a host"
    elif spec.get("nodeName"):
        why = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
    elif spec.get("schedulingGates"):
        why = f"pod {name} has non-empty .spec.schedulingGates"
    if why:
        raise errors.conflict("", "pods/binding", name, why)


def _tell(pod: Json) -> None:
    """The pod's status says that it has a node."""
    status = pod.setdefault("status", {})
    status.pop("nominatedNodeName", None)
    conditions.tell(status, {"type": SCHEDULED, "status": "True", "lastProbeTime": None})


HANDLERS = {("pods", "binding", "create"): bind, ("bindings", "", "create"): bind}

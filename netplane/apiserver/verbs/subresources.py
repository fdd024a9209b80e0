"""What objects can do beside being read and written: pods/binding, pods/eviction, namespaces/finalize."""

from typing import Any

from netplane.api import errors, fields
from netplane.apiserver import cluster as cl
from netplane.apiserver.admission import placed_pods
from netplane.apiserver.admission.incoming import named
from netplane.apiserver.verbs import commit, evicting, writes
from netplane.apiserver.wire import bodies
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.options import delete_options, write_options
from netplane.apiserver.wire.reply import Reply, of_json

Json = dict[str, Any]

_DONE = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def bind(call: Call) -> Reply:
    """POST pods/NAME/binding: give a pod to a node, once."""
    options = write_options(call.query, "CreateOptions")
    binding = await bodies.read(call, "Binding", "v1")
    bodies.check_types(binding, "", "v1", "Binding")
    name, node = call.target.name, (binding.get("target") or {}).get("name")
    _check_target(binding, name)
    given = binding.get("metadata") or {}
    labels = {**(given.get("labels") or {}), **await _topology(call, binding)}

    def alter(pod: Json) -> Json:
        _check_unbound(pod, name)
        pod["spec"]["nodeName"] = node
        status = pod.setdefault("status", {})
        others = [one for one in status.get("conditions") or [] if one.get("type") != "PodScheduled"]
        status["conditions"] = [*others, _scheduled()]
        for field, more in (("annotations", given.get("annotations")), ("labels", labels)):
            if more:
                pod["metadata"][field] = {**(pod["metadata"].get(field) or {}), **more}
        return pod

    await commit.change(
        call.cluster, call.kind, call.target.namespace, name, alter, scope="all", dry_run=options.dry_run
    )
    return of_json(_DONE, 201)


async def _topology(call: Call, binding: Json) -> dict[str, str]:
    target = binding["target"]
    return await placed_pods.topology(call.cluster, target["name"]) if target.get("kind") == "Node" else {}


def _check_target(binding: Json, name: str) -> None:
    _same_name(binding, name, "Binding")
    target = binding.get("target") or {}
    problems = []
    if target.get("kind") not in (None, "", "Node"):
        problems.append(fields.not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        problems.append(fields.required("target.name"))
    if problems:
        raise errors.invalid("", "Binding", name, problems)


def _same_name(body: Json, name: str, kind: str) -> None:
    if ((body.get("metadata") or {}).get("name") or name) != name:
        raise errors.bad_request(f"name in URL does not match name in {kind} object")


def _scheduled() -> Json:
    now = cl.timestamp(cl.now())
    return {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}


def _check_unbound(pod: Json, name: str) -> None:
    if pod["metadata"].get("deletionTimestamp"):
        raise errors.conflict("", "pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    bound = pod["spec"].get("nodeName")
    if bound:
        raise errors.conflict("", "pods/binding", name, f'pod {name} is already assigned to node "{bound}"')


async def evict(call: Call) -> Reply:
    """POST pods/NAME/eviction."""
    eviction = await bodies.read(call, "Eviction", "policy/v1")
    bodies.check_types(eviction, "policy", "v1", "Eviction")
    _same_name(eviction, call.target.name, "Eviction")
    options = delete_options(eviction.get("deleteOptions"), call.query)
    return of_json(await evicting.evict(call.cluster, call.target.namespace, call.target.name, options), 201)


async def finalize(call: Call) -> Reply:
    """PUT namespaces/NAME/finalize: set spec.finalizers; the last one gone, so is the namespace."""
    body = await bodies.read(call, *bodies.of_kind(call.kind))
    bodies.check_types(body, call.kind.group, call.kind.version, call.kind.kind)
    named({"metadata": body.get("metadata") or {}}, call.target.name)
    finalizers = (body.get("spec") or {}).get("finalizers") or []
    rev = (body.get("metadata") or {}).get("resourceVersion")

    def alter(namespace: Json) -> Json:
        if rev:
            namespace["metadata"]["resourceVersion"] = rev
        namespace["spec"] = {"finalizers": finalizers}
        return namespace

    stored = await commit.change(call.cluster, call.kind, "", call.target.name, alter, scope="all")
    return writes.answer(call, stored)


HANDLERS = {
    ("pods", "binding", "create"): bind,
    ("pods", "eviction", "create"): evict,
    ("namespaces", "finalize", "update"): finalize,
}

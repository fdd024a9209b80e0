"""What users may ask about themselves: who am I, may I, what may I. Nothing is stored."""

from typing import Any

from netplane.api.managed import entries
from netplane.apiserver import auth, bodies
from netplane.apiserver import cluster as cl
from netplane.apiserver.call import Call
from netplane.apiserver.incoming import strict
from netplane.apiserver.options import write_options
from netplane.apiserver.reply import Reply, of_json

Json = dict[str, Any]


async def access(call: Call) -> Reply:
    """POST selfsubjectaccessreviews: may I?"""
    review = await _read(call)
    spec = review.get("spec") or {}
    resource = spec.get("resourceAttributes")
    if resource is not None:
        allowed = auth.allows(call.user, resource.get("verb", ""), resource.get("resource", ""))
    else:
        wanted = spec.get("nonResourceAttributes") or {}
        verb, path = wanted.get("verb", ""), wanted.get("path", "")
        allowed = (verb == "get" and auth.is_open(path)) or auth.allows(call.user, verb)
    return _reviewed(review, {"allowed": allowed})


async def rules(call: Call) -> Reply:
    """POST selfsubjectrulesreviews: what may I?"""
    review = await _read(call)
    everything = auth.allows(call.user, "*")
    verbs = ["*"] if everything else sorted(auth.READ_VERBS)
    status = {
        "resourceRules": [{"verbs": verbs, "apiGroups": ["*"], "resources": ["*"]}],
        "nonResourceRules": [{"verbs": ["*"] if everything else ["get"], "nonResourceURLs": ["*"]}],
        "incomplete": False,
    }
    return _reviewed(review, status)


async def subject(call: Call) -> Reply:
    """POST selfsubjectreviews: who am I?"""
    review = await _read(call)
    info: Json = {"username": call.user.name}
    if call.user.uid:
        info["uid"] = call.user.uid
    return _reviewed(review, {"userInfo": {**info, "groups": list(call.user.groups)}})


async def _read(call: Call) -> Json:
    options = write_options(call.query, "CreateOptions")
    review = await bodies.read(call, *bodies.of_kind(call.kind))
    strict(call, review, options)
    writer = entries.Writer(call.manager, cl.timestamp(cl.now()), "", frozenset({"f:status"}))
    if owned := entries.created(call.kind, review, writer):
        review["metadata"] = {**(review.get("metadata") or {}), "managedFields": owned}
    return review


def _reviewed(review: Json, status: Json) -> Reply:
    head = {"kind": review["kind"], "apiVersion": review["apiVersion"], "metadata": review.get("metadata") or {}}
    return of_json({**head, "spec": review.get("spec") or {}, "status": status}, 201)


HANDLERS = {
    ("selfsubjectaccessreviews", "", "create"): access,
    ("selfsubjectrulesreviews", "", "create"): rules,
    ("selfsubjectreviews", "", "create"): subject,
}

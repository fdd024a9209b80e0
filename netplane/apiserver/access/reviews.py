"""What users may ask about themselves and others: who is it, may they, what may they. Nothing is stored."""

from typing import Any

from netplane.api import errors, fields
from netplane.api.managed import entries
from netplane.api.rbac import Ask
from netplane.apiserver import cluster as cl
from netplane.apiserver.access import auth, node_authorizer, service_tokens
from netplane.apiserver.access.tokens import MASTERS, User
from netplane.apiserver.admission.incoming import strict
from netplane.apiserver.wire import bodies
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.options import write_options
from netplane.apiserver.wire.reply import Reply, of_json

Json = dict[str, Any]


async def access(call: Call) -> Reply:
    """POST selfsubjectaccessreviews: may I?"""
    review = await _read(call)
    spec = review.get("spec") or {}
    _check(call, _attribute_problems(spec))
    return _reviewed(review, await _answer(call, call.user, spec))


async def access_of(call: Call) -> Reply:
    """POST subjectaccessreviews and localsubjectaccessreviews: may they?"""
    review = await _read(call)
    spec = review.get("spec") or {}
    groups = tuple(spec.get("groups") or ())
    problems = _attribute_problems(spec)
    if not spec.get("user") and not groups:
        why = "at least one of user or group must be specified"
        problems.append(fields.invalid("spec.user", "", why))
    _check(call, problems)
    if call.target.namespace:
        inside = (spec.get("resourceAttributes") or {}).get("namespace")
        if inside != call.target.namespace:
            why = "must match metadata.namespace"
            problem = fields.invalid("spec.resourceAttributes.namespace", inside or "", why)
            raise errors.invalid(call.kind.group, call.kind.kind, "", [problem])
    return _reviewed(review, await _answer(call, User(spec.get("user") or "", "", groups), spec))


def _attribute_problems(spec: Json) -> list[fields.FieldError]:
    """A review asks about a resource or about a path."""
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        why = "cannot be specified in combination with resourceAttributes"
        return [fields.invalid("spec.nonResourceAttributes", path, why)]
    if resource is None and path is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [fields.invalid("spec.resourceAttributes", None, why)]
    return []


def _check(call: Call, problems: list[fields.FieldError]) -> None:
    if problems:
        raise errors.invalid(call.kind.group, call.kind.kind, "", problems)


async def _answer(call: Call, user: User, spec: Json) -> Json:
    resource = spec.get("resourceAttributes")
    if resource is not None:
        parts = ("verb", "group", "resource", "subresource", "namespace", "name")
        ask = Ask(*(resource.get(part) or "" for part in parts))
    else:
        wanted = spec.get("nonResourceAttributes") or {}
        ask = Ask(wanted.get("verb") or "", path=wanted.get("path") or "")
    if not auth.allows(call.policy, user, ask):
        allowed, why = await node_authorizer.decide(call.cluster.nodes, user, ask, _selector(resource or {}))
        return {"allowed": allowed, **({"reason": why} if why else {})}
    reason = "" if MASTERS in user.groups else call.policy.reason(user.name, user.groups, ask)
    return {"allowed": True, **({"reason": reason} if reason else {})}


def _selector(resource: Json) -> str:
    """The field selector of a list or watch that is asked about, as a request would carry it."""
    given = resource.get("fieldSelector") or {}
    if given.get("rawSelector"):
        return str(given["rawSelector"])
    equal = [one for one in given.get("requirements") or () if one.get("operator") == "In" and len(one["values"]) == 1]
    return ",".join(f"{one['key']}={one['values'][0]}" for one in equal)


async def token(call: Call) -> Reply:
    """POST tokenreviews: whose token is this?"""
    review = await _read(call)
    spec = review.get("spec") or {}
    given, audiences = spec.get("token") or "", tuple(spec.get("audiences") or ())
    user = call.cluster.users.get(given)
    if user is None and given:
        user = await call.cluster.issuer.user(given, cl.now(), audiences or (service_tokens.ISSUER,))
    if user is None:
        return _reviewed(review, {"user": {}})
    return _reviewed(review, {"authenticated": True, "user": user.info(), "audiences": list(audiences) or None})


async def rules(call: Call) -> Reply:
    """POST selfsubjectrulesreviews: what may I?"""
    review = await _read(call)
    namespace = (review.get("spec") or {}).get("namespace") or ""
    if MASTERS in call.user.groups:
        granted: list[Json] = [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
            {"verbs": ["*"], "nonResourceURLs": ["*"]},
        ]
    else:
        grants = call.policy.grants(call.user.name, call.user.groups)
        granted = [one for grant in grants if grant.namespace in ("", namespace) for one in grant.rules]
    status = {
        "resourceRules": [one for one in granted if not one.get("nonResourceURLs")],
        "nonResourceRules": [one for one in granted if one.get("nonResourceURLs")],
        "incomplete": False,
    }
    return _reviewed(review, status)


async def subject(call: Call) -> Reply:
    """POST selfsubjectreviews: who am I?"""
    review = await _read(call)
    return _reviewed(review, {"userInfo": call.user.info()})


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
    ("subjectaccessreviews", "", "create"): access_of,
    ("localsubjectaccessreviews", "", "create"): access_of,
    ("tokenreviews", "", "create"): token,
    ("selfsubjectreviews", "", "create"): subject,
}

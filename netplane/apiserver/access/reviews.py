"""What users may ask about themselves and others: who is it, may they, what may they. Nothing is stored."""

from typing import Any

import orjson

from netplane.api import errors
from netplane.api.fields import FieldError
from netplane.api.managed import entries
from netplane.api.rbac import Ask
from netplane.api.validation import reviews as checks
from netplane.apiserver import cluster as cl
from netplane.apiserver.access import auth, node_authorizer
from netplane.apiserver.access.jwt import BadToken
from netplane.apiserver.access.service_tokens import UNKNOWN
from netplane.apiserver.access.tokens import ANONYMOUS, MASTERS, User
from netplane.apiserver.admission.incoming import place, strict
from netplane.apiserver.wire import bodies
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.options import write_options
from netplane.apiserver.wire.reply import Reply, of_json, warned

Json = dict[str, Any]

_NOT_FROM_CLIENTS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")


async def access(call: Call) -> Reply:
    """POST selfsubjectaccessreviews: may I?"""
    review = await _read(call)
    spec = review["spec"]
    _check(call, checks.about_me(spec) + checks.no_metadata(review["metadata"], namespaced=False))
    return _reviewed(call, review, await _answer(call, call.user, spec))


async def access_of(call: Call) -> Reply:
    """POST subjectaccessreviews and localsubjectaccessreviews: may they?"""
    review = await _read(call)
    spec, namespace = review["spec"], call.target.namespace
    problems = checks.about(spec) + checks.no_metadata(review["metadata"], namespaced=call.kind.namespaced)
    if call.kind.namespaced:
        problems += checks.local(spec, namespace)
    _check(call, problems)
    user = User(spec.get("user") or "", spec.get("uid") or "", tuple(spec.get("groups") or ()))
    return _reviewed(call, review, await _answer(call, user, spec))


def _check(call: Call, problems: list[FieldError]) -> None:
    """A refusal names no kind: as the real server."""
    if problems:
        raise errors.invalid(call.kind.group, "", "", problems)


async def _answer(call: Call, user: User, spec: Json) -> Json:
    resource = spec.get("resourceAttributes")
    if resource is not None:
        parts = ("verb", "group", "resource", "subresource", "namespace", "name")
        ask = Ask(*(resource.get(part) or "" for part in parts))
    else:
        wanted = spec.get("nonResourceAttributes") or {}
        ask = Ask(wanted.get("verb") or "", path=wanted.get("path") or "")
    allowed, why = auth.allows(call.policy, user, ask), ""
    if not allowed:
        fields = checks.fields_asked(resource or {})
        allowed, why = await node_authorizer.also(call.cluster.nodes, call.policy, user, ask, fields)
    elif MASTERS not in user.groups:
        why = call.policy.reason(user.name, user.groups, ask)
    unread = checks.unread(resource or {})
    told = {"reason": why, "evaluationError": unread}
    return {"allowed": allowed, **{name: text for name, text in told.items() if text}}


async def token(call: Call) -> Reply:
    """POST tokenreviews: whose token is this?"""
    review = await _read(call)
    spec = review["spec"]
    if not spec.get("token"):
        raise errors.bad_request("token is required for TokenReview in authentication")
    return _reviewed(call, review, await _whose(call, spec["token"], tuple(spec.get("audiences") or ())))


async def _whose(call: Call, given: str, audiences: tuple[str, ...]) -> Json:
    issuer = call.cluster.issuer
    wanted = audiences or (issuer.name,)
    text = auth.bearer(f"Bearer {given}")
    if not text:
        nobody = {"authenticated": True, "user": ANONYMOUS.info(), "audiences": list(wanted)}
        return nobody if call.cluster.settings.anonymous else {"user": {}}
    static = call.cluster.users.get(text)
    try:
        user, fit = await issuer.known(text, cl.now(), wanted) if static is None else (static, (issuer.name,))
    except BadToken as error:
        return {"user": {}, "error": str(error)}
    if not set(fit) & set(wanted):
        return {"user": {}, "error": UNKNOWN}
    return {"authenticated": True, "user": user.info(), "audiences": list(fit)}


async def rules(call: Call) -> Reply:
    """POST selfsubjectrulesreviews: what may I? The answer tells nothing of the question."""
    review = await _read(call)
    namespace = review["spec"].get("namespace")
    if not namespace:
        raise errors.bad_request("no namespace on request")
    user = call.user
    grants = call.policy.grants(user.name, user.groups, namespace)
    granted = [rule for grant in grants for rule in grant.rules]
    status: Json = {
        "resourceRules": [_picked(rule, _RESOURCE_RULE) for rule in granted if rule.get("resources")],
        "nonResourceRules": [_picked(rule, _PATH_RULE) for rule in granted if rule.get("nonResourceURLs")],
        "incomplete": node_authorizer.node_of(user) is not None,
    }
    why = "node authorizer does not support user rule resolution" if status["incomplete"] else ""
    problems = [one for one in (why, call.policy.problems(user.name, user.groups, namespace)) if one]
    if problems:
        status["evaluationError"] = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
    return _reviewed(call, {**review, "metadata": {}, "spec": {}}, status)


_RESOURCE_RULE, _PATH_RULE = ("verbs", "apiGroups", "resources", "resourceNames"), ("verbs", "nonResourceURLs")


def _picked(rule: Json, parts: tuple[str, ...]) -> Json:
    return {part: rule[part] for part in parts if rule.get(part)}


async def subject(call: Call) -> Reply:
    """POST selfsubjectreviews: who am I?"""
    review = await _read(call)
    metadata = {"creationTimestamp": cl.stamp()}
    head = {"kind": review["kind"], "apiVersion": review["apiVersion"], "metadata": metadata}
    return _told(call, {**head, "status": {"userInfo": call.user.info()}})


async def _read(call: Call) -> Json:
    options = write_options(call.query, "CreateOptions")
    review = await bodies.read(call, *bodies.of_kind(call.kind))
    strict(call, review, options)
    place(call, review)
    metadata = review["metadata"]
    for name in (*_NOT_FROM_CLIENTS, *(() if call.kind.namespaced else ("namespace",))):
        metadata.pop(name, None)
    review["spec"] = review.get("spec") or {}
    writer = entries.Writer(call.manager, cl.stamp(), "", frozenset({"f:status"}))
    metadata.pop("managedFields", None)
    if owned := entries.created(call.kind, review, writer):
        tree = orjson.loads(orjson.dumps(owned[0]["fieldsV1"], option=orjson.OPT_SORT_KEYS))
        metadata["managedFields"] = [{**owned[0], "fieldsV1": tree}]
    return review


def _reviewed(call: Call, review: Json, status: Json) -> Reply:
    head = {"kind": review["kind"], "apiVersion": review["apiVersion"], "metadata": review["metadata"]}
    return _told(call, {**head, "spec": review["spec"], "status": status})


def _told(call: Call, answer: Json) -> Reply:
    return of_json(answer, 201)._replace(headers=warned(call.warnings))


HANDLERS = {
    ("selfsubjectaccessreviews", "", "create"): access,
    ("selfsubjectrulesreviews", "", "create"): rules,
    ("subjectaccessreviews", "", "create"): access_of,
    ("localsubjectaccessreviews", "", "create"): access_of,
    ("tokenreviews", "", "create"): token,
    ("selfsubjectreviews", "", "create"): subject,
}

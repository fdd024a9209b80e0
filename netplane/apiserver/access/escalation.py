"""Nobody gives away more than they have: who writes a role or a binding must hold its rules, or be told to (pure).

Verb `escalate` on roles and verb `bind` on the role that is bound let a user do it all the same, as in Kubernetes.
Source: the policy-based RBAC registries of Kubernetes 1.36, and how its rules cover one another.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from netplane.api import errors, kinds
from netplane.api.fields import go_quote
from netplane.api.kinds import Kind
from netplane.api.rbac import GROUP, Ask, Policy
from netplane.apiserver.access.tokens import MASTERS, User
from netplane.apiserver.wire.target import Target

Json = dict[str, Any]

_ROLES = (kinds.ROLE, kinds.CLUSTER_ROLE)
_EVERYTHING: list[Json] = [
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
]
_READS = frozenset({"get", "list", "watch", "delete", "deletecollection"})


def concerns(user: User, target: Target) -> bool:
    """Whether a request may give something away."""
    return target.group == GROUP and target.verb not in _READS and MASTERS not in user.groups


def check(policy: Policy, user: User, kind: Kind, target: Target, new: Json, old: Json | None) -> None:
    """Raises StatusError 403 when `user` may not give what `new` gives; 400, 404 when its role is not there."""
    namespace, held = target.namespace, policy.grants(user.name, user.groups, target.namespace)
    if old is not None and _same(new, old):
        return
    owner = [rule for grant in held for rule in grant.rules]
    if kind in _ROLES:
        if policy.allows(user.name, user.groups, Ask("escalate", GROUP, kind.plural, "", namespace, target.name)):
            return
        _confirm(policy, user, kind, namespace, new, owner, new.get("rules") or ())
        gathers = any((one.get("aggregationRule") or {}).get("clusterRoleSelectors") for one in (new, old or {}))
        if gathers and any(_uncovered(owner, _EVERYTHING)):
            why = "must have cluster-admin privileges to use the aggregationRule"
            raise errors.forbidden(kind.group, kind.plural, _name(new), why)
        return
    ref = new.get("roleRef") or {}
    plural, name = _PLURALS.get(ref.get("kind") or ""), ref.get("name") or ""
    if plural is None:
        raise errors.StatusError(500, "", f"unsupported role reference kind: {go_quote(ref.get('kind') or '')}")
    may = Ask("bind", ref.get("apiGroup") or GROUP, plural, "", namespace, name)
    if policy.allows(user.name, user.groups, may):
        return
    if plural == "roles" and not namespace:
        raise errors.bad_request("Namespace parameter required.")
    if not name:
        raise errors.bad_request("Name parameter required.")
    rules = policy.rules(plural, namespace, name)
    if rules is None:
        raise errors.not_found(GROUP, kind.plural, name)  # as the real server: by the binding's resource
    _confirm(policy, user, kind, namespace, new, owner, rules)


_PLURALS = {"Role": "roles", "ClusterRole": "clusterroles"}


def _same(new: Json, old: Json) -> bool:
    """Whether nothing changes but what garbage collection changes."""

    def rest(obj: Json) -> Json:
        metadata = {key: value for key, value in obj["metadata"].items() if key not in _COLLECTED}
        return {**obj, "metadata": metadata}

    return rest(new) == rest(old)


_COLLECTED = frozenset({"ownerReferences", "finalizers", "selfLink", "managedFields"})


def _name(obj: Json) -> str:
    return (obj.get("metadata") or {}).get("name") or ""


def _confirm(
    policy: Policy, user: User, kind: Kind, namespace: str, new: Json, owner: list[Json], rules: Iterable[Json]
) -> None:
    missing = _compact(_uncovered(owner, rules))
    if not missing:
        return
    groups = " ".join(go_quote(one) for one in user.groups)
    why = (
        f"user {go_quote(user.name)} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n"
        + "\n".join(sorted({_printed(one) for one in missing}))
    )
    if problems := policy.problems(user.name, user.groups, namespace):
        why += f"; resolution errors: [{problems.replace(f'role.{GROUP}', f'roles.{GROUP}')}]"
    raise errors.forbidden(kind.group, kind.plural, _name(new), why)


def _uncovered(owner: Sequence[Json], rules: Iterable[Json]) -> Iterator[Json]:
    """The smallest parts of `rules` that no rule of `owner` holds."""
    for rule in rules:
        for part in _parts(rule):
            if not any(_covers(one, part) for one in owner):
                yield part


def _parts(rule: Json) -> Iterator[Json]:
    """Rules of one verb, group, resource and name (or path) each."""
    verbs = rule.get("verbs") or ()
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in verbs:
                one = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                yield from ({**one, "resourceNames": [name]} for name in rule.get("resourceNames") or ())
                if not rule.get("resourceNames"):
                    yield one
    for path in rule.get("nonResourceURLs") or ():
        yield from ({"nonResourceURLs": [path], "verbs": [verb]} for verb in verbs)


def _covers(rule: Json, part: Json) -> bool:
    names, wanted = rule.get("resourceNames") or (), part.get("resourceNames")
    return (
        _has(rule, part, "verbs")
        and _has(rule, part, "apiGroups")
        and all(_resource(rule.get("resources") or (), one) for one in part.get("resources") or ())
        and (not names if not wanted else not names or wanted[0] in names)
        and all(_path(rule.get("nonResourceURLs") or (), one) for one in part.get("nonResourceURLs") or ())
    )


def _has(rule: Json, part: Json, field: str) -> bool:
    have = rule.get(field) or ()
    return "*" in have or all(one in have for one in part.get(field) or ())


def _resource(have: Sequence[str], one: str) -> bool:
    _, slash, subresource = one.partition("/")
    return "*" in have or one in have or (bool(slash) and f"*/{subresource}" in have)


def _path(have: Sequence[str], one: str) -> bool:
    return any(owned == one or (owned.endswith("*") and one.startswith(owned.rstrip("*"))) for owned in have)


def _compact(parts: Iterable[Json]) -> list[Json]:
    """Parts that differ in their verb alone, put together."""
    found: dict[Any, Json] = {}
    for part in parts:
        key = tuple((field, tuple(part.get(field) or ())) for field in _SHOWN[:4])
        if part.get("nonResourceURLs"):
            key = (*key, tuple(part["verbs"]))
        verbs = found[key]["verbs"] if key in found else []
        found[key] = {**part, "verbs": [*verbs, *part["verbs"]]}
    return list(found.values())


_SHOWN = ("apiGroups", "resources", "nonResourceURLs", "resourceNames", "verbs")
_TITLES = ("APIGroups", "Resources", "NonResourceURLs", "ResourceNames", "Verbs")


def _printed(rule: Json) -> str:
    parts = [
        f"{title}:[{' '.join(go_quote(one) for one in rule[field])}]"
        for field, title in zip(_SHOWN, _TITLES, strict=True)
        if rule.get(field)
    ]
    return f"{{{', '.join(parts)}}}"

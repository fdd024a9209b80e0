"""Nobody gives away more than they have: who writes a role or a binding must hold its rules, or be told to (pure).

Verb `escalate` on roles and verb `bind` on the role that is bound let a user do it all the same, as in Kubernetes.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from netplane.api import errors, kinds
from netplane.api.kinds import Kind
from netplane.api.rbac import Ask, Policy
from netplane.apiserver.access.tokens import MASTERS, User

Json = dict[str, Any]

_ROLES, _BINDINGS = (kinds.ROLE, kinds.CLUSTER_ROLE), (kinds.ROLE_BINDING, kinds.CLUSTER_ROLE_BINDING)


def check(policy: Policy, user: User, kind: Kind, obj: Json) -> None:
    """Raises StatusError 403 when `user` may not give what `obj` gives."""
    if MASTERS in user.groups or kind not in _ROLES + _BINDINGS:
        return
    metadata = obj.get("metadata") or {}
    namespace, name = metadata.get("namespace") or "", metadata.get("name") or ""
    if obj.get("aggregationRule") and not _may_everything(policy, user):
        why = "must have cluster-admin privileges to use an aggregationRule"
        raise errors.forbidden(kind.group, kind.plural, name, why)
    if kind in _ROLES:
        verb, plural, which, rules = "escalate", kind.plural, name, obj.get("rules") or ()
    else:
        ref = obj.get("roleRef") or {}
        plural = "clusterroles" if ref.get("kind") == "ClusterRole" else "roles"
        verb, which = "bind", ref.get("name") or ""
        rules = policy.rules(plural, namespace if plural == "roles" else "", which)
    may = Ask(verb, kind.group, plural, "", namespace, which)
    if policy.allows(user.name, user.groups, may):
        return
    missing = [ask for ask in asks(rules, namespace) if not policy.allows(user.name, user.groups, ask)]
    if missing:
        first = missing[0]
        what = first.path or "/".join(part for part in (first.group, first.resource, first.subresource) if part)
        why = (
            f'user "{user.name}" (groups={list(user.groups)}) is attempting to grant RBAC permissions '
            f"not currently held: {first.verb} {what}"
        )
        raise errors.forbidden(kind.group, kind.plural, name, why)


def _may_everything(policy: Policy, user: User) -> bool:
    everything = (Ask("*", "*", "*"), Ask("*", path="*"))
    return all(policy.allows(user.name, user.groups, ask) for ask in everything)


def asks(rules: Sequence[Json], namespace: str) -> Iterator[Ask]:
    """Every question that rules answer with yes."""
    for rule in rules:
        for verb in rule.get("verbs") or ():
            for path in rule.get("nonResourceURLs") or ():
                yield Ask(verb, path=path)
            for group in rule.get("apiGroups") or ():
                for resource in rule.get("resources") or ():
                    plural, _, sub = resource.partition("/")
                    for name in rule.get("resourceNames") or ("",):
                        yield Ask(verb, group, plural, sub, namespace, name)

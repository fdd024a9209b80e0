"""Who may do what: RBAC rules put together, asked of (pure).

    ClusterRoleBinding → ClusterRole          everywhere
    RoleBinding        → Role, ClusterRole    in the binding's namespace

`Policy` is built from the stored objects and answers by the user's name and groups; a change of any of them makes a new
one. Source: rbac.authorization.k8s.io/v1 and the authorizer of Kubernetes 1.36.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from netplane.api import selectors

Json = dict[str, Any]

GROUP = "rbac.authorization.k8s.io"
_ALL = "*"
REMEMBERED = 10_000


class Ask(NamedTuple):
    """One question. `path` is set instead of the rest for what is no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


def allows(rule: Json, ask: Ask) -> bool:
    """Whether one rule answers a question with yes."""
    verbs = rule.get("verbs") or ()
    if ask.verb not in verbs and _ALL not in verbs:
        return False
    if ask.path:
        return any(path_fits(pattern, ask.path) for pattern in rule.get("nonResourceURLs") or ())
    groups = rule.get("apiGroups") or ()
    if ask.group not in groups and _ALL not in groups:
        return False
    if not _resource_fits(rule.get("resources") or (), ask):
        return False
    named = rule.get("resourceNames")
    return not named or ask.name in named


def path_fits(pattern: str, path: str) -> bool:
    """Whether a path is meant by a pattern, which may end in `*`."""
    return pattern in (_ALL, path) or (pattern.endswith(_ALL) and path.startswith(pattern[:-1]))


def _resource_fits(resources: Sequence[str], ask: Ask) -> bool:
    whole = f"{ask.resource}/{ask.subresource}" if ask.subresource else ask.resource
    if _ALL in resources or whole in resources:
        return True
    return bool(ask.subresource) and f"*/{ask.subresource}" in resources


class Grant(NamedTuple):
    """Rules that somebody has, in one namespace or ("") everywhere.

    `source` is the binding, in Kubernetes' words, `order` its place among all; `missing` is a role that is not there.
    """

    namespace: str
    rules: Sequence[Json]
    source: str = ""
    order: int = 0
    missing: str = ""

    def holds_in(self, namespace: str) -> bool:
        """Whether it counts for a question about a namespace ("": about none)."""
        return not self.namespace or self.namespace == namespace


def rules_of(role: Json, cluster_roles: Sequence[Json]) -> list[Json]:
    """The rules of a ClusterRole: its own, or those it gathers by its aggregationRule."""
    return aggregated(role, cluster_roles) if role.get("aggregationRule") else list(role.get("rules") or ())


def aggregated(role: Json, cluster_roles: Sequence[Json]) -> list[Json]:
    """The rules of all other ClusterRoles that the selectors of `role` choose, in their order and by name; each once.

    A chosen role may gather itself: then what it gathers stands in its place, however deep.
    """
    rules: list[Json] = []
    by_name = sorted(cluster_roles, key=lambda each: str(each["metadata"]["name"]))
    for rule in _gathered(role, by_name, {role["metadata"]["name"]}):
        if rule not in rules:
            rules.append(rule)
    return rules


def _gathered(role: Json, by_name: Sequence[Json], seen: set[str]) -> Iterator[Json]:
    for selector in role["aggregationRule"].get("clusterRoleSelectors") or ():
        fits = selectors.from_label_selector(selector).matches
        for one in by_name:
            name = one["metadata"]["name"]
            if name in seen or not fits(one["metadata"].get("labels") or {}):
                continue
            seen.add(name)
            yield from _gathered(one, by_name, seen) if one.get("aggregationRule") else one.get("rules") or ()


class Policy:
    """All bindings, by who has them."""

    def __init__(
        self,
        roles: Iterable[Json] = (),
        cluster_roles: Iterable[Json] = (),
        role_bindings: Iterable[Json] = (),
        cluster_role_bindings: Iterable[Json] = (),
    ) -> None:
        self._grants: dict[tuple[str, str], list[Grant]] = {}
        self._bindings = 0
        listed = list(cluster_roles)
        everywhere = {one["metadata"]["name"]: rules_of(one, listed) for one in listed}
        local = {(one["metadata"]["namespace"], one["metadata"]["name"]): one.get("rules") or () for one in roles}
        self._roles: dict[tuple[str, str], Sequence[Json]] = {("", name): rules for name, rules in everywhere.items()}
        self._roles |= local
        self._answers: dict[tuple[str, tuple[str, ...], Ask], bool] = {}
        for binding in cluster_role_bindings:
            self._bind(binding, "", everywhere.get(binding["roleRef"].get("name", "")))
        for binding in role_bindings:
            namespace, ref = binding["metadata"]["namespace"], binding["roleRef"]
            name = ref.get("name", "")
            self._bind(
                binding,
                namespace,
                everywhere.get(name) if ref.get("kind") == "ClusterRole" else local.get((namespace, name)),
            )

    def _bind(self, binding: Json, namespace: str, rules: Sequence[Json] | None) -> None:
        ref, name = binding["roleRef"], (binding.get("metadata") or {}).get("name", "")
        source = f'ClusterRoleBinding "{name}"' if not namespace else f'RoleBinding "{name}/{namespace}"'
        source += f' of {ref.get("kind", "")} "{ref.get("name", "")}"'
        missing = f'{ref.get("kind", "").lower()}.{GROUP} "{ref.get("name", "")}" not found' if rules is None else ""
        self._bindings += 1
        for subject in binding.get("subjects") or ():
            kind, name = subject.get("kind", ""), subject.get("name", "")
            whom = f'{kind} "{name}"'
            if kind == "ServiceAccount":
                place = subject.get("namespace") or namespace
                kind, name, whom = "User", f"system:serviceaccount:{place}:{name}", f'{kind} "{name}/{place}"'
            grant = Grant(namespace, rules or (), f"{source} to {whom}", self._bindings, missing)
            self._grants.setdefault((kind, name), []).append(grant)

    def _all(self, user: str, groups: Iterable[str]) -> Iterator[Grant]:
        yield from self._grants.get(("User", user), ())
        for group in groups:
            yield from self._grants.get(("Group", group), ())

    def grants(self, user: str, groups: Iterable[str], namespace: str) -> list[Grant]:
        """What a user has in a namespace, for itself and through its groups: each binding once, in their order."""
        found = {grant.order: grant for grant in self._all(user, groups) if grant.holds_in(namespace)}
        return [found[order] for order in sorted(found)]

    def rules(self, plural: str, namespace: str, name: str) -> Sequence[Json] | None:
        """The rules of a role; None when there is no such role."""
        return self._roles.get((namespace if plural == "roles" else "", name))

    def allows(self, user: str, groups: tuple[str, ...], ask: Ask) -> bool:
        """Whether any rule says yes. Answers are remembered: they hold as long as this policy does."""
        key = (user, groups, ask)
        found = self._answers.get(key)
        if found is None:
            if len(self._answers) >= REMEMBERED:
                self._answers.clear()
            found = self._answers[key] = self._decide(user, groups, ask)
        return found

    def reason(self, user: str, groups: tuple[str, ...], ask: Ask) -> str:
        """Why the answer is yes: the binding that says so first. When it is no: which roles are not there, if any."""
        grants = self.grants(user, groups, ask.namespace)
        for grant in grants:
            if any(allows(rule, ask) for rule in grant.rules):
                return f"RBAC: allowed by {grant.source}"
        missing = self._missing(grants)
        return f"RBAC: {missing}" if missing else ""

    def problems(self, user: str, groups: tuple[str, ...], namespace: str) -> str:
        """Which roles a user's bindings name that are not there; "" when all are."""
        return self._missing(self.grants(user, groups, namespace))

    def _missing(self, grants: Iterable[Grant]) -> str:
        names = list(dict.fromkeys(grant.missing for grant in grants if grant.missing))
        return names[0] if len(names) == 1 else f"[{', '.join(names)}]" if names else ""

    def _decide(self, user: str, groups: tuple[str, ...], ask: Ask) -> bool:
        return any(
            grant.holds_in(ask.namespace) and any(allows(rule, ask) for rule in grant.rules)
            for grant in self._all(user, groups)
        )

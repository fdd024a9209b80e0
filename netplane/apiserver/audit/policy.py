"""Which requests the audit log tells of, and how much of each: an audit.k8s.io/v1 Policy (pure).

The first rule that fits decides; a request that none fits is not logged. Source: the Kubernetes auditing documentation
and the policy checker of Kubernetes 1.36.
"""

from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from netplane.api.rbac import path_fits
from netplane.apiserver.access.tokens import User
from netplane.apiserver.wire.target import Target
from netplane.errors import UsageError, reason

Json = dict[str, Any]

STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
REMEMBERED = 10_000


class Level(IntEnum):
    """How much of a request is logged; each holds what those before it hold."""

    NONE = 0
    METADATA = 1
    REQUEST = 2
    REQUEST_RESPONSE = 3

    @property
    def word(self) -> str:
        """As policies and events write it."""
        return _WORDS[self]


_WORDS = {
    Level.NONE: "None",
    Level.METADATA: "Metadata",
    Level.REQUEST: "Request",
    Level.REQUEST_RESPONSE: "RequestResponse",
}
_LEVELS = {word: level for level, word in _WORDS.items()}


class Resources(NamedTuple):
    """Resources of one group; none given means all of it."""

    group: str
    resources: tuple[str, ...]
    names: frozenset[str]


class Rule(NamedTuple):
    """One rule; what is empty does not restrict."""

    level: Level
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    namespaces: frozenset[str]
    resources: tuple[Resources, ...]
    paths: tuple[str, ...]
    omit: frozenset[str]
    omit_managed: bool


class Verdict(NamedTuple):
    """What is logged of a request."""

    level: Level
    omit: frozenset[str] = frozenset()
    omit_managed: bool = False


_NOTHING = Verdict(Level.NONE)


class Policy:
    """All rules, asked of."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._by_name = any(one.names for rule in self._rules for one in rule.resources)
        self._verdicts: dict[tuple[object, ...], Verdict] = {}

    def verdict(self, user: User, verb: str, target: Target | None, path: str) -> Verdict:
        """What is logged of a request by `user`; `target` None is a request to `path` that names no resource."""
        key: tuple[object, ...] = (user.name, user.groups, verb, path) if target is None else (
            user.name, user.groups, verb, target.group, target.resource, target.subresource, target.namespace,
            target.name if self._by_name else "",
        )  # fmt: skip
        found = self._verdicts.get(key)
        if found is None:
            if len(self._verdicts) >= REMEMBERED:
                self._verdicts.clear()
            found = self._verdicts[key] = self._decide(user, verb, target, path)
        return found

    def _decide(self, user: User, verb: str, target: Target | None, path: str) -> Verdict:
        for rule in self._rules:
            if _fits(rule, user, verb) and (_fits_path(rule, path) if target is None else _fits_target(rule, target)):
                return Verdict(rule.level, rule.omit, rule.omit_managed)
        return _NOTHING


def _fits(rule: Rule, user: User, verb: str) -> bool:
    if rule.users and user.name not in rule.users:
        return False
    if rule.groups and rule.groups.isdisjoint(user.groups):
        return False
    return not rule.verbs or verb in rule.verbs


def _fits_path(rule: Rule, path: str) -> bool:
    if rule.paths:
        return any(path_fits(pattern, path) for pattern in rule.paths)
    return not rule.resources and not rule.namespaces


def _fits_target(rule: Rule, target: Target) -> bool:
    if rule.paths or (rule.namespaces and target.namespace not in rule.namespaces):
        return False
    return not rule.resources or any(_fits_resources(one, target) for one in rule.resources)


def _fits_resources(one: Resources, target: Target) -> bool:
    if one.group != target.group:
        return False
    if not one.resources:
        return True
    wanted = {"*", f"{target.resource}/{target.subresource}" if target.subresource else target.resource}
    if target.subresource:
        wanted |= {f"{target.resource}/*", f"*/{target.subresource}"}
    return not wanted.isdisjoint(one.resources) and (not one.names or target.name in one.names)


DEFAULT = """
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/version*"]
- level: Metadata
"""


def default() -> Policy:
    """Who did what to which object, without any object's content: so no Secret's either."""
    return parse(yaml.safe_load(DEFAULT), "the default audit policy")


def load(path: Path) -> Policy:
    """The policy in a file. Raises UsageError that names the file and the field."""
    flag = f"--audit-policy-file {path}"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{flag}: {reason(error)}", hint="give a readable YAML file") from error
    if not isinstance(document, dict) or document.get("kind") != "Policy":
        raise UsageError(f"{flag}: it holds no Policy", hint="begin with apiVersion: audit.k8s.io/v1, kind: Policy")
    if document.get("apiVersion") != "audit.k8s.io/v1":
        raise UsageError(f"{flag}: apiVersion is {document.get('apiVersion')!r}", hint="give audit.k8s.io/v1")
    return parse(document, flag)


def parse(document: Json, where: str) -> Policy:
    """A Policy document. Raises UsageError."""
    rules = document.get("rules")
    if not isinstance(rules, list) or not rules:
        raise UsageError(f"{where}: rules: there is none", hint="give at least one rule with a level")
    omit = _stages(document, where, "omitStages")
    managed = bool(document.get("omitManagedFields"))
    return Policy([_rule(one, f"{where}: rules[{i}]", omit, managed=managed) for i, one in enumerate(rules)])


def _rule(given: Any, where: str, omit: frozenset[str], *, managed: bool) -> Rule:
    if not isinstance(given, dict):
        raise UsageError(f"{where}: is no object", hint="a rule has a level, and what it is about")
    unknown = set(given) - _FIELDS
    if unknown:
        raise UsageError(f"{where}.{min(unknown)}: no such field", hint=f"fields are {', '.join(sorted(_FIELDS))}")
    # YAML reads an unquoted None as the word, but `level: null` is as wrong as any other.
    level = _LEVELS.get(str(given.get("level")))
    if level is None or given.get("level") is None:
        raise UsageError(f"{where}.level: {given.get('level')!r} is none", hint=f"give one of {', '.join(_LEVELS)}")
    if given.get("resources") and given.get("nonResourceURLs"):
        raise UsageError(f"{where}: a rule is about resources or about nonResourceURLs", hint="make it two rules")
    own = given.get("omitManagedFields")
    return Rule(
        level,
        frozenset(_texts(given, where, "users")),
        frozenset(_texts(given, where, "userGroups")),
        frozenset(_texts(given, where, "verbs")),
        frozenset(_texts(given, where, "namespaces")),
        tuple(_resources(one, f"{where}.resources[{i}]") for i, one in enumerate(given.get("resources") or ())),
        tuple(_texts(given, where, "nonResourceURLs")),
        omit | _stages(given, where, "omitStages"),
        managed if own is None else bool(own),
    )


_FIELDS = frozenset({
    "level", "users", "userGroups", "verbs", "namespaces", "resources", "nonResourceURLs", "omitStages",
    "omitManagedFields",
})  # fmt: skip


def _resources(given: Any, where: str) -> Resources:
    if not isinstance(given, dict) or not isinstance(given.get("group", ""), str):
        raise UsageError(f"{where}: is no group of resources", hint='give group (core is ""), resources, resourceNames')
    names = frozenset(_texts(given, where, "resourceNames"))
    return Resources(given.get("group", ""), tuple(_texts(given, where, "resources")), names)


def _stages(given: Json, where: str, field: str) -> frozenset[str]:
    found = frozenset(_texts(given, where, field))
    unknown = found - set(STAGES)
    if unknown:
        raise UsageError(f"{where}.{field}: {min(unknown)!r} is no stage", hint=f"stages are {', '.join(STAGES)}")
    return found


def _texts(given: Json, where: str, field: str) -> list[str]:
    found = given.get(field) or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise UsageError(f"{where}.{field}: is no list of strings", hint="give a list; quote what YAML reads otherwise")
    return found

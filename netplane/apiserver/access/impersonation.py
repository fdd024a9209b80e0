"""Acting as somebody else: the Impersonate-* headers, and which rules let a user do it (pure).

    Impersonate-User          one, needed by the others
    Impersonate-Group         any number
    Impersonate-Uid           one
    Impersonate-Extra-KEY     any number

There are ways to be let, tried in this order, but the one that worked last for the user first:

    associated-node, arbitrary-node     a node by its name alone; the first for accounts of pods on it
    serviceaccount                      an account by its name alone
    user-info                           anybody else
    legacy                              anybody

Each but the last wants two rights: verb `impersonate-on:WAY:VERB` on what is asked for, and `impersonate:WAY` on every
part of whom (resources users, nodes, serviceaccounts, groups, uids, userextras/KEY of authentication.k8s.io). The last
wants verb `impersonate`, with users, serviceaccounts and groups in the group without a name. Source: the impersonation
page of the Kubernetes documentation, KEP-5284, and the filter of Kubernetes 1.36.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from netplane.api import errors, names
from netplane.api.fields import go_quote, invalid
from netplane.api.rbac import Ask, Policy
from netplane.apiserver.access import auth
from netplane.apiserver.access.tokens import (
    ACCOUNT,
    ANONYMOUS,
    AUTHENTICATED,
    MASTERS,
    UNAUTHENTICATED,
    User,
    account_groups,
)

REMEMBERED = 10_000
_PREFIX = b"impersonate-"
_EXTRA = b"impersonate-extra-"
_GROUP = "authentication.k8s.io"
_NODE, _NODES = "system:node:", "system:nodes"
_NODE_NAME = "authentication.kubernetes.io/node-name"
_LEGACY = "legacy"
_PATH = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")


class Wanted(NamedTuple):
    """Whom somebody wants to be, as the headers say."""

    name: str
    uid: str
    groups: tuple[str, ...]
    extra: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def alone(self) -> bool:
        """Whether there is a name and nothing else."""
        return not (self.uid or self.groups or self.extra)


def asked(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request wants to be somebody else's. Each comes here: one search over all names is the quickest no."""
    return _PREFIX in b" ".join(headers) and any(name.startswith(_PREFIX) for name in headers)


def act_as(
    policy: Policy, user: User, headers: Iterable[tuple[bytes, bytes]], ask: Ask, last: dict[str, str]
) -> tuple[User, str]:
    """Whom a request of `user` that asks `ask` is to be served as, and the verb that lets it ("": the legacy one).

    `last` remembers the way that worked for each user. Raises StatusError 400, 403.
    """
    wanted = _wanted(headers)
    if not wanted.name:
        if wanted.alone:
            return user, ""
        raise errors.bad_request(f"requested {_printed(wanted)} without impersonating a user name")
    first: errors.StatusError | None = None
    for way in sorted(_ways(user, wanted), key=lambda one: one != last.get(user.name)):
        try:
            found = _try(policy, user, wanted, ask, way)
        except errors.StatusError as error:
            first = first or error
            continue
        if len(last) >= REMEMBERED:
            last.clear()
        last[user.name] = way
        return found, "" if way == _LEGACY else f"impersonate:{way}"
    assert first is not None  # the last way is for anybody
    raise first


def _wanted(headers: Iterable[tuple[bytes, bytes]]) -> Wanted:
    name = uid = ""
    groups: list[str] = []
    extra: dict[str, list[str]] = {}
    for key, raw in headers:
        value = raw.decode("utf-8", "replace")
        if key == b"impersonate-user":
            name = name or value
        elif key == b"impersonate-uid":
            uid = uid or value
        elif key == b"impersonate-group":
            groups.append(value)
        elif key.startswith(_EXTRA):
            extra.setdefault(unquote(key[len(_EXTRA) :].decode("latin-1").lower()), []).append(value)
    return Wanted(name, uid, tuple(groups), tuple((key, tuple(values)) for key, values in extra.items()))


def _printed(wanted: Wanted) -> str:
    """As Go prints it."""
    groups = f"[]string{{{_listed(wanted.groups)}}}" if wanted.groups else "[]string(nil)"
    extra = ", ".join(f"{go_quote(key)}:[]string{{{_listed(values)}}}" for key, values in sorted(wanted.extra))
    held = f"map[string][]string{{{extra}}}" if wanted.extra else "map[string][]string(nil)"
    return f'&user.DefaultInfo{{Name:"", UID:{go_quote(wanted.uid)}, Groups:{groups}, Extra:{held}}}'


def _listed(values: Iterable[str]) -> str:
    return ", ".join(go_quote(one) for one in values)


def _ways(user: User, wanted: Wanted) -> Iterator[str]:
    """The ways that are for such a user, in their order."""
    node, account = _node(wanted.name), _account(wanted.name)
    if wanted.alone and node:
        if _account(user.name) and dict(user.extra).get(_NODE_NAME) == (node,):
            yield "associated-node"
        yield "arbitrary-node"
    if wanted.alone and account:
        yield "serviceaccount"
    if not node and not account:
        yield "user-info"
    yield _LEGACY


def _try(policy: Policy, user: User, wanted: Wanted, ask: Ask, way: str) -> User:
    """The user that one way leads to. Raises StatusError 403."""
    if way != _LEGACY:
        _check(policy, user, ask._replace(verb=f"impersonate-on:{way}:{ask.verb}"))
    verb, group = ("impersonate", "") if way == _LEGACY else (f"impersonate:{way}", _GROUP)
    _check(policy, user, _whom(wanted.name, verb, group, way))
    if wanted.uid:
        _check(policy, user, Ask(verb, _GROUP, "uids", name=wanted.uid))
    if way != _LEGACY:
        _check_sane(user, wanted, verb)
    if wanted.groups and not _all_of(policy, user, Ask(verb, group, "groups", name="*"), len(wanted.groups), way):
        for one in wanted.groups:
            _check(policy, user, Ask(verb, group, "groups", name=one))
    values = [(key, value) for key, several in wanted.extra for value in several]
    if values and not _all_of(policy, user, Ask(verb, _GROUP, "userextras", "*", name="*"), len(values), way):
        for key, value in values:
            _check(policy, user, Ask(verb, _GROUP, "userextras", key, name=value))
    return User(wanted.name, wanted.uid, _groups(wanted, constrained=way != _LEGACY), wanted.extra)


def _check(policy: Policy, user: User, ask: Ask) -> None:
    if not auth.allows(policy, user, ask):
        raise auth.refusal(user, ask, policy.reason(user.name, user.groups, ask))


def _all_of(policy: Policy, user: User, ask: Ask, count: int, way: str) -> bool:
    """Whether many may be asked about at once: by the right to all of them."""
    return way != _LEGACY and count >= _MANY and auth.allows(policy, user, ask)


_MANY = 4


def _whom(name: str, verb: str, group: str, way: str) -> Ask:
    node, account = _node(name), _account(name)
    if node and way != _LEGACY:
        return Ask(verb, group, "nodes", name="*" if way == "associated-node" else node)
    if account:
        return Ask(verb, group, "serviceaccounts", namespace=account[0], name=account[1])
    return Ask(verb, group, "users", name=name)


def _check_sane(user: User, wanted: Wanted, verb: str) -> None:
    """What only the legacy way lets through. Raises StatusError 403."""
    groups = Ask(verb, _GROUP, "groups")
    if "" in wanted.groups:
        raise auth.refusal(user, groups, "impersonating the empty string group is not allowed")
    if MASTERS in wanted.groups:
        why = f"impersonating the {MASTERS} group is not allowed"
        raise auth.refusal(user, groups._replace(name=MASTERS), why)
    for key, values in wanted.extra:
        if why := _bad_extra(key, values):
            raise auth.refusal(user, Ask(verb, _GROUP, "userextras"), why)


def _bad_extra(key: str, values: tuple[str, ...]) -> str:
    if not key:
        return "impersonating the empty string key in extra is not allowed"
    host, _, path = key.partition("/")
    if not host or not path:
        problems = [invalid("extra.key", key, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    else:
        problems = [invalid("extra.key", host, one) for one in names.dns_subdomain(host)]
        if not _PATH.fullmatch(path):
            problems.append(
                invalid("extra.key", path, f"Invalid path (regex used for validation is '{_PATH.pattern}')")
            )
    if problems:
        return f"impersonating an invalid key in extra is not allowed: {', '.join(map(str, problems))}"
    if key != key.lower():
        return f"impersonating a non-lowercase key in extra is not allowed: {go_quote(key)}"
    return "impersonating the empty string value in extra is not allowed" if "" in values else ""


def _node(name: str) -> str:
    """The node that a user name names; "" when it names none."""
    node = name.removeprefix(_NODE) if name.startswith(_NODE) else ""
    return node if node and not names.dns_subdomain(node) else ""


def _account(name: str) -> tuple[str, str] | None:
    """(namespace, name) of a ServiceAccount's user name."""
    parts = name.removeprefix(ACCOUNT).split(":") if name.startswith(ACCOUNT) else []
    if len(parts) != 2 or names.dns_label(parts[0]) or names.dns_subdomain(parts[1]):
        return None
    return parts[0], parts[1]


def _groups(wanted: Wanted, *, constrained: bool) -> tuple[str, ...]:
    groups = list(wanted.groups)
    if constrained and _node(wanted.name):
        groups = [_NODES]
    if not groups and (account := _account(wanted.name)):
        groups = [*account_groups(account[0])]
    if wanted.name == ANONYMOUS.name:
        groups += [] if UNAUTHENTICATED in groups else [UNAUTHENTICATED]
    elif not {AUTHENTICATED, UNAUTHENTICATED} & set(groups):
        groups.append(AUTHENTICATED)
    return tuple(groups)

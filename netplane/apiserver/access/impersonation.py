"""Acting as somebody else: the Impersonate-* headers, each part allowed by the verb `impersonate` (pure).

    Impersonate-User          users, or serviceaccounts of a namespace     one
    Impersonate-Group         groups                                       any number
    Impersonate-Uid           uids.authentication.k8s.io                   one
    Impersonate-Extra-KEY     userextras.authentication.k8s.io/KEY         any number

Source: the user impersonation page of the Kubernetes documentation and the filter of Kubernetes 1.36.
"""

from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from netplane.api import errors
from netplane.api.rbac import Ask, Policy
from netplane.apiserver.access import auth
from netplane.apiserver.access.tokens import ACCOUNT, ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User, account_groups

_PREFIX = b"impersonate-"
_EXTRA = b"impersonate-extra-"
_GROUP = "authentication.k8s.io"


def asked(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request wants to be somebody else's. Each comes here: one search over all names is the quickest no."""
    return _PREFIX in b" ".join(headers) and any(name.startswith(_PREFIX) for name in headers)


def act_as(policy: Policy, user: User, headers: Iterable[tuple[bytes, bytes]]) -> User:
    """Whom a request of `user` is to be served as. Raises StatusError 403, or 500 for parts without a user."""
    name, uid, groups, extra = _wanted(headers)
    if not name:
        raise errors.internal("requested groups, uid or extra without impersonating a user")
    for ask in _asks(name, uid, groups, extra):
        if not auth.allows(policy, user, ask):
            raise auth.refusal(user, ask)
    return User(name, uid, _groups(name, groups), tuple((key, tuple(values)) for key, values in extra.items()))


def _wanted(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str, list[str], dict[str, list[str]]]:
    name = uid = ""
    groups: list[str] = []
    extra: dict[str, list[str]] = {}
    for key, raw in headers:
        value = raw.decode("utf-8", "replace")
        if key == b"impersonate-user":
            name = value
        elif key == b"impersonate-uid":
            uid = value
        elif key == b"impersonate-group":
            groups.append(value)
        elif key.startswith(_EXTRA):
            extra.setdefault(unquote(key[len(_EXTRA) :].decode("latin-1")).lower(), []).append(value)
    return name, uid, groups, extra


def _asks(name: str, uid: str, groups: list[str], extra: dict[str, list[str]]) -> Iterable[Ask]:
    if account := _account(name):
        yield Ask("impersonate", resource="serviceaccounts", namespace=account[0], name=account[1])
    else:
        yield Ask("impersonate", resource="users", name=name)
    for group in groups:
        yield Ask("impersonate", resource="groups", name=group)
    for key, values in extra.items():
        for value in values:
            yield Ask("impersonate", _GROUP, "userextras", key, name=value)
    if uid:
        yield Ask("impersonate", _GROUP, "uids", name=uid)


def _account(name: str) -> tuple[str, str] | None:
    """(namespace, name) of a ServiceAccount's user name."""
    parts = name.removeprefix(ACCOUNT).split(":") if name.startswith(ACCOUNT) else []
    return (parts[0], parts[1]) if len(parts) == 2 and all(parts) else None


def _groups(name: str, given: list[str]) -> tuple[str, ...]:
    groups = list(given)
    if not groups and (account := _account(name)):
        groups = [*account_groups(account[0])]
    own = UNAUTHENTICATED if name == ANONYMOUS.name else AUTHENTICATED
    if not {AUTHENTICATED, UNAUTHENTICATED} & set(groups):
        groups.append(own)
    return tuple(groups)

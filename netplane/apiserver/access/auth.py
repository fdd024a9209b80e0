"""Who asks, and may they? Certificates and bearer tokens for the first, RBAC for the second.

    client certificate   CN is the user, each O a group            (--client-ca-file, or the cluster's own CA)
    static token         a line of --token-auth-file
    ServiceAccount token signed by this cluster, bound to what must still be there
    nothing              system:anonymous, who may do what system:public-info-viewer says: see the version and health

Members of system:masters may do everything, whatever the rules say: nobody can lock the administrators out.
"""

from collections.abc import Mapping

from netplane.api import errors, selectors
from netplane.api.fields import go_quote
from netplane.api.rbac import Ask, Policy
from netplane.apiserver.access.tokens import ANONYMOUS, MASTERS, User
from netplane.apiserver.cluster import Cluster, now
from netplane.apiserver.wire.target import Target

_SELECTING = frozenset({"list", "watch"})
_VERBS = _SELECTING | {"get", "create", "update", "patch", "delete", "deletecollection"}
_NOTHING: Mapping[str, str] = {}


async def authenticate(authorization: bytes, cluster: Cluster) -> User:
    """The user of an Authorization header; anonymous without one.

    Raises:
        StatusError: 401, when the header carries something nobody knows, or nothing and --anonymous-auth is off.
    """
    if not authorization:
        return _anonymous(cluster)
    token = bearer(authorization.decode("latin-1"))
    if not token:
        return _anonymous(cluster)
    user = await of_token(token, cluster)
    if user is None:
        raise errors.unauthorized()
    return user


def bearer(authorization: str) -> str:
    """The token of an Authorization header: its second word; "" when there is none, or two spaces are before it."""
    parts = authorization.strip().split(" ", 2)
    return parts[1] if len(parts) > 1 and parts[0].lower() == "bearer" else ""


def _anonymous(cluster: Cluster) -> User:
    if not cluster.settings.anonymous:
        raise errors.unauthorized()
    return ANONYMOUS


async def of_token(token: str, cluster: Cluster) -> User | None:
    """Whose token it is; None when it is nobody's."""
    user = cluster.users.get(token)
    if user is None and token.count(".") == 2:
        user = await cluster.issuer.user(token, now())
    return user


def allows(policy: Policy, user: User, ask: Ask) -> bool:
    """Whether `user` may do what is asked."""
    if MASTERS in user.groups:
        return True
    return policy.allows(user.name, user.groups, ask)


def ask_of(target: Target | None, method: str, path: str, query: Mapping[str, str] = _NOTHING) -> Ask:
    """What a request asks to do. A list or watch of one name (by field selector) is about that name."""
    if target is None:
        return Ask(method.lower(), path=path)
    name = target.name
    if not name and target.verb in _SELECTING and (selector := query.get("fieldSelector")):
        name = _selected(selector)
    verb = target.verb if target.verb in _VERBS else ""
    return Ask(verb, target.group, target.resource, target.subresource, target.namespace, name)


def _selected(selector: str) -> str:
    try:
        return selectors.parse_fields(selector).exact("metadata.name") or ""
    except errors.StatusError:
        return ""  # told when it is read


def refusal(user: User, ask: Ask, more: str = "") -> errors.StatusError:
    """403: what a user may not do, and `more` about why."""
    more = f": {more}" if more else ""
    if ask.path:
        return errors.forbidden("", "", "", _harmless(f"User {go_quote(user.name)} cannot {ask.verb} path "
                                                      f"{go_quote(ask.path)}") + more)  # fmt: skip
    resource = f"{ask.resource}/{ask.subresource}" if ask.subresource else ask.resource
    scope = f"in the namespace {go_quote(ask.namespace)}" if ask.namespace else "at the cluster scope"
    what = f"resource {go_quote(resource)} in API group {go_quote(ask.group)} {scope}"
    why = _harmless(f"User {go_quote(user.name)} cannot {ask.verb} {what}")
    return errors.forbidden(ask.group, ask.resource, ask.name, f"{why}{more}")


def _harmless(text: str) -> str:
    """What a browser would not take for HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

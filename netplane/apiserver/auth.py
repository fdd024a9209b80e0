"""Who asks, and may they? Bearer tokens for the first; for the second a rule that fits in one sentence.

Members of system:masters may do everything; any other user who is known may read everything but Secrets and
ask about themselves; nobody else gets in, except to the paths a load balancer or a probe must reach.
"""

from netplane.api import errors
from netplane.apiserver.cluster import Cluster, now
from netplane.apiserver.target import Target
from netplane.apiserver.tokens import ANONYMOUS, AUTHENTICATED, MASTERS, User

OPEN_PATHS = ("/version", "/livez", "/readyz", "/healthz")
READ_VERBS = frozenset({"get", "list", "watch"})
REVIEWS = frozenset({"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"})


async def authenticate(authorization: bytes, cluster: Cluster) -> User:
    """The user of an Authorization header; anonymous without one.

    Raises:
        StatusError: 401, when the header carries something nobody knows.
    """
    if not authorization:
        return ANONYMOUS
    scheme, _, token = authorization.decode("latin-1").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        return ANONYMOUS
    user = cluster.users.get(token)
    if user is None and token.count(".") == 2:
        user = await cluster.issuer.user(token, now())
    if user is None:
        raise errors.unauthorized()
    return user


def is_open(path: str) -> bool:
    """Paths that anyone may read."""
    return path.startswith(OPEN_PATHS) and any(path == p or path.startswith(p + "/") for p in OPEN_PATHS)


def allows(user: User, verb: str, resource: str = "") -> bool:
    """Whether `user` may do `verb` on a resource, or (resource empty) on a path that is not open."""
    if MASTERS in user.groups:
        return True
    if AUTHENTICATED not in user.groups:
        return False
    return (verb in READ_VERBS and resource != "secrets") or (verb == "create" and resource in REVIEWS)


def authorize(user: User, target: Target | None, method: str, path: str) -> None:
    """Let the request pass, or raise StatusError 403 in Kubernetes' words."""
    if target is None:
        verb = method.lower() if method != "HEAD" else "get"
        if not ((is_open(path) and verb == "get") or allows(user, verb)):
            raise errors.forbidden("", "", "", f'User "{user.name}" cannot {verb} path "{path}"')
    elif not allows(user, target.verb, target.resource):
        resource = f"{target.resource}/{target.subresource}" if target.subresource else target.resource
        scope = f'in the namespace "{target.namespace}"' if target.namespace else "at the cluster scope"
        why = f'User "{user.name}" cannot {target.verb} resource "{resource}" in API group "{target.group}" {scope}'
        raise errors.forbidden(target.group, target.resource, target.name, why)

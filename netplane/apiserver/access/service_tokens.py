"""ServiceAccount tokens: asked for with TokenRequest, bound to the account (and to a pod, node or secret), short-lived.

A token is good as long as its time, its account and the object it is bound to last: all are looked up in the store's
memory at each request. Only the signature, which costs most, is remembered.
"""

import datetime
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from netplane.api import errors
from netplane.api.fields import go_quote, invalid
from netplane.api.kinds import Kind
from netplane.api.managed import entries
from netplane.api.validation.volumes import token_lifetime
from netplane.apiserver import cluster as cl
from netplane.apiserver.access import legacy_tokens, token_bounds
from netplane.apiserver.access.jwt import BadToken, Key, issuer_of
from netplane.apiserver.access.tokens import AUTHENTICATED, CREDENTIAL, User, account_groups, account_user
from netplane.apiserver.admission.incoming import place, strict_as
from netplane.apiserver.process.files import write_atomic
from netplane.apiserver.process.settings import ISSUER
from netplane.apiserver.verbs import reads
from netplane.apiserver.wire import bodies, negotiate
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.options import write_options
from netplane.apiserver.wire.reply import Reply, of_json, warned
from netplane.errors import NetplaneError
from netplane.store.protocol import Store

Json = dict[str, Any]

DEFAULT_S = 3600
REMEMBERED = 4096
KUBELET_S, EXTENDED_S = 3607, 365 * 24 * 3600
"""A pod's token of just this time (ServiceAccount admission asks for it) lasts a year: old clients never read anew."""
_OURS = "kubernetes.io"
_EXTRA = "authentication.kubernetes.io"


def load_key(path: Path) -> Key:
    """The signing key of a cluster; made on first start, 0600."""
    if not path.exists():
        write_atomic(path, Key.make().pem())
    try:
        return Key.load(path.read_bytes())
    except (OSError, ValueError) as error:
        hint = "restore the file, or remove it: then tokens given out before are refused"
        raise NetplaneError(f"{path}: {error}", hint=hint) from error


class Issuer:
    """Gives tokens out and knows them again; `name` is who it says to be, and the audience of tokens for us."""

    def __init__(self, key: Key, store: Store, name: str = ISSUER) -> None:
        self.key = key
        self.name = name
        self._store = store
        self._signed: dict[str, Json] = {}

    def issue(self, account: Json, audiences: list[str], seconds: int, bound: Json, now: datetime.datetime) -> str:
        """A token for a ServiceAccount; `bound` is {"pod": {name, uid}} or the like, or {}."""
        metadata = account["metadata"]
        at = int(now.timestamp())
        own = {
            "namespace": metadata["namespace"],
            **bound,
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
        }
        if "pod" in bound and seconds == KUBELET_S and set(audiences) <= {self.name}:
            own["warnafter"], seconds = at + seconds, EXTENDED_S
        claims = {
            "aud": audiences,
            "exp": at + seconds,
            "iat": at,
            "iss": self.name,
            "jti": str(uuid.uuid4()),
            _OURS: own,
            "nbf": at,
            "sub": account_user(metadata["namespace"], metadata["name"]),
        }
        return self.key.sign(claims)

    async def user(self, token: str, now: datetime.datetime) -> User | None:
        """Whose token it is, and meant for us; None when it is not good (any more)."""
        try:
            found, _ = await self.known(token, now, (self.name,))
        except BadToken:
            return None
        return found

    async def known(
        self, token: str, now: datetime.datetime, audiences: tuple[str, ...]
    ) -> tuple[User, tuple[str, ...]]:
        """Whose token it is, and for which of these audiences. Raises BadToken, in Kubernetes' words."""
        claims = self._claims(token)
        try:
            if claims["iss"] == legacy_tokens.ISSUER:
                return await self._legacy(claims, token, audiences)
            fit = tuple(one for one in claims["aud"] if one in audiences)
            if not fit:
                raise _bad(f"token audiences {_listed(claims['aud'])} is invalid for the target audiences "
                           f"{_listed(audiences)}")  # fmt: skip
            if now.timestamp() > claims["exp"] + token_bounds.LEEWAY_S:
                raise _bad("service account token has expired")
            if now.timestamp() < claims["nbf"] - token_bounds.LEEWAY_S:
                raise _bad("service account token is not valid yet")
            return await self._bound(claims, now), fit
        except (KeyError, TypeError) as error:
            raise BadToken(UNKNOWN) from error

    async def _bound(self, claims: Json, now: datetime.datetime) -> User:
        """The account's user, when it and all the token is bound to is there. Raises BadToken, KeyError."""
        own, there = claims[_OURS], token_bounds.There(self._store, now)
        namespace = own["namespace"]
        problem = await there.account(namespace, own["serviceaccount"]) or await there.bound(namespace, own)
        if problem:
            raise _bad(problem)
        extra = [(CREDENTIAL, (f"JTI={claims['jti']}",))] if claims.get("jti") else []
        for kind in ("node", "pod"):
            if ref := own.get(kind):
                extra += [(f"{_EXTRA}/{kind}-{part}", (ref[part],)) for part in ("name", "uid") if ref.get(part)]
        return _user(namespace, own["serviceaccount"], tuple(extra))

    async def _legacy(self, claims: Json, token: str, audiences: tuple[str, ...]) -> tuple[User, tuple[str, ...]]:
        """A token that a Secret holds is for the apiserver only. Raises BadToken, KeyError."""
        if self.name not in audiences:
            raise _bad(f"token audiences {_listed((self.name,))} is invalid for the target audiences "
                       f"{_listed(audiences)}")  # fmt: skip
        namespace, account, problem = await legacy_tokens.account_of(self._store, claims, token)
        if problem:
            raise _bad(problem)
        return _user(namespace, account), (self.name,)

    def _claims(self, token: str) -> Json:
        """What a token says, that this key signed. Raises BadToken."""
        found = self._signed.get(token)
        if found is None:
            if issuer_of(token) not in (self.name, legacy_tokens.ISSUER):
                raise BadToken(UNKNOWN)
            try:
                found = self._signed[token] = self.key.verify(token)
            except BadToken as error:
                raise _bad("go-jose/go-jose: error in cryptographic primitive") from error
            if len(self._signed) > REMEMBERED:
                del self._signed[next(iter(self._signed))]
        return found


UNKNOWN = "invalid bearer token"


def _bad(why: str) -> BadToken:
    return BadToken(f"[{UNKNOWN}, {why}]")


def _listed(audiences: Iterable[str]) -> str:
    return f"[{' '.join(go_quote(one) for one in audiences)}]"


def _user(namespace: str, account: Json, extra: tuple[tuple[str, tuple[str, ...]], ...] = ()) -> User:
    groups = (*account_groups(namespace), AUTHENTICATED)
    return User(account_user(namespace, account["name"]), account["uid"], groups, extra)


async def request(call: Call) -> Reply:
    """POST serviceaccounts/NAME/token."""
    options = write_options(call.query, "CreateOptions")
    asked = await bodies.read(call, _KIND, _VERSION)
    strict_as(call, asked, _KIND, _VERSION, options)
    metadata, spec = _metadata(call, asked), asked.setdefault("spec", {}) or {}
    asked["spec"] = spec
    if spec.get("expirationSeconds") is None:
        spec["expirationSeconds"] = DEFAULT_S
    seconds: int = spec["expirationSeconds"]
    owned = _owned(call, asked)
    account = call.cluster.decoded(await reads.stored(call))
    uid = account["metadata"]["uid"]
    if metadata.get("uid") not in (None, "", uid):
        why = f"the UID in the token request ({metadata['uid']}) does not match the UID of the service account ({uid})"
        raise errors.conflict(_GROUP, _KIND, call.target.name, why)
    if problems := token_lifetime(seconds, "spec.expirationSeconds"):
        raise errors.invalid(_GROUP, _KIND, "", problems)
    bound = await token_bounds.bound(call, spec.get("boundObjectRef"))
    issuer, now = call.cluster.issuer, cl.now()
    audiences = spec.get("audiences") or [issuer.name]
    token = "" if options.dry_run else issuer.issue(account, audiences, seconds, bound, now)
    said = {"name": call.target.name, "namespace": call.target.namespace, "uid": uid}
    answer = {
        "kind": _KIND,
        "apiVersion": _VERSION,
        "metadata": {**metadata, **said, "creationTimestamp": cl.timestamp(now), **owned},
        "spec": {
            "audiences": audiences,
            "expirationSeconds": seconds,
            "boundObjectRef": spec.get("boundObjectRef"),
        },
        "status": {"token": token, "expirationTimestamp": cl.timestamp(now + datetime.timedelta(seconds=seconds))},
    }
    return of_json(answer, 201)._replace(headers=warned(call.warnings))


_GROUP, _KIND = "authentication.k8s.io", "TokenRequest"
_VERSION = f"{_GROUP}/v1"


def _metadata(call: Call, asked: Json) -> Json:
    """A request may name its account, and no other. Raises StatusError 400, 422."""
    place(call, asked)
    metadata: Json = asked["metadata"]
    if metadata.get("name") not in (None, "", call.target.name):
        problem = invalid("metadata.name", metadata["name"], "must match the service account name if specified")
        raise errors.invalid(_GROUP, _KIND, call.target.name, [problem])
    return metadata


_TOKEN_REQUEST = Kind(_GROUP, "v1", _KIND, "token")


def _owned(call: Call, asked: Json) -> Json:
    asked["metadata"].pop("managedFields", None)
    found = entries.created(_TOKEN_REQUEST, asked, entries.Writer(call.manager, cl.stamp()))
    for one in found:  # what is always written is never new as such
        one["fieldsV1"].get("f:spec", {}).get("f:boundObjectRef", {}).pop(".", None)
    return {"managedFields": [{**one, "subresource": "token"} for one in found]}


def configuration(issuer: Issuer, jwks_uri: str) -> Reply:
    """GET /.well-known/openid-configuration."""
    document = {
        "issuer": issuer.name,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }
    return of_json(document)._replace(cache=_KEYS_CACHE)


def accepts_keys(accept: str) -> None:
    """Whether a client takes a key set. Raises StatusError 406."""
    taken = [negotiate.split(one)[0] for one in accept.split(",")] if accept.strip() else ["*/*"]
    if not {"*/*", "application/*", _KEY_SET.decode()} & set(taken):
        why = f"406: Not Acceptable\n\nAvailable representations: {_KEY_SET.decode()}"
        raise errors.StatusError(406, "NotAcceptable", why, {})


def key_set(key: Key) -> Reply:
    """GET /openid/v1/jwks."""
    return of_json({"keys": [key.jwk()]})._replace(content_type=_KEY_SET, cache=_KEYS_CACHE)


_KEY_SET = b"application/jwk-set+json"
_KEYS_CACHE = (b"cache-control", b"public, max-age=3600")
HANDLERS = {("serviceaccounts", "token", "create"): request}

"""ServiceAccount tokens: asked for with TokenRequest, bound to the account (and to a pod, node or secret), short-lived.

A token is good as long as its time, its account and the object it is bound to last: all are looked up in the store's
memory at each request. Only the signature, which costs most, is remembered.
"""

import datetime
import uuid
from pathlib import Path
from typing import Any

from netplane.api import errors, kinds
from netplane.api.kinds import Kind
from netplane.api.validation.volumes import token_lifetime
from netplane.apiserver import cluster as cl
from netplane.apiserver.access import legacy_tokens
from netplane.apiserver.access.jwt import BadToken, Key
from netplane.apiserver.access.tokens import AUTHENTICATED, User, account_groups, account_user
from netplane.apiserver.process.files import write_atomic
from netplane.apiserver.verbs import reads
from netplane.apiserver.wire import bodies
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.reply import Reply, of_json
from netplane.errors import NetplaneError
from netplane.store.protocol import Store

Json = dict[str, Any]

ISSUER = "https://kubernetes.default.svc.cluster.local"
DEFAULT_S = 3600
REMEMBERED = 4096
_OURS = "kubernetes.io"
_BOUND: dict[str, Kind] = {"pod": kinds.POD, "node": kinds.NODE, "secret": kinds.SECRET}


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
    """Gives tokens out and knows them again."""

    def __init__(self, key: Key, store: Store) -> None:
        self.key = key
        self._store = store
        self._signed: dict[str, Json] = {}

    def issue(self, account: Json, audiences: list[str], seconds: int, bound: Json, now: datetime.datetime) -> str:
        """A token for a ServiceAccount; `bound` is {"pod": {name, uid}} or the like, or {}."""
        metadata = account["metadata"]
        at = int(now.timestamp())
        own = {
            "namespace": metadata["namespace"],
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
            **bound,
        }
        claims = {
            "aud": audiences or [ISSUER],
            "exp": at + seconds,
            "iat": at,
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            _OURS: own,
            "nbf": at,
            "sub": account_user(metadata["namespace"], metadata["name"]),
        }
        return self.key.sign(claims)

    async def user(self, token: str, now: datetime.datetime, audiences: tuple[str, ...] = (ISSUER,)) -> User | None:
        """Whose token it is; None when it is not good (any more)."""
        try:
            claims = self._claims(token)
            if claims["iss"] == legacy_tokens.ISSUER:
                return await self._legacy(claims, token, audiences)
            own = claims[_OURS]
            account = own["serviceaccount"]
            if claims["iss"] != ISSUER or not claims["nbf"] <= now.timestamp() < claims["exp"]:
                return None
            if not set(claims["aud"]) & set(audiences):
                return None
            namespace = own["namespace"]
            if not await self._there(kinds.SERVICE_ACCOUNT, namespace, account):
                return None
            for name, kind in _BOUND.items():
                if name in own and not await self._there(kind, namespace, own[name]):
                    return None
        except (BadToken, KeyError, TypeError):
            return None
        return _user(namespace, account)

    async def _legacy(self, claims: Json, token: str, audiences: tuple[str, ...]) -> User | None:
        """A token that a Secret holds is for the apiserver only. Raises KeyError."""
        found = await legacy_tokens.account_of(self._store, claims, token) if ISSUER in audiences else None
        if found is None or not await self._there(kinds.SERVICE_ACCOUNT, *found):
            return None
        return _user(*found)

    def _claims(self, token: str) -> Json:
        found = self._signed.get(token)
        if found is None:
            found = self._signed[token] = self.key.verify(token)
            if len(self._signed) > REMEMBERED:
                del self._signed[next(iter(self._signed))]
        return found

    async def _there(self, kind: Kind, namespace: str, ref: Json) -> bool:
        kv = await self._store.get(cl.key(kind, namespace, ref["name"]))
        return kv is not None and ref["uid"].encode() in kv.value


def _user(namespace: str, account: Json) -> User:
    return User(account_user(namespace, account["name"]), account["uid"], (*account_groups(namespace), AUTHENTICATED))


async def request(call: Call) -> Reply:
    """POST serviceaccounts/NAME/token."""
    asked = await bodies.read(call, "TokenRequest", "authentication.k8s.io/v1", optional=True)
    bodies.check_types(asked, "authentication.k8s.io", "v1", "TokenRequest")
    spec = asked.get("spec") or {}
    seconds = spec.get("expirationSeconds", DEFAULT_S)
    if problems := token_lifetime(seconds, "spec.expirationSeconds"):
        raise errors.invalid("authentication.k8s.io", "TokenRequest", "", problems)
    account = call.cluster.decoded(await reads.stored(call))
    bound = await _bound(call, spec.get("boundObjectRef"))
    audiences = spec.get("audiences") or [ISSUER]
    issuer, now = call.cluster.issuer, cl.now()
    token = issuer.issue(account, audiences, seconds, bound, now)
    answer = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": call.target.name,
            "namespace": call.target.namespace,
            "creationTimestamp": cl.timestamp(now),
        },
        "spec": {
            "audiences": audiences,
            "expirationSeconds": seconds,
            "boundObjectRef": spec.get("boundObjectRef"),
        },
        "status": {"token": token, "expirationTimestamp": cl.timestamp(now + datetime.timedelta(seconds=seconds))},
    }
    return of_json(answer, 201)


async def _bound(call: Call, ref: Json | None) -> Json:
    """What a token is bound to, with its uid. Raises StatusError 400, 404, 409."""
    if not ref:
        return {}
    kind = _BOUND.get((ref.get("kind") or "").lower())
    if kind is None or ref.get("apiVersion") != "v1":
        raise errors.bad_request(f"cannot bind token to object of type {ref.get('apiVersion')}/{ref.get('kind')}")
    name = ref.get("name") or ""
    kv = await call.cluster.store.get(cl.key(kind, call.target.namespace, name))
    if kv is None:
        raise errors.not_found("", kind.plural, name)
    uid = call.cluster.decoded(kv)["metadata"]["uid"]
    if ref.get("uid") not in (None, "", uid):
        why = f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record ({uid})"
        raise errors.conflict("", kind.plural, name, why)
    return {kind.kind.lower(): {"name": name, "uid": uid}}


def configuration(jwks_uri: str) -> Reply:
    """GET /.well-known/openid-configuration."""
    document = {
        "issuer": ISSUER,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }
    return of_json(document)


def key_set(key: Key) -> Reply:
    """GET /openid/v1/jwks."""
    return of_json({"keys": [key.jwk()]})._replace(content_type=b"application/jwk-set+json")


HANDLERS = {("serviceaccounts", "token", "create"): request}

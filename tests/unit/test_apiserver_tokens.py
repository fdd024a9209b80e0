"""ServiceAccount tokens: what may be asked for, what they say, and why they are not good any more."""

import base64
import datetime
from typing import Any

import orjson

from netplane.apiserver import cluster as cl
from tests.apiserver_app import Server, pod, run

BASE = "/api/v1/namespaces/default"
TOKENS = f"{BASE}/serviceaccounts/bot/token"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
INVALID = 'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: '


def ref(kind: str, name: str, version: str = "v1", **more: str) -> dict[str, Any]:
    return {"boundObjectRef": {"kind": kind, "apiVersion": version, "name": name, **more}}


async def prepared(ask: Server) -> None:
    await ask.create(f"{BASE}/serviceaccounts", {"metadata": {"name": "bot"}})
    await ask.create("/api/v1/nodes", {"metadata": {"name": "n1"}})
    await ask.create(f"{BASE}/secrets", {"metadata": {"name": "s"}})
    for name, account, node in (("mine", "bot", "n1"), ("other", "", ""), ("far", "bot", "gone")):
        spec = {"serviceAccountName": account, "nodeName": node, "automountServiceAccountToken": False}
        await ask.create(f"{BASE}/pods", pod(name, **{key: value for key, value in spec.items() if value != ""}))


async def token(ask: Server, **spec: Any) -> str:
    made: str = (await ask.create(TOKENS, {"spec": spec}))["status"]["token"]
    return made


def claims(given: str) -> Any:
    return orjson.loads(base64.urlsafe_b64decode(given.split(".")[1] + "=="))


async def review(ask: Server, given: str, **spec: Any) -> Any:
    return (await ask("POST", REVIEWS, {"spec": {"token": given, **spec}})).json["status"]


def test_what_is_refused() -> None:
    table: list[tuple[dict[str, Any], int, str]] = [
        ({"expirationSeconds": 599}, 422, f"{INVALID}599: may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 2**32 + 1}, 422,
         f"{INVALID}4294967297: may not specify a duration larger than 2^32 seconds"),
        ({"boundObjectRef": {}}, 400, "cannot bind token to object of type /, Kind="),
        (ref("ConfigMap", "x"), 400, "cannot bind token to object of type /v1, Kind=ConfigMap"),
        (ref("Pod", "x", "apps/v1"), 400, "cannot bind token to object of type apps/v1, Kind=Pod"),
        (ref("Pod", ""), 400, "Name parameter required."),
        (ref("Pod", "none"), 404, 'pods "none" not found'),
        (ref("Pod", "other"), 400,
         'cannot bind token for serviceaccount "bot" to pod running with different serviceaccount name.'),
        (ref("Secret", "s", uid="x"), 409, 'Operation cannot be fulfilled on Secret "s": the UID in the bound object '
         "reference (x) does not match the UID in record. The object might have been deleted and then recreated"),
    ]  # fmt: skip

    async def test(ask: Server) -> None:
        await prepared(ask)
        for spec, status, message in table:
            refused = await ask("POST", TOKENS, {"spec": spec})
            assert (refused.status, refused.json["message"]) == (status, message)
        named = await ask("POST", TOKENS, {"metadata": {"name": "x"}, "spec": {}})
        assert 'metadata.name: Invalid value: "x": must match the service account name' in named.json["message"]
        assert (await ask("POST", f"{BASE}/serviceaccounts/none/token", {"spec": {}})).status == 404

    run(test)


def test_what_a_token_says() -> None:
    async def test(ask: Server) -> None:
        await prepared(ask)
        issuer = ask.cluster.issuer.name
        answer = await ask.create(f"{TOKENS}?fieldManager=me", {"spec": {"audiences": ["a"]}})
        assert answer["spec"] == {"audiences": ["a"], "expirationSeconds": 3600, "boundObjectRef": None}
        assert (answer["metadata"]["name"], answer["metadata"]["namespace"]) == ("bot", "default")
        [owned] = answer["metadata"]["managedFields"]
        assert (owned["subresource"], sorted(owned["fieldsV1"]["f:spec"])) == (
            "token", ["f:audiences", "f:expirationSeconds"],
        )  # fmt: skip
        plain = claims(await token(ask))
        assert (plain["aud"], plain["exp"] - plain["iat"], plain["iss"]) == ([issuer], 3600, issuer)
        bound = claims(await token(ask, **ref("Pod", "mine"), expirationSeconds=3607))
        own = bound["kubernetes.io"]
        assert (own["pod"]["name"], own["node"]["name"]) == ("mine", "n1")
        assert own["node"]["uid"] == (await ask("GET", "/api/v1/nodes/n1")).json["metadata"]["uid"]
        assert (own["warnafter"] - bound["iat"], bound["exp"] - bound["iat"]) == (3607, 365 * 24 * 3600)
        assert claims(await token(ask, **ref("Pod", "far")))["kubernetes.io"]["node"] == {"name": "gone"}
        elsewhere = claims(await token(ask, **ref("Pod", "mine"), expirationSeconds=3607, audiences=["a"]))
        assert elsewhere["exp"] - elsewhere["iat"] == 3607

    run(test)


def test_who_carries_it() -> None:
    async def test(ask: Server) -> None:
        await prepared(ask)
        given = await token(ask, **ref("Pod", "mine"), audiences=["a", "b"])
        status = await review(ask, given, audiences=["b", "c"])
        assert (status["authenticated"], status["audiences"]) == (True, ["b"])
        extra = status["user"]["extra"]
        prefix = "authentication.kubernetes.io/"
        assert extra[f"{prefix}credential-id"] == [f"JTI={claims(given)['jti']}"]
        assert (extra[f"{prefix}pod-name"], extra[f"{prefix}node-name"]) == (["mine"], ["n1"])
        wrong = await review(ask, given)
        assert wrong["error"] == (
            '[invalid bearer token, token audiences ["a" "b"] is invalid for the target audiences '
            f'["{ask.cluster.issuer.name}"]]'
        )
        assert (await ask("GET", BASE, token=given)).status == 401

    run(test)


def test_why_it_is_not_good_any_more() -> None:
    async def test(ask: Server) -> None:
        await prepared(ask)
        kinds = {"Pod": "pods/mine", "Node": "nodes/n1", "Secret": "secrets/s"}
        bound = {kind: await token(ask, **ref(kind, path.partition("/")[2])) for kind, path in kinds.items()}
        plain = await token(ask)
        assert (await review(ask, plain[:-6] + "AAAAAA"))["error"] == (
            "[invalid bearer token, go-jose/go-jose: error in cryptographic primitive]"
        )
        assert (await review(ask, "a.b.c"))["error"] == "invalid bearer token"
        later = cl.now() + datetime.timedelta(seconds=3600 + 61)
        assert await ask.cluster.issuer.user(plain, later) is None
        assert await ask.cluster.issuer.user(plain, later - datetime.timedelta(seconds=5)) is not None  # clocks differ
        for kind, path in kinds.items():
            where = f"/api/v1/{path}" if kind == "Node" else f"{BASE}/{path}"
            await ask("DELETE", f"{where}?gracePeriodSeconds=0")
            gone = await review(ask, bound[kind])
            assert gone["error"] == "[invalid bearer token, service account token has been invalidated]", kind
        told = {"old": claims(bound["Secret"])["kubernetes.io"]["secret"]["uid"]}  # who tells of it is not it
        await ask.create(f"{BASE}/secrets", {"metadata": {"name": "s", "annotations": told}})
        assert "does not match service account secret ref claim" in (await review(ask, bound["Secret"]))["error"]
        await ask("DELETE", f"{BASE}/serviceaccounts/bot")
        assert (await review(ask, plain))["error"] == '[invalid bearer token, serviceaccounts "bot" not found]'
        labels = {"uid": claims(plain)["kubernetes.io"]["serviceaccount"]["uid"]}
        await ask.create(f"{BASE}/serviceaccounts", {"metadata": {"name": "bot", "labels": labels}})
        assert "does not match claim" in (await review(ask, plain))["error"]

    run(test)

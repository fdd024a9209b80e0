"""Tokens that live in Secrets: filled as they are made, good as long as Secret and account are."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

from netplane.apiserver.access import legacy_tokens
from netplane.apiserver.access.legacy_tokens import NAME, TYPE, UID
from tests.apiserver_app import Server, serving, settings

BASE = "/api/v1/namespaces/default"
REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
WHO = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}


def run(test: Callable[[Server], Awaitable[None]]) -> None:
    async def body() -> None:
        async with serving(settings()) as server:
            await server.create(f"{BASE}/serviceaccounts", {"metadata": {"name": "bot"}})
            await test(server)

    asyncio.run(asyncio.wait_for(body(), 30))


async def make(ask: Server, name: str = "t", account: str = "bot", **fields: Any) -> dict[str, Any]:
    meta = {"name": name, "annotations": {NAME: account}}
    made = await ask.create(f"{BASE}/secrets", {"metadata": meta, "type": TYPE, **fields})
    assert "token" not in made.get("data", {})
    await legacy_tokens.fill(ask.cluster, "default", made)
    filled: dict[str, Any] = (await ask("GET", f"{BASE}/secrets/{name}")).json
    return filled


def decoded(secret: dict[str, Any]) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret.get("data", {}).items()}


async def who(ask: Server, token: str) -> str:
    """The user, or the status."""
    answer = await ask("POST", REVIEW, WHO, token=token)
    return str(answer.json["status"]["userInfo"]["username"]) if answer.status == 201 else str(answer.status)


def test_a_secret_gets_its_account_s_token() -> None:
    async def test(ask: Server) -> None:
        await ask.create(f"{BASE}/configmaps", {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "PEM"}})
        secret = await make(ask, data={"more": base64.b64encode(b"x").decode()})
        data = decoded(secret)
        assert (data["namespace"], data["ca.crt"], data["more"]) == ("default", "PEM", "x")
        account = (await ask("GET", f"{BASE}/serviceaccounts/bot")).json["metadata"]
        assert secret["metadata"]["annotations"][UID] == account["uid"]
        [owner] = secret["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("ServiceAccount", account["uid"])
        managers = {one["manager"]: one["fieldsV1"] for one in secret["metadata"]["managedFields"]}
        assert "f:token" in managers["kube-controller-manager"]["f:data"]
        rev = secret["metadata"]["resourceVersion"]
        await legacy_tokens.fill(ask.cluster, "default", secret)  # there is nothing to do any more
        assert (await ask("GET", f"{BASE}/secrets/t")).json["metadata"]["resourceVersion"] == rev
        assert await who(ask, data["token"]) == "system:serviceaccount:default:bot"

    run(test)


def test_the_token_ends_with_its_secret() -> None:
    async def test(ask: Server) -> None:
        token = decoded(await make(ask))["token"]
        assert (await ask("DELETE", f"{BASE}/secrets/t")).status == 200
        assert await who(ask, token) == "401"
        again = decoded(await make(ask))["token"]
        assert await who(ask, again) == "system:serviceaccount:default:bot"

    run(test)


def test_the_token_ends_with_its_account_and_another_of_its_name_does_not_revive_it() -> None:
    async def test(ask: Server) -> None:
        token = decoded(await make(ask))["token"]
        assert (await ask("DELETE", f"{BASE}/serviceaccounts/bot")).status == 200
        assert await who(ask, token) == "401"
        await ask.create(f"{BASE}/serviceaccounts", {"metadata": {"name": "bot"}})
        assert await who(ask, token) == "401"

    run(test)


def test_the_token_ends_when_the_secret_holds_another() -> None:
    async def test(ask: Server) -> None:
        token = decoded(await make(ask))["token"]
        patch = {"data": {"token": base64.b64encode(b"other").decode()}}
        changed = await ask("PATCH", f"{BASE}/secrets/t", patch, content_type="application/merge-patch+json")
        assert changed.status == 200
        assert await who(ask, token) == "401"

    run(test)


def test_without_its_account_a_secret_stays_empty() -> None:
    async def test(ask: Server) -> None:
        secret = await make(ask, account="nobody")
        assert decoded(secret) == {}
        plain = await ask.create(f"{BASE}/secrets", {"metadata": {"name": "plain", "annotations": {NAME: "bot"}}})
        assert "data" not in plain

    run(test)

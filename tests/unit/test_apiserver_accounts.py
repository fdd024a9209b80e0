"""As whom a pod runs: its ServiceAccount, and what comes with it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from netplane.api import pod_refs
from netplane.apiserver.admission import accounts
from netplane.apiserver.process import flags as flags_
from netplane.errors import UsageError
from tests.apiserver_app import Server, pod, serving, settings

PODS = "/api/v1/namespaces/default/pods"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
SYSTEM = "/api/v1/namespaces/kube-system/serviceaccounts"


def run(test: Callable[[Server], Awaitable[None]], *, made: bool = True, without: str = "") -> None:
    async def body() -> None:
        given = settings()._replace(without_plugins=flags_.plugins("--x", without))
        async with serving(given) as server:
            for path in (SYSTEM, ACCOUNTS) if made else ():
                await server.create(path, {"metadata": {"name": "default"}})
            await test(server)

    asyncio.run(asyncio.wait_for(body(), 30))


def test_a_pod_runs_as_default_with_a_token_in_every_container() -> None:
    async def test(ask: Server) -> None:
        made = await ask.create(PODS, pod("p", initContainers=[{"name": "i", "image": "x"}]))
        spec = made["spec"]
        assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
        [volume] = spec["volumes"]
        assert volume["name"].startswith("kube-api-access-")
        assert len(volume["name"]) == len("kube-api-access-") + 5
        sources = volume["projected"]["sources"]
        assert [next(iter(one)) for one in sources] == ["serviceAccountToken", "configMap", "downwardAPI"]
        assert sources[0]["serviceAccountToken"] == {"expirationSeconds": 3607, "path": "token"}
        assert sources[1]["configMap"]["name"] == "kube-root-ca.crt"
        for container in (*spec["containers"], *spec["initContainers"]):
            [mount] = container["volumeMounts"]
            assert mount == {"name": volume["name"], "readOnly": True, "mountPath": accounts.MOUNT_PATH}
        owned = made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
        assert "f:volumes" not in owned
        assert "f:serviceAccountName" not in owned

    run(test)


def test_an_account_that_is_not_there_is_refused_in_kubernetes_words() -> None:
    async def test(ask: Server) -> None:
        refused = await ask("POST", PODS, pod("p", serviceAccountName="build"))
        assert (refused.status, refused.json["reason"]) == (403, "Forbidden")
        assert refused.json["message"] == (
            'pods "p" is forbidden: error looking up service account default/build: serviceaccount "build" not found'
        )
        assert (await ask("GET", f"{PODS}/p")).status == 404

    run(test)


def test_the_default_account_of_a_new_namespace_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "AGAIN_S", 0.001)

    async def test(ask: Server) -> None:
        await ask.create("/api/v1/namespaces", {"metadata": {"name": "new"}})
        early = asyncio.create_task(ask("POST", "/api/v1/namespaces/new/pods", pod("p")))
        await asyncio.sleep(0)
        await ask.create("/api/v1/namespaces/new/serviceaccounts", {"metadata": {"name": "default"}})
        assert (await early).json["spec"]["serviceAccountName"] == "default"
        await ask.create("/api/v1/namespaces", {"metadata": {"name": "bare"}})
        refused = await ask("POST", "/api/v1/namespaces/bare/pods", pod("p"))
        assert (refused.status, "service account bare/default" in refused.json["message"]) == (403, True)

    run(test)


@pytest.mark.parametrize(
    ("account", "of_pod", "mounted"),
    [({}, None, True), (False, None, False), (False, True, True), (True, False, False), ({}, False, False)],
)
def test_the_token_is_mounted_unless_somebody_says_no(account: Any, of_pod: bool | None, mounted: bool) -> None:
    async def test(ask: Server) -> None:
        wish = {} if account == {} else {"automountServiceAccountToken": account}
        await ask.create(ACCOUNTS, {"metadata": {"name": "a"}, "imagePullSecrets": [{"name": "registry"}], **wish})
        own = {} if of_pod is None else {"automountServiceAccountToken": of_pod}
        made = await ask.create(PODS, pod("p", serviceAccountName="a", **own))
        assert ("volumes" in made["spec"]) is mounted
        assert made["spec"]["imagePullSecrets"] == [{"name": "registry"}]
        theirs = await ask.create(PODS, pod("q", serviceAccountName="a", imagePullSecrets=[{"name": "mine"}]))
        assert theirs["spec"]["imagePullSecrets"] == [{"name": "mine"}]

    run(test)


def test_a_mount_of_ones_own_stays() -> None:
    async def test(ask: Server) -> None:
        mine = [{"name": "mine", "mountPath": accounts.MOUNT_PATH}]
        container = {"name": "c", "image": "x", "volumeMounts": mine}
        made = await ask.create(PODS, pod("p", containers=[container], volumes=[{"name": "mine", "emptyDir": {}}]))
        assert [one["name"] for one in made["spec"]["volumes"]] == ["mine"]

    run(test)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"serviceAccountName": "default"}, "a mirror pod may not reference service accounts"),
        ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, "a mirror pod may not reference secrets"),
        (
            {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
            "a mirror pod may not use ServiceAccountToken volume projections",
        ),
    ],
)
def test_mirrors_of_static_pods_have_no_account(spec: dict[str, Any], message: str) -> None:
    async def test(ask: Server) -> None:
        mirror = pod("m", **spec)
        mirror["metadata"]["annotations"] = {pod_refs.MIRROR: "x"}
        refused = await ask("POST", PODS, mirror)
        assert (refused.status, refused.json["message"]) == (403, f'pods "m" is forbidden: {message}')
        plain = {**pod("m", nodeName="n1"), "metadata": {"name": "m", "annotations": {pod_refs.MIRROR: "x"}}}
        assert "serviceAccountName" not in (await ask.create(PODS, plain))["spec"]

    run(test)


FROM = {"name": "E", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}}
NOT_LISTED = 'secret.secretName="other" is not allowed because service account a does not reference that secret'


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"volumes": [{"name": "v", "secret": {"secretName": "other"}}]}, f"volume with {NOT_LISTED}"),
        (
            {"containers": [{"name": "c", "image": "x", "env": [FROM]}]},
            f"container c with envVar E referencing {NOT_LISTED}",
        ),
        (
            {"initContainers": [{"name": "i", "image": "x", "envFrom": [{"secretRef": {"name": "other"}}]}]},
            f"init container i with envFrom referencing {NOT_LISTED}",
        ),
        (
            {"imagePullSecrets": [{"name": "other"}]},
            'imagePullSecrets[0].name="other" is not allowed because service account a does not reference that '
            "imagePullSecret",
        ),
        ({"volumes": [{"name": "v", "secret": {"secretName": "listed"}}]}, ""),
    ],
)
def test_an_account_may_limit_its_pods_to_the_secrets_it_lists(spec: dict[str, Any], words: str) -> None:
    async def test(ask: Server) -> None:
        note = {"kubernetes.io/enforce-mountable-secrets": "true"}
        account = {"metadata": {"name": "a", "annotations": note}, "secrets": [{"name": "listed"}]}
        await ask.create("/api/v1/namespaces/default/serviceaccounts", account)
        answer = await ask("POST", PODS, pod("p", serviceAccountName="a", **spec))
        assert answer.status == (403 if words else 201), answer.body
        assert not words or answer.json["message"] == f'pods "p" is forbidden: {words}'

    run(test)


@pytest.mark.parametrize(("made", "without"), [(False, ""), (True, "ServiceAccount")])
def test_without_accounts_pods_are_left_as_they_are(made: bool, without: str) -> None:
    async def test(ask: Server) -> None:
        spec = (await ask.create(PODS, pod("p")))["spec"]
        assert "serviceAccountName" not in spec
        assert "volumes" not in spec

    run(test, made=made, without=without)


def test_a_plugin_that_is_none_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="'Nothing' is no plugin here"):
        flags_.plugins("--disable-admission-plugins", "ServiceAccount,Nothing")

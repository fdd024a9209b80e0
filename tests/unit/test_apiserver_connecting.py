"""What only a node's agent could do is refused so that kubectl's user understands it."""

import asyncio

import pytest

from tests.apiserver_app import READER, serving

PODS = "/api/v1/namespaces/default/pods"


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", f"{PODS}/p/log?container=c&follow=true", "its logs cannot be read"),
        ("POST", f"{PODS}/p/exec?command=sh", "commands cannot be run in it"),
        ("GET", f"{PODS}/p/exec?command=sh", "commands cannot be run in it"),
        ("POST", f"{PODS}/p/attach", "its containers cannot be attached to"),
        ("POST", f"{PODS}/p/portforward", "its ports cannot be forwarded"),
        ("GET", f"{PODS}/p/proxy/metrics/x", "requests cannot be passed on to it"),
        ("DELETE", f"{PODS}/p/proxy", "requests cannot be passed on to it"),
        ("GET", "/api/v1/nodes/n/proxy/stats/summary", "requests cannot be passed on to it"),
        ("PUT", "/api/v1/namespaces/default/services/kubernetes/proxy/x", "requests cannot be passed on to it"),
    ],
)
def test_it_is_refused_with_501_and_a_reason(method: str, path: str, words: str) -> None:
    async def body() -> None:
        async with serving() as ask:
            await ask.create("/api/v1/nodes", {"metadata": {"name": "n"}})
            await ask.create(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}})
            refused = await ask(method, path)
            assert (refused.status, refused.json["kind"], refused.json["reason"]) == (501, "Status", "NotImplemented")
            assert words in refused.json["message"]
            assert "no node agent of this cluster serves" in refused.json["message"]
            missing = path.replace("/p/", "/other/").replace("/n/", "/other/").replace("/kubernetes/", "/other/")
            assert (await ask(method, missing)).status == 404

    asyncio.run(body())


def test_who_may_not_is_told_so_first_and_others_methods_are_none() -> None:
    async def body() -> None:
        async with serving() as ask:
            assert (await ask("POST", f"{PODS}/p/exec", token=READER)).status == 403
            assert (await ask("PUT", f"{PODS}/p/exec")).status == 405
            assert (await ask("GET", f"{PODS}/p/unheard-of")).status == 404
            assert (await ask("GET", f"{PODS}/p/log/more")).status == 404

    asyncio.run(body())


def test_discovery_lists_them_as_the_real_server_does() -> None:
    async def body() -> None:
        async with serving() as ask:
            listed = {one["name"]: one for one in (await ask("GET", "/api/v1")).json["resources"]}
            assert (listed["pods/exec"]["kind"], listed["pods/exec"]["verbs"]) == ("PodExecOptions", ["create", "get"])
            assert (listed["pods/log"]["kind"], listed["pods/log"]["verbs"]) == ("Pod", ["get"])
            assert listed["nodes/proxy"]["kind"] == "NodeProxyOptions"
            assert listed["services/proxy"]["verbs"] == ["create", "delete", "get", "patch", "update"]

    asyncio.run(body())

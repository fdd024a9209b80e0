"""What only a node's agent could do is refused so that kubectl's user understands it."""

import asyncio

import pytest

from tests.apiserver_app import READER, serving

PODS = "/api/v1/namespaces/default/pods"
MERGE = "application/merge-patch+json"
PLACED = {"status": {"podIP": "10.244.0.9", "podIPs": [{"ip": "10.244.0.9"}]}}


def pod(name: str, *more: str, **spec: object) -> dict[str, object]:
    """A pod of the containers c and `more`."""
    containers = [{"name": one, "image": "x"} for one in ("c", *more)]
    return {"metadata": {"name": name}, "spec": {"containers": containers, **spec}}


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
            await ask.create(PODS, pod("p", nodeName="n"))
            await ask("PATCH", f"{PODS}/p/status", PLACED, content_type=MERGE)
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


TOLD = {
    "it has no node": ("POST", "waits/exec", 400, "pod waits does not have a host assigned"),
    "its node is gone": ("GET", "lost/log", 404, 'pods "gone" not found'),
    "no such container": ("GET", "waits/log?container=z", 400, "container z is not valid for pod waits"),
    "which container": (
        *("GET", "two/log", 400),
        "a container name must be specified for pod two, choose one of: [c d]",
    ),
    "it has no address": ("GET", "waits/proxy/x", 400, "address not allowed"),
    "no number": ("GET", "waits/log?tailLines=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
    "no number that fits": (
        *("GET", f"waits/log?tailLines={2**63}", 400),
        f'strconv.ParseInt: parsing "{2**63}": value out of range',
    ),
    "too few lines": (
        *("GET", "waits/log?tailLines=-1", 422),
        'PodLogOptions "waits" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0',
    ),
    "both times": (
        *("GET", "waits/log?sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z", 422),
        'PodLogOptions "waits" is invalid: : Forbidden: at most one of `sinceTime` or `sinceSeconds` may',
    ),
}


def test_what_is_wrong_is_told_without_an_agent() -> None:
    async def body() -> None:
        async with serving() as ask:
            for one in (pod("waits"), pod("two", "d"), pod("lost", nodeName="gone")):
                await ask.create(PODS, one)
            for what, (method, path, code, words) in TOLD.items():
                answer = await ask(method, f"{PODS}/{path}")
                assert (answer.status, answer.json["message"][: len(words)]) == (code, words), what
            assert (await ask("GET", f"{PODS}/waits/log")).status == 204

    asyncio.run(body())

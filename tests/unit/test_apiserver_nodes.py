"""A node writes what is its own, and nothing else."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from netplane.apiserver.tokens import AUTHENTICATED, User
from tests.apiserver_app import USERS, Server, serving, settings

NODES, PODS = "/api/v1/nodes", "/api/v1/namespaces/default/pods"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
TOKENS = "/api/v1/namespaces/default/serviceaccounts/a/token"
N1 = "n1-token"


@pytest.fixture(autouse=True)
def _node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(USERS, N1, User("system:node:n1", "", ("system:nodes", AUTHENTICATED)))
    monkeypatch.setitem(USERS, "odd", User("jane", "", ("system:nodes", AUTHENTICATED)))


def run(test: Callable[[Server], Awaitable[None]], without: str = "") -> None:
    async def body() -> None:
        async with serving(settings()._replace(without_plugins=frozenset({without}))) as server:
            for name in ("n1", "n2"):
                await server.create(NODES, {"metadata": {"name": name}})
                await server.create(LEASES, {"metadata": {"name": name}})
                await server.create(PODS, pod(f"on-{name}", name))
            await server.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "a"}})
            await test(server)

    asyncio.run(asyncio.wait_for(body(), 30))


def pod(name: str, node: str, *, mirror: bool = False) -> dict[str, Any]:
    notes = {"annotations": {"kubernetes.io/config.mirror": "x"}} if mirror else {}
    spec = {"containers": [{"name": "c", "image": "x"}], "nodeName": node}
    return {"metadata": {"name": name, **notes}, "spec": spec}


def bound(**ref: str) -> dict[str, Any]:
    return {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", **ref}}}


RUNNING = {"status": {"phase": "Running"}}
REFUSED = [
    ("PATCH", f"{NODES}/n2/status", RUNNING, 'node "n1" is not allowed to modify node "n2"'),
    ("POST", NODES, {"metadata": {"name": "n3"}}, 'node "n1" is not allowed to modify node "n3"'),
    ("PATCH", f"{LEASES}/n2", {}, "can only access node lease with the same name as the requesting node"),
    ("POST", LEASES, {"metadata": {"name": "n3"}}, "can only access node lease with the same name"),
    (
        "POST",
        "/apis/coordination.k8s.io/v1/namespaces/default/leases",
        {"metadata": {"name": "n1"}},
        'can only access leases in the "kube-node-lease" system namespace',
    ),
    ("PATCH", f"{PODS}/on-n2/status", RUNNING, 'node "n1" can only update pod status for pods with spec.nodeName set'),
    ("DELETE", f"{PODS}/on-n2", None, 'node "n1" can only delete pods with spec.nodeName set to itself'),
    ("POST", f"{PODS}/on-n2/eviction", {}, "node n1 can only evict pods with spec.nodeName set to itself"),
    ("POST", PODS, pod("p", "n1"), 'pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only'),
    ("POST", PODS, pod("p", "n2", mirror=True), 'node "n1" can only create pods with spec.nodeName set to itself'),
    ("POST", TOKENS, {}, "node requested token not bound to a pod"),
    ("POST", TOKENS, bound(name="on-n1"), "node requested token with a pod binding without a uid"),
    ("POST", TOKENS, bound(name="on-n2", uid="u"), "node requested token bound to a pod scheduled on a different node"),
]


@pytest.mark.parametrize(("method", "path", "body", "words"), REFUSED)
def test_what_is_not_its_own_is_refused(method: str, path: str, body: Any, words: str) -> None:
    async def test(ask: Server) -> None:
        headers = {"content_type": "application/merge-patch+json"} if method == "PATCH" else {}
        refused = await ask(method, path, body, token=N1, **headers)
        assert (refused.status, refused.json["reason"]) == (403, "Forbidden"), refused.json
        assert words in refused.json["message"]

    run(test)


def test_what_is_its_own_is_its_to_write() -> None:
    async def test(ask: Server) -> None:
        merge = {"content_type": "application/merge-patch+json"}
        for path, body in ((f"{NODES}/n1/status", {}), (f"{LEASES}/n1", {}), (f"{PODS}/on-n1/status", RUNNING)):
            assert (await ask("PATCH", path, body, token=N1, **merge)).status == 200, path
        assert (await ask("POST", PODS, pod("static", "n1", mirror=True), token=N1)).status == 201
        uid = (await ask("GET", f"{PODS}/on-n1")).json["metadata"]["uid"]
        assert (await ask("POST", TOKENS, bound(name="on-n1", uid=uid), token=N1)).status == 201
        assert (await ask("GET", f"{NODES}/n2", token=N1)).status == 200
        assert (await ask("DELETE", f"{PODS}/on-n1", token=N1)).status == 200

    run(test)


def test_a_node_needs_a_nodes_name_and_no_labels_that_are_reserved() -> None:
    async def test(ask: Server) -> None:
        odd = await ask("POST", NODES, {"metadata": {"name": "jane"}}, token="odd")
        assert (odd.status, 'could not determine node from user "jane"' in odd.json["message"]) == (403, True)
        await ask("DELETE", f"{NODES}/n1")
        labels = {"node-restriction.kubernetes.io/team": "x"}
        refused = await ask("POST", NODES, {"metadata": {"name": "n1", "labels": labels}}, token=N1)
        assert (
            "is not allowed to set the following labels: node-restriction.kubernetes.io/team"
            in (refused.json["message"])
        )

    run(test)


def test_it_can_be_left_out() -> None:
    async def test(ask: Server) -> None:
        assert (await ask("POST", NODES, {"metadata": {"name": "n3"}}, token=N1)).status == 201

    run(test, "NodeRestriction")

"""A cluster of two nodes, n1 and n2, whose kubelets' users the tests are."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

from netplane.apiserver.access.tokens import AUTHENTICATED, User
from tests.apiserver_app import USERS, Server, serving, settings

NODES, PODS = "/api/v1/nodes", "/api/v1/namespaces/default/pods"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
N1 = "n1-token"
_USERS = {
    N1: User("system:node:n1", "", ("system:nodes", AUTHENTICATED)),
    "odd": User("jane", "", ("system:nodes", AUTHENTICATED)),
}


def run(test: Callable[[Server], Awaitable[None]], without: str = "") -> None:
    """`test` with both nodes, a pod on each; `without` an admission plugin."""

    async def body() -> None:
        async with serving(settings()._replace(without_plugins=frozenset({without}))) as server:
            for name in ("n1", "n2"):
                await server.create(NODES, {"metadata": {"name": name}})
                await server.create(LEASES, {"metadata": {"name": name}})
            for name in ("a", "b"):
                await server.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": name}})
            for name, account in (("n1", "a"), ("n2", "b")):
                made = pod(f"on-{name}", name)
                made["spec"]["serviceAccountName"] = account
                await server.create(PODS, made)
            await test(server)

    with mock.patch.dict(USERS, _USERS):
        asyncio.run(asyncio.wait_for(body(), 30))


def pod(name: str, node: str, *, mirror: bool = False) -> dict[str, Any]:
    """A pod on a node."""
    notes = {"annotations": {"kubernetes.io/config.mirror": "x"}} if mirror else {}
    spec = {"containers": [{"name": "c", "image": "x"}], "nodeName": node}
    return {"metadata": {"name": name, **notes}, "spec": spec}

"""metadata.generation: which kinds have one, and what makes it grow."""

import asyncio
from typing import Any

import pytest

from tests.apiserver_app import serving

NS, APPS, NETWORK = "/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default", "/apis/networking.k8s.io/v1"
POD_SPEC = {"containers": [{"name": "c", "image": "i"}]}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": POD_SPEC}
ONCE = {"template": {"spec": {**POD_SPEC, "restartPolicy": "Never"}}}
WORKLOAD = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
REFERENCE = {"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "s"}}}
ROLE = {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}}
RBAC = "/apis/rbac.authorization.k8s.io/v1"
GROUP = {"kind": "Group", "name": "g", "apiGroup": "rbac.authorization.k8s.io"}
POLICIES = f"{NETWORK}/namespaces/default/networkpolicies"
SLICE = {"addressType": "IPv4", "endpoints": []}
ABOUT = {"involvedObject": {"namespace": "default"}, "reason": "r", "message": "m"}

# (collection, the object, a change of its content); then generation after creation, a new annotation, that change.
COUNTED: list[tuple[str, dict[str, Any], dict[str, Any], tuple[int, int, int]]] = [
    (f"{NS}/pods", {"spec": POD_SPEC}, {"spec": {"activeDeadlineSeconds": 5}}, (1, 1, 2)),
    (f"{APPS}/deployments", {"spec": WORKLOAD}, {"spec": {"replicas": 2}}, (1, 2, 3)),
    (f"{APPS}/replicasets", {"spec": WORKLOAD}, {"spec": {"replicas": 2}}, (1, 1, 2)),
    (f"{APPS}/statefulsets", {"spec": WORKLOAD}, {"spec": {"replicas": 2}}, (1, 1, 2)),
    (f"{APPS}/daemonsets", {"spec": WORKLOAD}, {"spec": {"minReadySeconds": 2}}, (1, 1, 2)),
    ("/apis/batch/v1/namespaces/default/jobs", {"spec": ONCE}, {"spec": {"suspend": True}}, (1, 1, 2)),
    (
        "/apis/batch/v1/namespaces/default/cronjobs",
        {"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": ONCE}}},
        {"spec": {"suspend": True}},
        (1, 1, 2),
    ),
    (POLICIES, {"spec": {"podSelector": {}}}, {"spec": {"ingress": [{}]}}, (1, 1, 2)),
    (
        f"{NETWORK}/namespaces/default/ingresses",
        {"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}},
        {"spec": {"ingressClassName": "c"}},
        (1, 1, 2),
    ),
    (
        f"{NETWORK}/ingressclasses",
        {"spec": {"controller": "example.org/c"}},
        {"spec": {"parameters": {"kind": "K", "name": "n", "scope": "Cluster"}}},
        (1, 1, 2),
    ),
    (
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        SLICE,
        {"endpoints": [{"addresses": ["10.0.0.1"]}]},
        (1, 1, 2),
    ),
]  # fmt: skip
NOT_COUNTED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (f"{NS}/services", {"spec": {"ports": [{"port": 80}]}}, {"spec": {"sessionAffinity": "ClientIP"}}),
    (f"{NS}/configmaps", {}, {"data": {"a": "b"}}),
    (f"{NS}/secrets", {}, {"stringData": {"a": "b"}}),
    (f"{NS}/serviceaccounts", {}, {"automountServiceAccountToken": False}),
    (f"{NS}/endpoints", {}, {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}),
    (f"{NS}/events", ABOUT, {"count": 2}),
    ("/api/v1/nodes", {}, {"spec": {"unschedulable": True}}),
    ("/api/v1/namespaces", {}, {"metadata": {"labels": {"a": "b"}}}),
    (f"{NETWORK}/ipaddresses", {"metadata": {"name": "10.96.0.77"}, **REFERENCE}, {"metadata": {"labels": {"a": "b"}}}),
    (f"{NETWORK}/servicecidrs", {"spec": {"cidrs": ["10.97.0.0/24"]}}, {"metadata": {"labels": {"a": "b"}}}),
    ("/apis/coordination.k8s.io/v1/namespaces/default/leases", {}, {"spec": {"holderIdentity": "h"}}),
    (f"{RBAC}/namespaces/default/roles", {}, {"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}),
    (f"{RBAC}/clusterrolebindings", ROLE, {"subjects": [GROUP]}),
    (f"{APPS}/controllerrevisions", {"revision": 1, "data": {"a": 1}}, {"revision": 2}),
]  # fmt: skip
ROWS = [*COUNTED, *((*row, (7, 7, 7)) for row in NOT_COUNTED)]


@pytest.mark.parametrize(("path", "obj", "change", "want"), ROWS, ids=[row[0].rpartition("/")[2] for row in ROWS])
def test_generations(path: str, obj: dict[str, Any], change: dict[str, Any], want: tuple[int, int, int]) -> None:
    """A client's own number stays where none is counted; a deletion that waits for a finalizer is a change."""

    async def body() -> None:
        async with serving() as ask:
            metadata = {"name": "a", "generation": 7, "finalizers": ["example.org/f"], **obj.get("metadata", {})}
            made = await ask.create(path, {**obj, "metadata": metadata})
            where = f"{path}/{made['metadata']['name']}"
            seen = [made["metadata"].get("generation", 0)]
            for patch in ({"metadata": {"annotations": {"a": "b"}}}, change):
                changed = await ask.patch(where, patch)
                assert changed.status == 200, changed.body
                seen.append(changed.json["metadata"].get("generation", 0))
            assert tuple(seen) == want
            await ask("DELETE", where)
            gone = (await ask("GET", where)).json["metadata"]
            assert gone["deletionTimestamp"]
            assert gone.get("generation", 0) == want[2] + 1

    asyncio.run(body())

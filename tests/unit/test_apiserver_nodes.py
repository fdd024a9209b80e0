"""A node writes what is its own, and nothing else."""

from typing import Any

import pytest

from tests.apiserver_app import Server
from tests.apiserver_nodes import LEASES, N1, NODES, PODS, pod, run

TOKENS = "/api/v1/namespaces/default/serviceaccounts/a/token"
CSI_NODES, SLICES = "/apis/storage.k8s.io/v1/csinodes", "/apis/resource.k8s.io/v1/resourceslices"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"


def device_slice(name: str, node: str) -> dict[str, Any]:
    pool = {"name": "p", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": "d.example.org", "nodeName": node, "pool": pool, "devices": []}
    return {"metadata": {"name": name}, "spec": spec}


async def claimed(server: Server) -> None:
    """A claim that a pod of n1 names."""
    sizes = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await server.create(CLAIMS, {"metadata": {"name": "c"}, "spec": sizes})
    user = pod("claims", "n1")
    user["spec"]["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    await server.create(PODS, user)


def bound(**ref: str) -> dict[str, Any]:
    return {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", **ref}}}


def owned(**more: Any) -> dict[str, Any]:
    made = pod("p", "n1", mirror=True)
    made["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Node", "name": "n1", **more}]
    return made


TAINT = {"key": "a", "effect": "NoSchedule"}
OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n2", "uid": "u"}
RUNNING = {"status": {"phase": "Running"}}
REFUSED = [
    ("PATCH", f"{NODES}/n2/status", RUNNING, 'node "n1" is not allowed to modify node "n2"'),
    ("POST", NODES, {"metadata": {"name": "n3"}}, 'node "n1" is not allowed to modify node "n3"'),
    ("PATCH", f"{NODES}/n1", {"spec": {"taints": [TAINT]}}, 'node "n1" is not allowed to modify taints'),
    (
        "PATCH",
        f"{NODES}/n1",
        {"metadata": {"labels": {"node-restriction.kubernetes.io/a": "x"}}},
        "is not allowed to modify labels: node-restriction.kubernetes.io/a",
    ),
    (
        "PATCH",
        f"{NODES}/n1/status",
        {"metadata": {"labels": {"node-role.kubernetes.io/a": "x"}}},
        "is not allowed to modify labels: node-role.kubernetes.io/a",
    ),
    ("PATCH", f"{NODES}/n1", {"metadata": {"ownerReferences": [OWNER]}}, "is not allowed to modify ownerReferences"),
    ("DELETE", f"{NODES}/n1", None, 'User "system:node:n1" cannot delete resource "nodes" in API group "" at the'),
    ("PUT", f"{PODS}/on-n1", {}, 'User "system:node:n1" cannot update resource "pods" in API group ""'),
    ("PATCH", f"{PODS}/on-n1/status", {"metadata": {"labels": {"a": "b"}}}, "cannot update labels through pod status"),
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
    ("POST", PODS, pod("p", "n1", mirror=True), "can only create pods with an owner reference set to itself"),
    ("POST", PODS, owned(uid="x", controller=True), "node n1 UID mismatch: expected x got "),
    ("POST", PODS, owned(uid="x"), "can only create pods with a controller owner reference set to itself"),
    ("POST", TOKENS, {}, "node requested token not bound to a pod"),
    ("POST", TOKENS, bound(name="on-n1"), "node requested token with a pod binding without a uid"),
    ("POST", TOKENS, bound(name="on-n1", uid="u"), "the UID in the bound object reference (u) does not match the UID"),
    ("PATCH", f"{PODS}/on-n2/status", RUNNING, 'pods "on-n2" is forbidden: node "n1" can only update'),
    ("POST", LEASES, {"metadata": {"generateName": "n-"}}, 'leases.coordination.k8s.io "n-" is forbidden: can only'),
    ("POST", PODS, {**owned(), "spec": {**owned()["spec"], "serviceAccountName": "a"}},
     'pods "p" is forbidden: a mirror pod may not reference service accounts'),
    ("PATCH", f"{PODS}/on-n1/status", {"status": {"resourceClaimStatuses": [{"name": "g", "resourceClaimName": "t"}]}},
     'pods "on-n1" is forbidden: node "n1" cannot update resource claim statues'),
    ("POST", CSI_NODES, {"metadata": {"name": "n2"}, "spec": {"drivers": []}},
     "can only access CSINode with the same name as the requesting node"),
    ("POST", SLICES, device_slice("s", "n2"),
     "can only create ResourceSlice with the same NodeName as the requesting node"),
    ("POST", SLICES, {"metadata": {"name": "s"}, "spec": {"driver": "d", "pool": {"name": "p"}}},
     "can only create ResourceSlice with the same NodeName as the requesting node"),
    ("PATCH", f"{CLAIMS}/c/status", {"metadata": {"labels": {"a": "b"}}},
     'node "n1" is not allowed to update fields other than status.quantity and status.conditions'),
    ("PATCH", f"{CLAIMS}/c/status", {"status": {"phase": "Lost"}},
     'node "n1" is not allowed to update fields other than status.quantity and status.conditions'),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "words"), REFUSED)
def test_what_is_not_its_own_is_refused(method: str, path: str, body: Any, words: str) -> None:
    async def test(ask: Server) -> None:
        headers = {"content_type": "application/merge-patch+json"} if method == "PATCH" else {}
        if CLAIMS in path:
            await claimed(ask)
        refused = await ask(method, path, body, token=N1, **headers)
        assert (refused.status, refused.json["reason"]) == (403, "Forbidden"), refused.json
        assert words in refused.json["message"]

    run(test)


def test_what_is_its_own_is_its_to_write() -> None:
    async def test(ask: Server) -> None:
        merge = {"content_type": "application/merge-patch+json"}
        for path, body in ((f"{NODES}/n1/status", {}), (f"{LEASES}/n1", {}), (f"{PODS}/on-n1/status", RUNNING)):
            assert (await ask("PATCH", path, body, token=N1, **merge)).status == 200, path
        n1 = (await ask("GET", f"{NODES}/n1", token=N1)).json["metadata"]["uid"]
        assert (await ask("POST", PODS, owned(uid=n1, controller=True), token=N1)).status == 201
        uid = (await ask("GET", f"{PODS}/on-n1")).json["metadata"]["uid"]
        assert (await ask("POST", TOKENS, bound(name="on-n1", uid=uid), token=N1)).status == 201
        labels = {
            "metadata": {"labels": {"mine": "x", "topology.kubernetes.io/zone": "z", "node.kubernetes.io/x": "y"}}
        }
        assert (await ask("PATCH", f"{NODES}/n1", labels, token=N1, **merge)).status == 200
        assert (await ask("DELETE", f"{PODS}/on-n1", token=N1)).status == 200
        csi = {"metadata": {"name": "n1"}, "spec": {"drivers": []}}
        assert (await ask("POST", CSI_NODES, csi, token=N1)).status == 201
        assert (await ask("POST", SLICES, device_slice("s", "n1"), token=N1)).status == 201
        assert (await ask("DELETE", f"{SLICES}/s", token=N1)).status == 200
        await claimed(ask)
        grown = {"status": {"capacity": {"storage": "2Gi"}}}
        assert (await ask("PATCH", f"{CLAIMS}/c/status", grown, token=N1, **merge)).status == 200

    run(test)


def test_what_is_malformed_is_told_so() -> None:
    async def test(ask: Server) -> None:
        for spec in ({"volumes": "x"}, {"containers": [1]}, {"volumes": [{"projected": [1]}]}):
            sent = pod("p", "n1", mirror=True) | {"spec": spec}
            refused = await ask("POST", PODS, sent, token=N1)
            assert (refused.status, refused.json["reason"]) == (400, "BadRequest"), refused.json
        refused = await ask("POST", TOKENS, {"spec": {"boundObjectRef": "x"}}, token=N1)
        assert (refused.status, refused.json["reason"]) == (400, "BadRequest"), refused.json

    run(test)


def test_a_node_is_who_has_a_nodes_name_and_registers_without_reserved_labels() -> None:
    async def test(ask: Server) -> None:
        odd = await ask("POST", NODES, {"metadata": {"name": "jane"}}, token="odd")
        assert (odd.status, 'User "jane" cannot create resource "nodes"' in odd.json["message"]) == (403, True)
        await ask("DELETE", f"{NODES}/n1")
        labels = {"node-restriction.kubernetes.io/team": "x", "example.org/a": "b", "k8s.io/c": "d"}
        refused = await ask("POST", NODES, {"metadata": {"name": "n1", "labels": labels}}, token=N1)
        words = "is not allowed to set the following labels: k8s.io/c, node-restriction.kubernetes.io/team"
        assert words in refused.json["message"]

    run(test)


def test_a_token_is_for_an_audience_of_the_pod() -> None:
    async def test(ask: Server) -> None:
        made = pod("user", "n1")
        token = {"serviceAccountToken": {"path": "t", "audience": "vault"}}
        made["spec"] |= {
            "serviceAccountName": "a",
            "automountServiceAccountToken": False,
            "volumes": [{"name": "t", "projected": {"sources": [token]}}],
        }
        ref = bound(name="user", uid=(await ask.create(PODS, made))["metadata"]["uid"])
        other = (await ask("GET", f"{PODS}/on-n2")).json["metadata"]["uid"]
        refused = await ask("POST", TOKENS, bound(name="on-n2", uid=other), token=N1)
        assert "node requested token bound to a pod scheduled on a different node" in refused.json["message"]
        for audiences, words in (
            (["vault"], ""),
            ([], 'audience "" not found in pod spec volume'),
            (["other"], 'audience "other" not found in pod spec volume, system:node:n1 is not authorized to request'),
            (["a", "b"], "node may only request 0 or 1 audiences"),
        ):
            answer = await ask("POST", TOKENS, {"spec": {**ref["spec"], "audiences": audiences}}, token=N1)
            assert answer.status == (403 if words else 201), answer.body
            assert words in answer.body.decode().replace("\\", "")

    run(test)


def test_it_can_be_left_out() -> None:
    async def test(ask: Server) -> None:
        assert (await ask("POST", NODES, {"metadata": {"name": "n3"}}, token=N1)).status == 201

    run(test, "NodeRestriction")


NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([], [NOT_READY]),
        ([TAINT], [TAINT, NOT_READY]),
        ([{**NOT_READY, "value": "x"}], [{**NOT_READY, "value": "x"}]),
        ([{**NOT_READY, "effect": "NoExecute"}], [{**NOT_READY, "effect": "NoExecute"}, NOT_READY]),
    ],
)
def test_a_new_node_gets_no_pods_yet(given: list[dict[str, str]], kept: list[dict[str, str]]) -> None:
    async def test(server: Server) -> None:
        made = await server.create(NODES, {"metadata": {"name": "new"}, "spec": {"taints": given}})
        assert made["spec"]["taints"] == kept
        changed = await server("PUT", f"{NODES}/new", {**made, "spec": {}})
        assert "taints" not in changed.json["spec"], "only when it is made"

    run(test)

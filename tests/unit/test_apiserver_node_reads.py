"""A node reads what its pods name, and nothing else."""

import asyncio

from tests.apiserver_app import Server
from tests.apiserver_nodes import N1, NODES, PODS, pod, run

UNRELATED = "no relationship found between node 'n1' and this object"
READS = [
    ("secrets/mine", ""),
    ("secrets?fieldSelector=metadata.name%3Dmine", ""),
    ("configmaps/mine", ""),
    ("serviceaccounts/a", ""),
    ("pods/on-n1", ""),
    ("pods?fieldSelector=spec.nodeName%3Dn1", ""),
    ("secrets/theirs", UNRELATED),
    ("configmaps/theirs", UNRELATED),
    ("serviceaccounts/b", UNRELATED),
    ("pods/on-n2", UNRELATED),
    ("secrets", "No Object name found"),
    ("pods", "can only list/watch pods with spec.nodeName field selector"),
    ("pods?fieldSelector=spec.nodeName%3Dn2", "can only list/watch pods with spec.nodeName field selector"),
]


def test_it_reads_what_its_pods_name_and_nothing_else() -> None:
    async def test(ask: Server) -> None:
        for name, node in (("mine", "n1"), ("theirs", "n2")):
            for plural in ("secrets", "configmaps"):
                await ask.create(f"/api/v1/namespaces/default/{plural}", {"metadata": {"name": name}})
            user = pod(f"uses-{name}", node)
            user["spec"]["volumes"] = [{"name": "s", "secret": {"secretName": name}}]
            user["spec"]["containers"][0]["envFrom"] = [{"configMapRef": {"name": name}}]
            await ask.create(PODS, user)
        for what, words in READS:
            answer = await ask("GET", f"/api/v1/namespaces/default/{what}", token=N1)
            assert answer.status == (403 if words else 200), (what, answer.body)
            assert not words or answer.json["message"].endswith(f": {words}"), answer.json
        for where, words in (
            ("/n1", ""),
            ("/n2", "cannot read 'n2', only its own"),
            ("", "cannot read all nodes, only"),
        ):
            answer = await ask("GET", NODES + where, token=N1)
            assert (answer.status == 200, words in answer.body.decode()) == (not words, True)
        assert (await ask("GET", "/api/v1/services", token=N1)).status == 200

    run(test)


VOLUMES = [
    ("/api/v1/namespaces/default/persistentvolumeclaims/mine", ""),
    ("/api/v1/namespaces/default/persistentvolumeclaims/user-scratch", ""),
    ("/api/v1/namespaces/default/persistentvolumeclaims/theirs", UNRELATED),
    ("/api/v1/namespaces/default/persistentvolumeclaims", "can only get individual resources of this type"),
    ("/api/v1/persistentvolumes/bound", ""),
    ("/api/v1/persistentvolumes/other", UNRELATED),
    ("/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/gpu", ""),
    ("/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/tpu", UNRELATED),
    ("/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.nodeName%3Dn1", ""),
    ("/apis/resource.k8s.io/v1/resourceslices",
     "can only list/watch/deletecollection resourceslices with nodeName field selector"),
    ("/apis/storage.k8s.io/v1/csinodes/n1", ""),
    ("/apis/storage.k8s.io/v1/csinodes/n2", "can only access CSINode with the same name as the requesting node"),
    ("/apis/storage.k8s.io/v1/volumeattachments/none", UNRELATED),
]  # fmt: skip


def test_it_gets_the_volumes_and_devices_of_its_pods() -> None:
    async def test(ask: Server) -> None:
        user = pod("user", "n1")
        claims = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        user["spec"] |= {
            "volumes": [
                {"name": "a", "persistentVolumeClaim": {"claimName": "mine"}},
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": claims}}},
            ],
            "resourceClaims": [{"name": "g", "resourceClaimName": "gpu"}],
        }
        await ask.create(PODS, user)
        for name, claim in (("bound", "mine"), ("other", "theirs")):
            spec = {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"},
                "claimRef": {"namespace": "default", "name": claim},
            }  # fmt: skip
            await ask.create("/api/v1/persistentvolumes", {"metadata": {"name": name}, "spec": spec})
        for path, words in VOLUMES:
            answer = await ask("GET", path, token=N1)
            assert (answer.status == 403) == bool(words), (path, answer.body)
            assert not words or answer.json["message"].endswith(f": {words}"), answer.json

    run(test)


def test_what_it_reads_goes_with_its_pod() -> None:
    async def test(ask: Server) -> None:
        secret = "/api/v1/namespaces/default/secrets/s"
        await ask.create(secret.rpartition("/")[0], {"metadata": {"name": "s"}})
        review = {"spec": {"user": "system:node:n1", "groups": ["system:nodes"], "resourceAttributes": {
            "verb": "get", "resource": "secrets", "namespace": "default", "name": "s"}}}  # fmt: skip
        for allowed in (False, True, False):
            path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
            status = (await ask("POST", path, review)).json["status"]
            assert status == ({"allowed": True} if allowed else {"allowed": False, "reason": UNRELATED})
            assert (await ask("GET", secret, token=N1)).status == (200 if allowed else 403)
            if allowed:
                await ask("DELETE", f"{PODS}/user?gracePeriodSeconds=0")
            else:
                made = pod("user", "n1")
                made["spec"]["imagePullSecrets"] = [{"name": "s"}]
                await ask.create(PODS, made)
            await asyncio.sleep(0)

    run(test)

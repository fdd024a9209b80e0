"""kubectl with the kinds that kube-scheduler and kube-controller-manager watch: made, shown, changed, gone."""

from collections.abc import Iterator

import pytest

from tests.apiserver_process import KUBECTLS, Apiserver

MANIFESTS = """
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], storageClassName: slow, hostPath: {path: /x}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: pvc}
spec: {accessModes: [ReadWriteOnce], storageClassName: slow, resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: rc}
spec: {replicas: 2, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: limits}
spec: {limits: [{type: Container, default: {cpu: 500m}}]}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: slow}
provisioner: example.com/slow
---
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: driver.example.com}
---
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: gpu}
spec: {selectors: [{cel: {expression: device.driver == "gpu.example.com"}}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: claim}
spec: {devices: {requests: [{name: g, exactly: {deviceClassName: gpu}}]}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: hpa}
spec: {maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}}
"""
# What to get, and the words of its row, ages apart.
ROWS = [
    ("pv/pv", "pv 1Gi RWO Retain Pending slow <unset>"),
    ("pvc/pvc", "pvc Pending slow <unset>"),
    ("rc/rc", "rc 2 0 0"),
    ("limits/limits", "limits"),
    ("sc/slow", "slow example.com/slow Delete Immediate false"),
    ("csidriver/driver.example.com", "driver.example.com true false false <unset> false Persistent"),
    ("deviceclass/gpu", "gpu"),
    ("resourceclaim/claim", "claim pending"),
    ("hpa/hpa", "hpa Deployment/d cpu: <unknown>/80% 1 5 0"),
]


@pytest.fixture(scope="module", params=KUBECTLS)
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Apiserver]:
    with Apiserver(tmp_path_factory.mktemp("rare")) as running:
        running.kubectl_name = request.param
        running.kubectl("apply", "-f", "-", stdin=MANIFESTS)
        yield running


@pytest.mark.parametrize(("what", "row"), ROWS, ids=[what for what, _ in ROWS])
def test_each_is_shown_described_and_changed(server: Apiserver, what: str, row: str) -> None:
    shown = server.kubectl("get", what, "--no-headers").split()
    assert " ".join(shown[: len(row.split())]) == row
    assert f"Name:  {what.partition('/')[2]}".split() == server.kubectl("describe", what).split()[:2]
    server.kubectl("label", what, "--overwrite", "seen=yes")
    assert "unchanged" in server.kubectl("apply", "-f", "-", stdin=MANIFESTS)


def test_a_replication_controller_is_scaled(server: Apiserver) -> None:
    assert "scaled" in server.kubectl("scale", "rc/rc", "--replicas=3")
    assert server.kubectl("get", "rc/rc", "-o", "jsonpath={.spec.replicas}") == "3"
    server.kubectl("scale", "rc/rc", "--replicas=2")


def test_a_pod_gets_the_limits_of_its_namespace(server: Apiserver) -> None:
    server.kubectl("run", "p", "--image=i")
    path = "jsonpath={.spec.containers[0].resources.limits.cpu} {.spec.priority}"
    assert server.kubectl("get", "pod", "p", "-o", path) == "500m 0"


def test_the_classes_of_the_system_are_there(server: Apiserver) -> None:
    found = server.kubectl("get", "priorityclasses", "-o", "name").split()
    assert {f"priorityclass.scheduling.k8s.io/system-{one}-critical" for one in ("cluster", "node")} <= set(found)

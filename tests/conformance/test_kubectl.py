"""The real kubectl, 1.32 and 1.36, against a real apiserver process: TLS, and the kubeconfig that it wrote."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apiserver_process import KUBECTLS, Apiserver, program
from tests.waiting import until

MANIFEST = """
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec:
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: https, port: 443, targetPort: 8443}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web}}
data: {colour: blue}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: web}}
spec:
  containers:
  - {name: web, image: example/web, ports: [{containerPort: 8080}]}
"""
NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "n1", "labels": {"node-role.kubernetes.io/worker": ""}},
    "status": {
        "addresses": [{"type": "InternalIP", "address": "192.168.9.1"}],
        "conditions": [{"type": "Ready", "status": "True"}],
        "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian"},
    },
}


@pytest.fixture(scope="module", params=KUBECTLS)
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Apiserver]:
    with Apiserver(tmp_path_factory.mktemp("kubectl")) as running:
        running.kubectl_name = request.param
        running.kubectl("apply", "-f", "-", stdin=json.dumps(NODE))
        yield running


@pytest.fixture
def namespace(server: Apiserver, request: pytest.FixtureRequest) -> Iterator[str]:
    name = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")[:60]
    server.kubectl("create", "namespace", name)
    yield name
    server.kubectl("delete", "namespace", name, "--timeout=30s")


def rows(table: str) -> list[list[str]]:
    """A table's cells; columns are two or more spaces apart."""
    return [[cell for cell in line.split("  ") if cell] for line in table.splitlines()]


def test_what_every_cluster_has(server: Apiserver) -> None:
    names = server.kubectl("get", "namespaces", "-o", "name").split()
    assert set(names) >= {f"namespace/{n}" for n in ("default", "kube-system", "kube-public", "kube-node-lease")}
    service = server.kubectl_json("get", "service", "kubernetes")
    assert service["spec"]["clusterIP"] == "10.96.0.1"
    endpoints = server.kubectl_json("get", "endpoints", "kubernetes")
    assert endpoints["subsets"][0]["ports"][0]["port"] == server.port
    described = server.kubectl("describe", "service", "kubernetes")
    assert f"127.0.0.1:{server.port}" in described


def test_apply_creates_then_changes_only_what_changed(server: Apiserver, namespace: str) -> None:
    first = server.kubectl("apply", "-n", namespace, "-f", "-", stdin=MANIFEST)
    assert first.count("created") == 3
    assert server.kubectl("apply", "-n", namespace, "-f", "-", stdin=MANIFEST).count("unchanged") == 3
    changed = MANIFEST.replace("blue", "green").replace("{name: https, port: 443, targetPort: 8443}", "")
    changed = changed.replace("  - \n", "")
    again = server.kubectl("apply", "-n", namespace, "-f", "-", stdin=changed)
    assert "configmap/settings configured" in again
    assert "service/web configured" in again
    assert "pod/web-1 unchanged" in again
    service = server.kubectl_json("get", "service", "web", "-n", namespace)
    assert [port["name"] for port in service["spec"]["ports"]] == ["http"]
    assert server.kubectl_json("get", "configmap", "settings", "-n", namespace)["data"] == {"colour": "green"}


def test_apply_shows_a_difference(server: Apiserver, namespace: str) -> None:
    server.kubectl("apply", "-n", namespace, "-f", "-", stdin=MANIFEST)
    same = server.kubectl("diff", "-n", namespace, "-f", "-", stdin=MANIFEST)
    assert same == ""
    dry = server.kubectl("apply", "-n", namespace, "--dry-run=server", "-f", "-", stdin=MANIFEST.replace("blue", "red"))
    assert "configmap/settings configured (server dry run)" in dry
    assert server.kubectl_json("get", "configmap", "settings", "-n", namespace)["data"] == {"colour": "blue"}


def test_get_in_all_its_forms(server: Apiserver, namespace: str) -> None:
    server.kubectl("apply", "-n", namespace, "-f", "-", stdin=MANIFEST)
    wide = rows(server.kubectl("get", "service", "-n", namespace, "-o", "wide"))
    assert [cell.strip() for cell in wide[0]] == [
        "NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR",
    ]  # fmt: skip
    assert [cell.strip() for cell in wide[1]][-3::2] == ["80/TCP,443/TCP", "app=web"]
    pods = rows(server.kubectl("get", "pods", "-n", namespace, "-o", "wide"))
    assert [cell.strip() for cell in pods[0]][:6] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"]
    assert [cell.strip() for cell in pods[1]][:4] == ["web-1", "0/1", "Pending", "0"]
    assert namespace in server.kubectl("get", "services", "-A")
    assert server.kubectl("get", "all", "-n", namespace, "-l", "app=web", "-o", "name").split() == [
        "pod/web-1", "service/web",
    ]  # fmt: skip
    assert server.kubectl("get", "all", "-n", namespace, "-l", "app notin (web)") == ""
    found = server.kubectl_json("get", "pods", "-A", "--field-selector", f"metadata.namespace={namespace}")
    assert [item["metadata"]["name"] for item in found["items"]] == ["web-1"]
    one = server.kubectl("get", "service", "web", "-n", namespace, "-o", "jsonpath={.spec.ports[*].port}")
    assert one == "80 443"
    chunks = server.kubectl("get", "namespaces", "--chunk-size=2", "-o", "name")
    assert len(chunks.split()) >= 5
    assert server.kubectl("get", "pods", "-n", "nowhere", "-o", "name") == ""


def test_nodes_show_their_state(server: Apiserver) -> None:
    table = rows(server.kubectl("get", "nodes", "-o", "wide"))
    assert [cell.strip() for cell in table[1]][:3] == ["n1", "Ready", "worker"]
    assert "192.168.9.1" in server.kubectl("get", "nodes", "-o", "wide")
    assert "InternalIP:  192.168.9.1" in server.kubectl("describe", "node", "n1")


def test_watch_shows_changes_as_they_come(server: Apiserver, namespace: str, tmp_path: Path) -> None:
    server.kubectl("create", "configmap", "first", "-n", namespace)
    env = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "HOME": str(tmp_path)}
    out = tmp_path / "watch"
    with out.open("wb") as file:
        command = [program(server.kubectl_name), "get", "configmaps", "-n", namespace, "-w", "--output-watch-events"]
        watching = subprocess.Popen(command, env=env, stdout=file)
        try:
            until(lambda: "first" in out.read_text(), out.read_text)
            server.kubectl("create", "configmap", "second", "-n", namespace)
            until(lambda: "ADDED      second" in out.read_text(), out.read_text)
            server.kubectl("label", "configmap", "second", "-n", namespace, "a=b")
            until(lambda: "MODIFIED   second" in out.read_text(), out.read_text)
            server.kubectl("delete", "configmap", "second", "-n", namespace)
            until(lambda: "DELETED    second" in out.read_text(), out.read_text)
        finally:
            watching.send_signal(signal.SIGINT)
            watching.wait(10)


def test_wait_ends_when_the_condition_holds(server: Apiserver, namespace: str) -> None:
    server.kubectl("apply", "-n", namespace, "-f", "-", stdin=MANIFEST)
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"}}
    server.kubectl("patch", "pod", "web-1", "-n", namespace, "--subresource=status", "-p", json.dumps(ready))
    assert "condition met" in server.kubectl("wait", "pod/web-1", "-n", namespace, "--for=condition=Ready")
    assert server.kubectl_json("get", "pod", "web-1", "-n", namespace)["status"]["phase"] == "Running"


def test_describe(server: Apiserver, namespace: str) -> None:
    server.kubectl("apply", "-n", namespace, "-f", "-", stdin=MANIFEST)
    service = server.kubectl("describe", "service", "web", "-n", namespace)
    for line in ("Type:                     ClusterIP", "Port:                     http  80/TCP", "app=web"):
        assert line in service
    assert "Node-Selectors" in server.kubectl("describe", "pod", "web-1", "-n", namespace)
    assert "colour" in server.kubectl("describe", "configmap", "settings", "-n", namespace)
    assert "Status:       Active" in server.kubectl("describe", "namespace", namespace)


def test_label_and_annotate(server: Apiserver, namespace: str) -> None:
    server.kubectl("create", "configmap", "c", "-n", namespace)
    assert "labeled" in server.kubectl("label", "configmap", "c", "-n", namespace, "tier=front")
    assert "'tier' already has a value" in server.kubectl(
        "label", "configmap", "c", "-n", namespace, "tier=back", ok=False
    )
    server.kubectl("label", "configmap", "c", "-n", namespace, "tier=back", "--overwrite")
    assert "annotated" in server.kubectl("annotate", "configmap", "c", "-n", namespace, "note=some text")
    metadata = server.kubectl_json("get", "configmap", "c", "-n", namespace)["metadata"]
    assert (metadata["labels"], metadata["annotations"]) == ({"tier": "back"}, {"note": "some text"})
    server.kubectl("label", "configmap", "c", "-n", namespace, "tier-")
    assert "labels" not in server.kubectl_json("get", "configmap", "c", "-n", namespace)["metadata"]


@pytest.mark.parametrize(
    ("way", "patch"),
    [
        ("strategic", {"spec": {"ports": [{"port": 443, "$patch": "delete"}]}}),
        ("merge", {"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}),
        ("json", [{"op": "remove", "path": "/spec/ports/1"}]),
    ],
)
def test_patch_every_way(server: Apiserver, way: str, patch: object) -> None:
    namespace = f"patch-{way}"
    server.kubectl("create", "namespace", namespace)
    server.kubectl("apply", "-n", namespace, "-f", "-", stdin=MANIFEST)
    server.kubectl("patch", "service", "web", "-n", namespace, "--type", way, "-p", json.dumps(patch))
    service = server.kubectl_json("get", "service", "web", "-n", namespace)
    assert [port["port"] for port in service["spec"]["ports"]] == [80]
    server.kubectl("delete", "namespace", namespace)


def test_edit(server: Apiserver, namespace: str, tmp_path: Path) -> None:
    server.kubectl("create", "configmap", "c", "-n", namespace, "--from-literal=colour=blue")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i s/blue/green/ "$1"\n')
    editor.chmod(0o755)
    env = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "HOME": str(tmp_path), "EDITOR": str(editor)}
    subprocess.run(
        [program(server.kubectl_name), "edit", "configmap", "c", "-n", namespace], env=env, check=True, timeout=60
    )
    assert server.kubectl_json("get", "configmap", "c", "-n", namespace)["data"] == {"colour": "green"}


def test_replace_with_a_stale_version_is_refused(server: Apiserver, namespace: str) -> None:
    server.kubectl("create", "configmap", "c", "-n", namespace, "--from-literal=a=1")
    seen = server.kubectl_json("get", "configmap", "c", "-n", namespace)
    server.kubectl("label", "configmap", "c", "-n", namespace, "touched=yes")
    problem = server.kubectl("replace", "-f", "-", stdin=json.dumps(seen), ok=False)
    assert "the object has been modified" in problem
    seen["metadata"].pop("resourceVersion")
    assert "replaced" in server.kubectl("replace", "-f", "-", stdin=json.dumps(seen))


def test_create_commands_send_protobuf(server: Apiserver, namespace: str) -> None:
    """kubectl 1.32 sends these as application/vnd.kubernetes.protobuf and takes no other answer for it."""
    server.kubectl("create", "service", "clusterip", "ci", "-n", namespace, "--tcp=80:8080", "--tcp=53:53")
    server.kubectl("create", "service", "nodeport", "np", "-n", namespace, "--tcp=80:http")
    server.kubectl("create", "service", "externalname", "en", "-n", namespace, "--external-name=example.org")
    server.kubectl("create", "configmap", "cm", "-n", namespace, "--from-literal=a=ü€")
    items = {item["metadata"]["name"]: item for item in server.kubectl_json("get", "svc", "-n", namespace)["items"]}
    assert [port["targetPort"] for port in items["ci"]["spec"]["ports"]] == [8080, 53]
    assert items["np"]["spec"]["ports"][0]["targetPort"] == "http"
    assert 30000 <= items["np"]["spec"]["ports"][0]["nodePort"] <= 32767
    assert items["en"]["spec"]["externalName"] == "example.org"
    assert "clusterIP" not in items["en"]["spec"]
    assert server.kubectl_json("get", "configmap", "cm", "-n", namespace)["data"] == {"a": "ü€"}
    strict = server.kubectl("create", "service", "clusterip", "ci", "-n", namespace, "--tcp=80", ok=False)
    assert 'services "ci" already exists' in strict


def test_run_makes_a_pod_and_expose_its_service(server: Apiserver, namespace: str) -> None:
    server.kubectl("run", "web", "-n", namespace, "--image=example/web", "--port=8080", "--labels=app=web")
    server.kubectl("expose", "pod", "web", "-n", namespace, "--port=80", "--target-port=8080")
    service = server.kubectl_json("get", "service", "web", "-n", namespace)
    assert service["spec"]["selector"] == {"app": "web"}


def test_delete(server: Apiserver, namespace: str) -> None:
    server.kubectl("apply", "-n", namespace, "-f", "-", stdin=MANIFEST)
    assert 'service "web" deleted' in server.kubectl("delete", "service", "web", "-n", namespace)
    assert "NotFound" in server.kubectl("delete", "service", "web", "-n", namespace, ok=False)
    server.kubectl("delete", "service", "web", "-n", namespace, "--ignore-not-found")
    assert 'pod "web-1" deleted' in server.kubectl("delete", "pods", "-n", namespace, "-l", "app=web")
    server.kubectl("delete", "configmaps", "--all", "-n", namespace)
    assert server.kubectl("get", "configmaps,pods,services", "-n", namespace, "-o", "name") == ""


def test_deleting_a_namespace_empties_it(server: Apiserver) -> None:
    server.kubectl("create", "namespace", "going")
    server.kubectl("apply", "-n", "going", "-f", "-", stdin=MANIFEST)
    server.kubectl("delete", "namespace", "going")
    assert "NotFound" in server.kubectl("get", "namespace", "going", ok=False)
    assert server.kubectl("get", "configmaps,pods,services", "-n", "going", "-o", "name") == ""
    assert "may not be deleted" in server.kubectl("delete", "namespace", "default", ok=False)


def test_api_resources_and_versions(server: Apiserver) -> None:
    listed = {line.split()[0] for line in server.kubectl("api-resources", "--no-headers").splitlines()}
    assert listed >= {
        "namespaces", "nodes", "pods", "services", "endpoints", "configmaps", "events", "endpointslices", "leases",
    }  # fmt: skip
    assert {"v1", "discovery.k8s.io/v1", "coordination.k8s.io/v1"} <= set(server.kubectl("api-versions").split())
    assert "Server Version: v1.36" in server.kubectl("version")


def test_explain(server: Apiserver) -> None:
    assert "FIELD: clusterIP <string>" in server.kubectl("explain", "service.spec.clusterIP")
    assert "GROUP:      discovery.k8s.io" in server.kubectl("explain", "endpointslices")
    assert "hostname\t<string>" in server.kubectl("explain", "pods", "--recursive")


def test_unknown_fields_are_refused_as_kubectl_asks(server: Apiserver, namespace: str) -> None:
    wrong = MANIFEST.replace("selector: {app: web}", "selektor: {app: web}")
    problem = server.kubectl("apply", "-n", namespace, "-f", "-", stdin=wrong, ok=False)
    assert 'unknown field "spec.selektor"' in problem
    assert "NotFound" in server.kubectl("get", "service", "web", "-n", namespace, ok=False)
    lax = server.kubectl("apply", "-n", namespace, "--validate=false", "-f", "-", stdin=wrong)
    assert "service/web created" in lax


def test_auth(server: Apiserver) -> None:
    assert server.kubectl("auth", "can-i", "delete", "pods").strip() == "yes"
    assert "admin" in server.kubectl("auth", "whoami")
    assert "Unauthorized" in server.kubectl("get", "pods", "--token=wrong", ok=False)


def test_raw_health(server: Apiserver) -> None:
    assert server.kubectl("get", "--raw", "/readyz") == "ok"
    assert "livez check passed" in server.kubectl("get", "--raw", "/livez?verbose")
    assert "apiserver_request_total" in server.kubectl("get", "--raw", "/metrics")


def test_in_the_foreground_the_owner_goes_last(server: Apiserver, namespace: str) -> None:
    server.kubectl("create", "configmap", "owner", "-n", namespace)
    uid = server.kubectl_json("get", "configmap", "owner", "-n", namespace)["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid, "blockOwnerDeletion": True}
    metadata = {"name": "owned", "namespace": namespace, "ownerReferences": [reference]}
    owned = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    server.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(owned))
    server.kubectl("delete", "configmap", "owner", "-n", namespace, "--cascade=foreground", "--timeout=20s")
    assert server.kubectl("get", "configmap", "-n", namespace, "-o", "name").split() == []

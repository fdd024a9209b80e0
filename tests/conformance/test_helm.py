"""The real helm (4), unmodified, which applies on the server: releases come, change, are taken back and go."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apiserver_process import Apiserver

CHART = "apiVersion: v2\nname: web\nversion: 0.1.0\n"
VALUES = "colour: blue\nport: 80\n"
TEMPLATE = """
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {app: web}
  ports:
  - {name: http, port: {{ .Values.port }}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {colour: {{ .Values.colour }}, kubernetes: {{ .Capabilities.KubeVersion }}}
"""
HOOK = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-before
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: "before-hook-creation"}
data: {revision: "{{ .Release.Revision }}"}
"""


class Helm:
    """helm as a user runs it, with one chart of ours."""

    def __init__(self, server: Apiserver, folder: Path) -> None:
        self.server = server
        self.chart = folder / "web"
        for name, text in {
            "Chart.yaml": CHART,
            "values.yaml": VALUES,
            "templates/all.yaml": TEMPLATE,
            "templates/hook.yaml": HOOK,
        }.items():
            path = self.chart / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def __call__(self, *args: str, ok: bool = True) -> str:
        """Run it; what it printed. It must succeed, or (ok=False) fail, then its errors are returned."""
        program = Path(sys.executable).parent / "helm"
        assert program.exists(), f"{program} is missing: `./run test` unpacks it"
        env = {**os.environ, "KUBECONFIG": str(self.server.kubeconfig), "HOME": str(self.chart.parent)}
        done = subprocess.run([program, *args], env=env, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode == 0) is ok, f"helm {' '.join(args)}: {done.stdout}{done.stderr}"
        return done.stdout if ok else done.stderr

    def install(self, name: str, *args: str, ok: bool = True) -> str:
        return self("install", name, str(self.chart), *args, ok=ok)

    def upgrade(self, name: str, *args: str, ok: bool = True) -> str:
        return self("upgrade", name, str(self.chart), *args, ok=ok)

    def colour(self, name: str) -> str:
        return self.server.kubectl("get", "configmap", name, "-o", "jsonpath={.data.colour}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apiserver]:
    with Apiserver(tmp_path_factory.mktemp("helm")) as running:
        yield running


@pytest.fixture
def helm(server: Apiserver, tmp_path: Path) -> Helm:
    return Helm(server, tmp_path)


def test_a_release_from_its_first_day_to_its_last(helm: Helm) -> None:
    assert "STATUS: deployed" in helm.install("life", "--wait")
    address = helm.server.kubectl("get", "service", "life", "-o", "jsonpath={.spec.clusterIP}")
    assert helm.server.kubectl("get", "configmap", "life", "-o", "jsonpath={.data.kubernetes}").startswith("v1.")
    assert "REVISION: 2" in helm.upgrade("life", "--set", "colour=green")
    assert helm.colour("life") == "green"
    assert helm.server.kubectl("get", "configmap", "life-before", "-o", "jsonpath={.data.revision}") == "2"
    assert "Rollback was a success" in helm("rollback", "life", "1")
    assert helm.colour("life") == "blue"
    assert helm.server.kubectl("get", "service", "life", "-o", "jsonpath={.spec.clusterIP}") == address
    assert [line.split()[0] for line in helm("history", "life").splitlines()[1:]] == ["1", "2", "3"]
    assert "v1/Service" in helm("status", "life")
    assert 'release "life" uninstalled' in helm("uninstall", "life", "--wait")
    assert "NotFound" in helm.server.kubectl("get", "service", "life", ok=False)
    assert "life" not in helm("list", "--all-namespaces")


def test_what_the_server_refuses_is_said(helm: Helm) -> None:
    problem = helm.install("wrong", "--set", "port=70000", ok=False)
    assert "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive" in problem
    helm("uninstall", "wrong")


def test_a_dry_run_on_the_server_leaves_nothing(helm: Helm) -> None:
    assert "kind: Service" in helm.install("dry", "--dry-run=server")
    assert "NotFound" in helm.server.kubectl("get", "service", "dry", ok=False)


def test_a_field_somebody_else_owns_now_is_a_conflict(helm: Helm) -> None:
    helm.install("shared")
    helm.server.kubectl("patch", "configmap", "shared", "-p", '{"data":{"colour":"red"}}', "--field-manager=someone")
    problem = helm.upgrade("shared", "--set", "colour=green", ok=False)
    assert 'conflict with "someone"' in problem
    assert ".data.colour" in problem
    assert helm.colour("shared") == "red"
    helm.upgrade("shared", "--set", "colour=green", "--force-conflicts")
    assert helm.colour("shared") == "green"


def test_objects_of_others_are_not_taken(helm: Helm) -> None:
    helm.server.kubectl("create", "configmap", "taken")
    assert "cannot be imported into the current release" in helm.install("taken", ok=False)
    assert "NotFound" in helm.server.kubectl("get", "service", "taken", ok=False)


def test_the_chart_that_helm_itself_makes(helm: Helm) -> None:
    helm("create", str(helm.chart.parent / "own"))
    assert "STATUS: deployed" in helm("install", "own", str(helm.chart.parent / "own"))
    helm("upgrade", "own", str(helm.chart.parent / "own"), "--set", "replicaCount=3", "--set", "ingress.enabled=true")
    assert helm.server.kubectl("get", "deployment", "own", "-o", "jsonpath={.spec.replicas}") == "3"
    assert helm.server.kubectl("get", "ingress", "own", "-o", "jsonpath={.spec.rules[0].host}") == "chart-example.local"
    helm("uninstall", "own")
    left = helm.server.kubectl(
        "get", "deployments,ingresses,serviceaccounts", "-l", "app.kubernetes.io/name=own", "-o", "name"
    )
    assert left == ""

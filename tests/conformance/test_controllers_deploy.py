"""The manifests of deploy/controllers: applied as they are; and the role suffices for all that the controllers do."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from netplane.controllers import controllers, flags
from netplane.controllers.command import command
from tests import waiting
from tests.apiserver_process import Apiserver

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "controllers"
NAME = "netplane-controllers"
FAILED = ("write failed", "event not written", "cannot watch; trying again", "plan failed")
until = partial(waiting.until, within_s=40.0)


def work(server: Apiserver) -> None:
    """Something to do for each controller."""
    objects: list[dict[str, Any]] = [
        {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1"}},
        {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n2"}},
        {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "web"},
         "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]}},
        {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "db"}, "spec": {"ports": [{"port": 5432}]}},
        {"kind": "Endpoints", "apiVersion": "v1", "metadata": {"name": "db"},
         "subsets": [{"addresses": [{"ip": "192.0.2.99"}], "ports": [{"port": 5432}]}]},
        {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
         "metadata": {"name": "n1", "namespace": "kube-node-lease"},
         "spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}},
        {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "lost", "labels": {"app": "web"}},
         "spec": {"nodeName": "never", "serviceAccountName": "default", "containers": [{"name": "c", "image": "x"}]}},
        {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "placed", "labels": {"app": "web"}},
         "spec": {"serviceAccountName": "default", "containers": [{"name": "c", "image": "x"}]}},
    ]  # fmt: skip
    server.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))


def test_the_role_suffices(tmp_path: Path) -> None:
    with Apiserver(tmp_path) as server:
        server.kubectl("apply", "--validate=strict", "-k", str(DEPLOY))
        token = server.kubectl("create", "token", NAME, "-n", "kube-system").strip()
        document = yaml.safe_load(server.kubeconfig.read_text())
        document["users"][0]["user"] = {"token": token}
        kubeconfig = tmp_path / "as-deployed"
        kubeconfig.write_text(yaml.safe_dump(document))
        log = tmp_path / "controllers.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "netplane.cli", "controllers", "--kubeconfig", str(kubeconfig), "--leader-elect",
                 "--cluster-cidr", "10.244.0.0/24", "--node-cidr-mask-size", "24", "--load-balancer-pool", "192.0.2.1",
                 "--node-monitor-grace-period", "1s", "--log-format", "json", "-v", "2"],
                stderr=out, stdout=out,
            )  # fmt: skip

        def wrote() -> str:
            lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
            assert [line for line in lines if line["event"] in FAILED] == []
            return "\n".join(line["write"] for line in lines if line["event"] == "wrote")

        try:
            until(lambda: server.kubectl_json("get", "serviceaccounts")["items"], "the default account")
            work(server)
            for what in (
                "create EndpointSlice default/web-", "create EndpointSlice default/db-", "create Endpoints default/web",
                "create ConfigMap default/kube-root-ca.crt", "create ServiceAccount default/default",
                "patch Service/status default/web", "patch Node/status n1", "patch Node n1", "create Event",
                "bind default/placed to n1", "delete Pod default/lost",
            ):  # fmt: skip
                until(lambda what=what: what in wrote(), what)  # type: ignore[misc]  # bound now, takes nothing
            for name in ("come", "and", "go"):
                server.kubectl("create", "namespace", name)
                until(lambda name=name: f"create ServiceAccount {name}/default" in wrote(), name)  # type: ignore[misc]
                server.kubectl("delete", "namespace", name)
            server.kubectl("delete", "service", "web", "db")
            until(lambda: len(server.kubectl_json("get", "endpointslices")["items"]) == 1, "slices of Services go")
            until(lambda: "delete Endpoints default/web" in wrote(), "and Endpoints")
        finally:
            process.terminate()
            process.wait(20)


def test_flags_and_names_fit_together() -> None:
    [made] = yaml.safe_load_all((DEPLOY / "deployment.yaml").read_text())
    [container] = made["spec"]["template"]["spec"]["containers"]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = dict(argument.partition("=")[::2] for argument in container["args"])
    assert set(given) <= known
    assert flags.parse_addresses(given["--load-balancer-pool"])
    assert flags.parse_controllers(given["--controllers"], controllers.names()) == {"load-balancer"}
    assert given["--healthz-bind-address"].endswith(f":{container['livenessProbe']['httpGet']['port']}")
    assert set(yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]) == {
        path.name for path in DEPLOY.glob("*.yaml") if path.name != "kustomization.yaml"
    }

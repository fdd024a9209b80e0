"""The agent's manifests agree with its flags, its defaults and what it asks the apiserver."""

from pathlib import Path
from typing import Any

import yaml

from cni import __main__ as agent
from cni.install import DEFAULT_BIN_DIR, DEFAULT_CONF_DIR, DEFAULT_SOCKET

DEPLOY = Path(__file__).parents[2] / "deploy" / "cni"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def pod() -> dict[str, Any]:
    found: dict[str, Any] = documents("daemonset.yaml")[0]["spec"]["template"]["spec"]
    return found


def environment(container: dict[str, Any], data: dict[str, str]) -> dict[str, str]:
    refs = {e["name"]: e["valueFrom"].get("configMapKeyRef") for e in container["env"]}
    return {name: data[ref["key"]] for name, ref in refs.items() if ref}


def test_the_flags_are_the_agents() -> None:
    (container,) = pod()["containers"]
    words = environment(container, documents("configmap.yaml")[0]["data"])
    args = [arg.replace("$(CLUSTER_CIDR)", words["CLUSTER_CIDR"]).replace("$(OVERLAY)", words["OVERLAY"])
            for arg in container["args"]]  # fmt: skip
    context = agent.command.make_context("netplane-agent", args)
    assert agent.parse_cidrs(context.params["cluster_cidr"])
    assert {"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"} <= words.keys()
    assert "NODE_NAME" in {e["name"] for e in container["env"]}


def test_every_folder_the_agent_and_its_relay_share_is_the_hosts_own() -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in pod()["containers"][0]["volumeMounts"]}
    hosts = {volume["name"]: volume["hostPath"]["path"] for volume in pod()["volumes"]}
    assert mounts == hosts, "the relay on the host and the agent inside mean the same path"
    wanted = (DEFAULT_BIN_DIR, DEFAULT_CONF_DIR, DEFAULT_SOCKET.parent, agent.DEFAULT_STATE_DIR)
    assert set(hosts.values()) == {*(str(path) for path in wanted), "/run/netns"}
    pods = next(mount for mount in pod()["containers"][0]["volumeMounts"] if mount["mountPath"] == "/run/netns")
    assert pods["mountPropagation"] == "HostToContainer", "pods that come later are seen too"


def test_the_role_reads_nodes_alone() -> None:
    (role,) = (d for d in documents("rbac.yaml") if d["kind"] == "ClusterRole")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}]
    assert set(documents("kustomization.yaml")[0]["resources"]) == {p.name for p in DEPLOY.glob("*.yaml")} - {
        "kustomization.yaml"
    }

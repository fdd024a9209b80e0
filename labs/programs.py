"""PURE: which programs a lab consists of, and with which arguments."""

import sys
from pathlib import Path

import msgspec

from labs.topology import APISERVER_PORT, BALANCER_POOL, CLUSTER_CIDR, NODE_PORTS, SERVICE_CIDR, Lab, LabNode

NODE_GRACE_S = 8


class Program(msgspec.Struct, frozen=True):
    """A process that the supervisor keeps alive. `netns` empty means the root namespace."""

    name: str
    argv: list[str]
    netns: str = ""
    needs: Path | None = None


def all_programs(lab: Lab) -> list[Program]:
    """The control plane, the kubelets, and an agent and a proxy per node, in the order they are started."""
    control = [_apiserver(lab), _controllers(lab), _kubelet(lab)]
    return control + [program for node in lab.nodes for program in (_agent(lab, node), _proxy(lab, node))]


def _tool(name: str) -> str:
    """A console script of this environment."""
    return str(Path(sys.executable).with_name(name))


def _apiserver(lab: Lab) -> Program:
    return Program(
        "apiserver",
        [
            *(_tool("netplane"), "apiserver"),
            # A lab ends with its machine: nothing is gained by waiting for a disk that may be busy.
            *("--data-dir", str(lab.folder / "apiserver"), "--unsafe-no-fsync"),
            *("--bind-address", "127.0.0.1", "--secure-port", str(lab.port)),
            *("--listen-netns", f"{lab.underlay}={lab.gateway}:{APISERVER_PORT}"),
            *("--advertise-address", lab.gateway),
            *("--service-cluster-ip-range", SERVICE_CIDR, "--service-node-port-range", NODE_PORTS),
            *("--kubeconfig-out", str(lab.kubeconfig)),
        ],
    )


def _controllers(lab: Lab) -> Program:
    return Program(
        "controllers",
        [
            *(_tool("netplane"), "controllers", "--kubeconfig", str(lab.kubeconfig)),
            *("--cluster-cidr", CLUSTER_CIDR, "--node-cidr-mask-size", "24"),
            *("--node-monitor-grace-period", str(NODE_GRACE_S), "--load-balancer-pool", BALANCER_POOL),
        ],
        needs=lab.kubeconfig,
    )


def _kubelet(lab: Lab) -> Program:
    return Program("kubelet", [sys.executable, "-m", "labs.kubelet", str(lab.folder)], needs=lab.kubeconfig)


def _agent(lab: Lab, node: LabNode) -> Program:
    return Program(
        f"agent-{node.name}",
        [
            *(_tool("netplane-agent"), "--kubeconfig", str(lab.node_kubeconfig), "--node-name", node.name),
            *("--state-dir", str(node.folder / "agent"), "--socket", str(node.agent_socket)),
            *("--cni-conf-dir", str(node.cni_conf), "--cni-bin-dir", str(node.cni_bin)),
            *("--cluster-cidr", CLUSTER_CIDR),
        ],
        netns=node.netns,
        needs=lab.node_kubeconfig,
    )


def _proxy(lab: Lab, node: LabNode) -> Program:
    return Program(
        f"proxy-{node.name}",
        [
            *(_tool("netplane-proxy"), "--kubeconfig", str(lab.node_kubeconfig)),
            *("--hostname-override", node.name, "--cluster-cidr", CLUSTER_CIDR),
            # How many connections may be tracked is the machine's: a namespace cannot say.
            *("--conntrack-max-per-core", "0", "--conntrack-min", "0"),
        ],
        netns=node.netns,
        needs=lab.node_kubeconfig,
    )

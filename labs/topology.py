"""PURE: the shape of a lab. Names, addresses and folders follow from its name and its number of nodes.

                         outside 172.30.0.100        root namespace: kubectl → 127.0.0.1:PORT
                              │                                        │
    underlay namespace  ──── ul0 bridge 172.30.0.1/24 ── listener :6443 ┴ apiserver
                      ┌───────┼───────────┐
     eth0 172.30.0.11 │       │ .12       │ .13
                   node-1   node-2      node-3      each a namespace: agent, proxy, bridge, vxlan
                    │  │     │  │        │  │
                   pods     pods        pods        each a namespace with a process in it

Every lab has an underlay of its own, so two labs use the same addresses and never meet.
"""

import ipaddress
import re
from pathlib import Path

import msgspec

from netplane.errors import UsageError

LABS_DIR = Path("/run/netplane/labs")
UNDERLAY = ipaddress.IPv4Network("172.30.0.0/24")
APISERVER_PORT = 6443
CLUSTER_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
NODE_PORTS = "30000-32767"
# Addresses of Services of type LoadBalancer: the machine outside sends them to the first node.
BALANCER_CIDR = "172.31.0.0/24"
BALANCER_POOL = "172.31.0.1-172.31.0.254"
MAX_NODES = 80
_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")


class LabNode(msgspec.Struct, frozen=True):
    """A node: its name, namespace, underlay address, zone, and the folder its programs keep their files in."""

    name: str
    netns: str
    address: str
    zone: str
    folder: Path

    @property
    def agent_socket(self) -> Path:
        """Where the relay finds this node's agent."""
        return self.folder / "agent.sock"

    @property
    def cni_bin(self) -> Path:
        """The folder of plugin binaries, as a runtime's CNI_PATH."""
        return self.folder / "cni" / "bin"

    @property
    def cni_conf(self) -> Path:
        """The folder the agent writes the conflist to."""
        return self.folder / "cni" / "net.d"

    @property
    def pods(self) -> Path:
        """One file per pod that runs here, so that a restarted kubelet finds them."""
        return self.folder / "pods"


class Lab(msgspec.Struct, frozen=True):
    """A lab: everything else about it is derived from these fields, which `lab.json` keeps.

    `port` is the apiserver's on root loopback, `environment` the Python environment its programs run from.
    """

    name: str
    node_count: int
    port: int
    environment: str = ""

    @property
    def folder(self) -> Path:
        """All its files."""
        return LABS_DIR / self.name

    @property
    def prefix(self) -> str:
        """What the names of all its namespaces begin with; no other lab's do, since lab names hold no dash."""
        return f"np-{self.name}-"

    @property
    def underlay(self) -> str:
        """The namespace of the wire between the nodes."""
        return f"{self.prefix}underlay"

    @property
    def outside(self) -> str:
        """The namespace of a machine that is no node."""
        return f"{self.prefix}outside"

    @property
    def gateway(self) -> str:
        """The underlay bridge's address, where nodes reach the apiserver."""
        return str(UNDERLAY[1])

    @property
    def outside_address(self) -> str:
        """The address of the machine that is no node."""
        return str(UNDERLAY[100])

    @property
    def kubeconfig(self) -> Path:
        """For kubectl, through root loopback."""
        return self.folder / "kubeconfig"

    @property
    def node_kubeconfig(self) -> Path:
        """For programs on the nodes, through the underlay."""
        return self.folder / "kubeconfig.nodes"

    @property
    def logs(self) -> Path:
        """One file per program and pod."""
        return self.folder / "logs"

    @property
    def nodes(self) -> list[LabNode]:
        """The nodes, node-1 first; they alternate between two zones."""
        return [
            LabNode(
                name=f"node-{i}",
                netns=f"{self.prefix}node-{i}",
                # .1 is the bridge, .100 the outside machine: nodes take .11 to .90.
                address=str(UNDERLAY[10 + i]),
                zone="ab"[(i - 1) % 2],
                folder=self.folder / f"node-{i}",
            )
            for i in range(1, self.node_count + 1)
        ]

    def node(self, name: str) -> LabNode:
        """The node of that name. Raises UsageError when there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise UsageError(f"lab {self.name} has no node {name!r}", hint=f"there are node-1 to node-{self.node_count}")


def checked_name(name: str) -> str:
    """The name, if a lab may have it.

    Raises:
        UsageError: otherwise, saying which names may be.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"lab name {name!r} cannot be used",
            hint="use 1 to 12 lower-case letters and digits, a letter first (it becomes part of namespace names)",
        )
    return name

"""Makes a lab's namespaces and wires, and takes everything of a lab away again."""

import contextlib
import shutil
from collections.abc import Iterator

from labs import processes
from labs.topology import BALANCER_CIDR, LABS_DIR, UNDERLAY, Lab, LabNode, checked_name
from netplane.kernel import netns, sysctl
from netplane.kernel.rtnl import Rtnl
from netplane.rtnl import Address, Bridge, Change, Link, Request, Route, Veth, add

_BRIDGE = "ul0"
_PREFIX = UNDERLAY.prefixlen


def underlay_requests(lab: Lab) -> list[Request]:
    """PURE: the wire between the nodes: one bridge, whose address the apiserver listens on."""
    return [
        Change("lo", up=True),
        add(Link(_BRIDGE, Bridge(mcast_snooping=False), up=True)),
        add(Address.of(_BRIDGE, f"{lab.gateway}/{_PREFIX}")),
    ]


def cable_requests(port: str, netns_fd: int) -> list[Request]:
    """PURE: a cable from the underlay bridge to `eth0` of another namespace."""
    return [add(Link(port, Veth("eth0", peer_netns=netns_fd), up=True, master=_BRIDGE))]


def host_requests(lab: Lab, address: str) -> list[Request]:
    """PURE: a machine on the underlay: its address, and everything else through the bridge."""
    return [
        Change("lo", up=True),
        Change("eth0", up=True),
        add(Address.of("eth0", f"{address}/{_PREFIX}")),
        add(Route.of("default", via=lab.gateway, dev="eth0")),
    ]


def build(lab: Lab) -> None:
    """Make the underlay, the nodes and the outside machine. A failure leaves nothing behind.

    Raises:
        NetplaneError: naming the namespace or the link that could not be made.
    """
    try:
        _in(lab.underlay, underlay_requests(lab))
        _attach(lab, lab.outside, lab.outside_address, "outside")
        for node in lab.nodes:
            _attach(lab, node.netns, node.address, node.name)
            _make_folders(node)
        with netns.opened(lab.outside) as fd, Rtnl(fd) as rt:
            rt.apply([add(Route.of(BALANCER_CIDR, via=lab.nodes[0].address, dev="eth0"))])
    except BaseException:
        remove_namespaces(lab.name)
        raise


def _attach(lab: Lab, name: str, address: str, port: str) -> None:
    netns.create(name)
    with netns.opened(lab.underlay) as underlay, netns.opened(name) as host:
        with Rtnl(underlay) as rt:
            rt.apply(cable_requests(port, host))
        with Rtnl(host) as rt:
            rt.apply(host_requests(lab, address))


def _in(name: str, requests: list[Request]) -> None:
    netns.create(name)
    with netns.opened(name) as fd, Rtnl(fd) as rt:
        rt.apply(requests)


def _make_folders(node: LabNode) -> None:
    for folder in (node.pods, node.cni_bin, node.cni_conf):
        folder.mkdir(parents=True, exist_ok=True)


def set_bridge_nf_call(node: LabNode, on: bool) -> None:
    """Whether bridged packets of a node pass iptables and nftables (br_netfilter; its sysctl is per namespace)."""
    netns.run_in(node.netns, lambda: sysctl.write("net/bridge/bridge-nf-call-iptables", int(on)))


def leftovers(name: str) -> Iterator[str]:
    """What there is of a lab, running or left by a killed one, in words."""
    folder = LABS_DIR / name
    pids = processes.marked(folder)
    if pids:
        yield f"{len(pids)} processes"
    spaces = netns.names(f"np-{name}-")
    if spaces:
        yield f"{len(spaces)} namespaces"
    if folder.exists():
        yield str(folder)


def remove(name: str) -> list[str]:
    """Take a lab down, whatever state it is in: processes, namespaces (their links go with them), files.

    Returns:
        What was there, in words; empty when there was nothing.
    """
    checked_name(name)
    found = list(leftovers(name))
    processes.end_all(LABS_DIR / name)
    remove_namespaces(name)
    shutil.rmtree(LABS_DIR / name, ignore_errors=True)
    with contextlib.suppress(OSError):
        LABS_DIR.rmdir()
    return found


def remove_namespaces(name: str) -> None:
    """Remove every namespace of a lab."""
    for space in netns.names(f"np-{name}-"):
        netns.delete(space)

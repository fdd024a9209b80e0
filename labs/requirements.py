"""Whether this machine can carry a lab: asked before anything is touched, answered plainly."""

import ctypes
import os
from collections.abc import Iterator

from netplane.errors import NetplaneError
from netplane.kernel import netns, sysctl
from netplane.kernel.netlink import KernelError
from netplane.kernel.rtnl import Rtnl
from netplane.rtnl import Bridge, Link, LinkKind, Veth, Vxlan, add

_LINKS: dict[str, LinkKind] = {
    "veth": Veth("np-probe-peer"),
    "bridge": Bridge(),
    "vxlan": Vxlan(vni=1, learning=False),
}


class Unfit(NetplaneError):
    """Something a lab needs is not here."""


def check() -> None:
    """Ask for root, libnftables, and the kernel's links and nf_tables; a throw-away namespace is all it makes.

    Raises:
        Unfit: listing everything that is missing, with what to do.
    """
    if os.geteuid() != 0:
        raise Unfit("a lab needs root: it makes network namespaces", hint="sudo ./run lab")
    missing = list(_missing())
    if missing:
        raise Unfit("this machine cannot carry a lab:\n" + "\n".join(f"  - {line}" for line in missing))


def _missing() -> Iterator[str]:
    try:
        ctypes.CDLL("libnftables.so.1")
    except OSError:
        yield "libnftables is not installed: apt-get install libnftables1"
    try:
        yield from netns.run_in_new(lambda: list(_missing_in_kernel()))
    except OSError as error:
        yield f"network namespaces cannot be made here: {error.strerror} (in a container: run it privileged)"


def _missing_in_kernel() -> Iterator[str]:
    with Rtnl() as rt:
        for name, kind in _LINKS.items():
            try:
                rt.apply([add(Link(f"np-{name}", kind))])
            except KernelError as error:
                yield f"the kernel makes no {name} links ({error}): load the module {name}"
    if sysctl.read("net/netfilter/nf_conntrack_max") is None:
        yield "the kernel has no connection tracking: load the module nf_conntrack"

"""A node and one host for every address that talks, as network namespaces; gone when the context ends.

    h0 203.0.113.2 ──┐
    h1 10.1.0.1 ─────┤ node   its own addresses on lo; the rules under test
    h2 10.1.0.2 ─────┤
              …      └── sink: has the destinations that nobody else has, and so answers what nobody translated

Hosts have a host prefix and one route, through the node: so replies pass it, too. The node's end of each link has an
address that is nobody else's, which is what masquerading shows.
"""

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from netplane.errors import NetplaneError
from netplane.kernel import netns, sysctl

PREFIX = "npv-"
LINKS_UP_S = 10.0
_OURS = re.compile(rf"{PREFIX}([0-9a-f]+)-(?:node|sink|h\d+)$")
GATEWAYS = {4: ("169.254.1.1/32",), 6: ("fe80::1/64", "fd99:6e70::1/128")}
_SINK_NODE = ("100.64.255.1/30", "fd98:6e70::1/64")
_SINK = ("100.64.255.2/30", "fd98:6e70::2/64")


class HostsError(NetplaneError):
    """Namespaces, links or addresses could not be made."""


class Hosts(NamedTuple):
    """Namespaces by descriptor: the node's, the sink's, and one for each address. `names` are the first two's."""

    node: int
    sink: int
    by_address: dict[str, int]
    names: tuple[str, str]

    @contextlib.contextmanager
    def owning(self, node: Iterable[str], sink: Iterable[str]) -> Iterator[None]:
        """Node and sink have these addresses, for a while."""
        having = list(zip(self.names, ("lo", "eth0"), (sorted(set(node)), sorted(set(sink))), strict=True))
        for name, dev, addresses in having:
            _ip(name, *(f"address add {_host_prefix(a)} dev {dev}{_nodad(a)}" for a in addresses))
        try:
            yield
        finally:
            for name, dev, addresses in having:
                _ip(name, *(f"address del {_host_prefix(a)} dev {dev}" for a in addresses))


@contextlib.contextmanager
def hosts(addresses: Iterable[str]) -> Iterator[Hosts]:
    """A node, a sink and a host for each address. Raises HostsError."""
    _sweep()
    prefix = f"{PREFIX}{os.getpid():x}-"
    by_name = {f"{prefix}h{number}": address for number, address in enumerate(dict.fromkeys(addresses))}
    node, sink = f"{prefix}node", f"{prefix}sink"
    made: list[str] = []
    try:
        for name in (node, sink, *by_name):
            netns.create(name)
            made.append(name)
        _wire(node, sink, by_name)
        with contextlib.ExitStack() as stack:
            fds = {name: stack.enter_context(netns.opened(name)) for name in (node, sink, *by_name)}
            by_address = {address: fds[name] for name, address in by_name.items()}
            yield Hosts(fds[node], fds[sink], by_address, (node, sink))
    finally:
        for name in made:
            netns.delete(name)


def _sweep() -> None:
    """Remove what a run that was killed has left: the process that its names tell is gone."""
    for name in netns.names(PREFIX):
        match = _OURS.match(name)
        if match and not Path(f"/proc/{int(match[1], 16)}").exists():
            netns.delete(name)


def _wire(node: str, sink: str, by_name: dict[str, str]) -> None:
    for name in (node, sink, *by_name):
        netns.run_in(name, _quiet)
    netns.run_in(node, forward)
    _ip(node, "link set lo up", f"link add sink type veth peer name eth0 netns {sink}", *_up("sink", _SINK_NODE))
    _ip(sink, "link set lo up", *_up("eth0", _SINK), *_defaults(_SINK_NODE))
    _ip(node, *_defaults(_SINK))
    for index, (name, address) in enumerate(by_name.items()):
        _wire_host(node, name, address, f"h{index}")
    for name in (node, sink, *by_name):
        _wait_for_links(name)


def _wait_for_links(space: str) -> None:
    """The kernel notices that a link is up within a second, and loses what is sent before.

    Raises:
        HostsError: when a link does not come up.
    """
    deadline = time.monotonic() + LINKS_UP_S
    while time.monotonic() < deadline:
        states = json.loads(_run(["ip", "-n", space, "-j", "link", "show"]))
        if all(link["operstate"] in ("UP", "UNKNOWN") for link in states if link["ifname"] != "lo"):
            return
        time.sleep(0.02)
    raise HostsError(f"links in namespace {space} do not come up")


def _wire_host(node: str, name: str, address: str, link: str) -> None:
    gateways = GATEWAYS[6 if ":" in address else 4]
    via = gateways[0].partition("/")[0]
    near = [] if ":" in address else [f"route add {via}/32 dev eth0"]
    _ip(
        node,
        f"link add {link} type veth peer name eth0 netns {name}",
        *_up(link, gateways),
        f"route add {_host_prefix(address)} dev {link}",
    )
    _ip(
        name,
        "link set lo up",
        *_up("eth0", (_host_prefix(address),)),
        *near,
        *(f"route add {g} dev eth0" for g in gateways[1:]),
        f"route add {'::/0' if ':' in address else 'default'} via {via} dev eth0",
    )


def _up(dev: str, addresses: Iterable[str]) -> list[str]:
    return [*(f"address add {a} dev {dev}{_nodad(a)}" for a in addresses), f"link set {dev} up"]


def _defaults(gateways: tuple[str, str]) -> list[str]:
    v4, v6 = (gateway.partition("/")[0] for gateway in gateways)
    return [f"route add default via {v4}", f"route add ::/0 via {v6}"]


def _nodad(address: str) -> str:
    return " nodad" if ":" in address else ""


def _host_prefix(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


def _quiet() -> None:
    """IPv6 addresses are usable at once, and sources are not judged by the route back."""
    sysctl.write("net/ipv6/conf/default/dad_transmits", 0)
    for scope in ("all", "default"):
        sysctl.write(f"net/ipv4/conf/{scope}/rp_filter", 0)


def forward() -> None:
    """Forward, and answer everything that cannot be delivered: one error per second would look like a drop."""
    for parameter, value in (
        ("ipv4/ip_forward", 1),
        ("ipv6/conf/all/forwarding", 1),
        ("ipv4/icmp_ratelimit", 0),
        ("ipv6/icmp/ratelimit", 0),
        ("ipv4/icmp_msgs_per_sec", 1_000_000),
        ("ipv4/icmp_msgs_burst", 1_000_000),
    ):
        sysctl.write(f"net/{parameter}", value)


def _ip(space: str, *commands: str) -> None:
    if commands:
        _run(["ip", "-n", space, "-batch", "-"], "\n".join(commands))


def _run(argv: list[str], script: str = "") -> str:
    try:
        return subprocess.run(argv, input=script, text=True, check=True, capture_output=True).stdout
    except FileNotFoundError as error:
        raise HostsError(f"{argv[0]} is not installed", hint="install iproute2") from error
    except subprocess.CalledProcessError as error:
        raise HostsError(f"{' '.join(argv)}: {error.stderr.strip()}", hint="this needs root and veth links") from error

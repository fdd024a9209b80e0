"""A node, endpoint pods, a client pod and a host outside, as namespaces; servers that tell who answered and whom.

    out 203.0.113.2 ── 192.0.2.1 node ──┬── e1 … e6   10.1.0.1 … 6   endpoints
                                        ├── client    10.2.0.9       a pod that is no endpoint
                                        └── sink      where services' addresses lead when nobody translates them:
                                                      it says "unreachable"

Pods have a host prefix and a default route through the node, as the CNI plugin makes them. Every address has an IPv6
twin. Each request gets one line back, `<server> <client>`; on the node itself a server answers for "not translated".
"""

import contextlib
import ipaddress
import os
import selectors
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from netplane.kernel import netns, sysctl
from netplane.nft.types import FAMILIES, IPV4, Family
from proxy.tools.hosts import forward

PREFIX = f"npt-{os.getpid():x}-"
ENDPOINTS = range(1, 7)
SERVER_PORTS = (8080, 8053)
NODE_PORTS = (30_000, 30_001, 30_002)
ADDRESSES = {
    "out": {4: "203.0.113.2", 6: "2600:5200::2"},
    "client": {4: "10.2.0.9", 6: "fd00:2::9"},
    "node": {4: "192.0.2.1", 6: "2001:db8::1"},
    **{f"e{n}": {4: f"10.1.0.{n}", 6: f"fd00:1::{n}"} for n in ENDPOINTS},
}
SERVICE_CIDRS = ("10.96.0.0/24", "198.51.100.0/24", "fd00:96::/64", "2001:db8:f::/64")
PODS = ("client", *(f"e{n}" for n in ENDPOINTS))
_IP_RECVERR, _IPV6_RECVERR = 11, 25

Outcome = Literal["none", "dnat", "reject", "drop"]
Protocol = Literal["tcp", "udp"]


class Probe(NamedTuple):
    """A connection to try: from a host's address to a destination."""

    source: str
    destination: str
    port: int
    protocol: Protocol

    @property
    def family(self) -> Family:
        """Of the destination."""
        return FAMILIES[":" in self.destination]


class Answer(NamedTuple):
    """What came of it: `endpoint` that answered, and the client's address as it saw it."""

    outcome: Outcome
    endpoint: str = ""
    client: str = ""


def run(host: str, *commands: str) -> None:
    """`ip` commands inside a host."""
    subprocess.run(
        ["ip", "-n", PREFIX + host, "-batch", "-"],
        input="\n".join(commands),
        text=True,
        check=True,
        capture_output=True,
    )


@contextlib.contextmanager
def hosts(*, bridge: bool = False) -> Iterator["Hosts"]:
    """All of them, wired up and with servers running; gone afterwards. `bridge` puts the pods on one bridge."""
    names = ["node", "out", "sink", *PODS]
    made = []
    try:
        for name in names:
            netns.create(PREFIX + name)
            made.append(name)
            netns.run_in(PREFIX + name, _quick_ipv6)
        _wire("br0" if bridge else "")
        with contextlib.ExitStack() as stack:
            fds = {name: stack.enter_context(netns.opened(PREFIX + name)) for name in names}
            server = Servers(fds)
            try:
                yield Hosts(fds)
            finally:
                server.stop()
    finally:
        for name in made:
            netns.delete(PREFIX + name)


def _wire(bridge: str) -> None:
    run(
        "node",
        "link set lo up",
        f"link add eth0 type veth peer name eth0 netns {PREFIX}out",
        "address add 192.0.2.1/24 dev eth0",
        "address add 2001:db8::1/64 dev eth0 nodad",
        "link set eth0 up",
    )
    run(
        "out",
        "link set lo up",
        "link set eth0 up",
        "address add 203.0.113.2/32 dev eth0",
        "address add 2600:5200::2/128 dev eth0 nodad",
        "address add 192.0.2.2/24 dev eth0",
        "address add 2001:db8::2/64 dev eth0 nodad",
        "route add default via 192.0.2.1",
        "route add ::/0 via 2001:db8::1",
    )
    run("node", "route add 203.0.113.0/24 via 192.0.2.2", "route add 2600:5200::/32 via 2001:db8::2")
    _wire_sink()
    for name in ("node", "sink"):
        netns.run_in(PREFIX + name, forward)
    if bridge:
        run("node", f"link add {bridge} type bridge", *_gateway(bridge))
    for name in PODS:
        _wire_pod(name, bridge)


def _wire_sink() -> None:
    run(
        "node",
        f"link add sink type veth peer name eth0 netns {PREFIX}sink",
        "address add 100.64.0.1/30 dev sink",
        "address add fd64::1/64 dev sink nodad",
        "link set sink up",
        *(f"route add {cidr} via {'fd64::2' if ':' in cidr else '100.64.0.2'}" for cidr in SERVICE_CIDRS),
    )
    run(
        "sink",
        "link set lo up",
        "link set eth0 up",
        "address add 100.64.0.2/30 dev eth0",
        "address add fd64::2/64 dev eth0 nodad",
        "route add default via 100.64.0.1",
        "route add ::/0 via fd64::1",
    )
    # By a rule, not by an unreachable route: the kernel limits the answers of those to one per second and source.
    refuse = "add table inet sink; add chain inet sink pre { type filter hook prerouting priority 0; }\n" + "\n".join(
        f"add rule inet sink pre {'ip6' if ':' in cidr else 'ip'} daddr {cidr} "
        f"reject with {'icmpv6 type addr' if ':' in cidr else 'icmp type host'}-unreachable"
        for cidr in SERVICE_CIDRS
    )
    subprocess.run(["ip", "netns", "exec", f"{PREFIX}sink", "nft", "-f", "-"], input=refuse, text=True, check=True)


def _quick_ipv6() -> None:
    """Use IPv6 addresses at once, link-local ones too (RFC 4862, 5.4 would have them wait a second)."""
    sysctl.write("net/ipv6/conf/default/dad_transmits", 0)


def _gateway(dev: str) -> list[str]:
    return [
        f"address add 169.254.1.1/32 dev {dev}",
        f"address add fe80::1/64 dev {dev} nodad",
        f"link set {dev} up",
    ]


def _wire_pod(name: str, bridge: str) -> None:
    v4, v6 = ADDRESSES[name][4], ADDRESSES[name][6]
    run("node", f"link add {name} type veth peer name eth0 netns {PREFIX}{name}")
    if bridge:
        port = f"link set {name} type bridge_slave hairpin on"
        run("node", f"link set {name} master {bridge}", port, f"link set {name} up")
    else:
        run("node", *_gateway(name))
    run("node", *(f"route add {address} dev {bridge or name}" for address in (f"{v4}/32", f"{v6}/128")))
    run(
        name,
        "link set lo up",
        "link set eth0 up",
        f"address add {v4}/32 dev eth0",
        f"address add {v6}/128 dev eth0 nodad",
        "route add 169.254.1.1/32 dev eth0",
        "route add default via 169.254.1.1 dev eth0",
        "route add ::/0 via fe80::1 dev eth0",
    )


class Servers:
    """One thread that answers on every endpoint and, for packets that were not translated, on the node."""

    def __init__(self, fds: dict[str, int]) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        for name, fd in fds.items():
            ports = SERVER_PORTS if name in PODS and name != "client" else NODE_PORTS if name == "node" else ()
            for port in ports:
                self._listen(fd, name, port)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close everything."""
        self._wake.send(b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._wake.close()
        self._selector.close()

    def _listen(self, fd: int, name: str, port: int) -> None:
        for version in (4, 6):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                sock = netns.socket_in(fd, _family(version), kind | socket.SOCK_CLOEXEC)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                # Bound to the address itself, so that UDP answers come from it.
                sock.bind((ADDRESSES[name][version], port))
                if kind == socket.SOCK_STREAM:
                    sock.listen(1024)
                sock.setblocking(False)
                who = "none" if name == "node" else _endpoint(ADDRESSES[name][version], port)
                self._selector.register(sock, selectors.EVENT_READ, who)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                assert isinstance(key.fileobj, socket.socket)
                with contextlib.suppress(OSError):
                    self._answer(key.fileobj, key.data)

    @staticmethod
    def _answer(sock: socket.socket, who: str) -> None:
        if sock.type == socket.SOCK_DGRAM:
            _, client = sock.recvfrom(64)
            sock.sendto(f"{who} {client[0]}".encode(), client)
            return
        connection, client = sock.accept()
        with connection:
            connection.sendall(f"{who} {client[0]}".encode())


class Hosts:
    """Tries connections from the hosts."""

    def __init__(self, fds: dict[str, int]) -> None:
        self.fds = fds

    def filter_bridged(self, on: bool) -> None:
        """Whether frames that a bridge forwards pass the rules of the IP families too (br_netfilter)."""

        def write() -> None:
            for name in ("iptables", "ip6tables"):
                sysctl.write(f"net/bridge/bridge-nf-call-{name}", int(on))

        netns.run_in(PREFIX + "node", write)

    @property
    def node(self) -> int:
        """The node's namespace."""
        return self.fds["node"]

    def ask(self, probes: Sequence[Probe], *, patience_s: float = 0.4) -> dict[Probe, Answer]:
        """Try all at once. What seems dropped is tried again with more patience: the machine may only be busy."""
        answers = self._ask(probes, patience_s)
        silent = [probe for probe, answer in answers.items() if answer.outcome == "drop"]
        if silent:
            answers.update(self._ask(silent, 3 * patience_s))
        return answers

    def _ask(self, probes: Sequence[Probe], patience_s: float) -> dict[Probe, Answer]:
        found: dict[Probe, Answer] = {}
        with selectors.DefaultSelector() as waiting, contextlib.ExitStack() as stack:
            for probe in probes:
                sock = stack.enter_context(self._start(probe, found))
                if probe not in found:
                    waiting.register(sock, selectors.EVENT_READ, probe)
            while waiting.get_map():
                ready = waiting.select(patience_s)
                if not ready:
                    break
                for key, _ in ready:
                    assert isinstance(key.fileobj, socket.socket)
                    waiting.unregister(key.fileobj)
                    found[key.data] = _read(key.fileobj)
        return {probe: found.get(probe, Answer("drop")) for probe in probes}

    def connect(self, probe: Probe) -> socket.socket:
        """A blocking socket with two seconds of patience, its first request sent."""
        sock = self._start(probe, {})
        sock.settimeout(2)
        return sock

    def _start(self, probe: Probe, found: dict[Probe, Answer]) -> socket.socket:
        version = probe.family.version
        kind = socket.SOCK_STREAM if probe.protocol == "tcp" else socket.SOCK_DGRAM
        sock = netns.socket_in(self.fds[probe.source], _family(version), kind | socket.SOCK_NONBLOCK)
        if kind == socket.SOCK_DGRAM:
            # Without it a datagram socket is not told of "host unreachable", only of refusals.
            level, option = (socket.IPPROTO_IP, _IP_RECVERR) if version == 4 else (socket.IPPROTO_IPV6, _IPV6_RECVERR)
            sock.setsockopt(level, option, 1)
        sock.bind((ADDRESSES[probe.source][version], 0))
        try:
            sock.connect_ex((probe.destination, probe.port))
            if probe.protocol == "udp":
                sock.send(b"?")
        except PermissionError:
            pass  # a rule of this very host stopped it; whether it refused or was silent, the socket will tell
        except OSError as error:
            found[probe] = _failed(error)
        return sock


def _read(sock: socket.socket) -> Answer:
    try:
        who, _, client = sock.recv(256).decode().partition(" ")
    except OSError as error:
        return _failed(error)
    return Answer("none") if who == "none" else Answer("dnat", who, str(ipaddress.ip_address(client)))


def _failed(error: OSError) -> Answer:
    # Nobody routes the addresses of services, so a packet that was left alone comes back as unreachable.
    return Answer("reject") if isinstance(error, ConnectionRefusedError) else Answer("none")


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _family(version: int) -> socket.AddressFamily:
    return socket.AF_INET if version == IPV4.version else socket.AF_INET6

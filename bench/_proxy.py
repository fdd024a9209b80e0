"""A namespace for a proxy: a fake apiserver and netplane-proxy as processes, packets, and an ear for nftables.

127.0.0.1:port   the fake apiserver          10.96.0.0/12    leaves by a cable that ends in nothing
0.0.0.0:8080     answers for every endpoint  10.128.0.0/9    all local, so a translated connection is answered here
"""

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple, Self

import click
import orjson

from netplane.client import fake_cluster
from netplane.kernel import netns
from netplane.kernel.netlink import NetlinkSocket
from netplane.kernel.nft import Nft
from netplane.net import netlink as nl
from netplane.nft import wire
from netplane.nft.objects import Set
from netplane.nft.types import IPV4
from proxy.plan.model import Options
from proxy.plan.skeleton import NAME, skeleton

PROXY = (sys.executable, "-m", "proxy")
FLAGS = ("--cluster-cidr=10.128.0.0/9", "--hostname-override=node-0", "--healthz-bind-address=127.0.0.1:10256")
TICK_S = 0.005
GIVE_UP_S, REFERENCE_GIVE_UP_S = 120.0, 900.0
REFERENCE_CONFIG = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: 10.128.0.0/9
hostnameOverride: node-0
healthzBindAddress: 127.0.0.1:10256
clientConnection: {contentType: application/json, acceptContentTypes: application/json}
conntrack: {maxPerCore: 0, min: 0}
"""
"""What kube-proxy needs in a namespace (where the number of connections cannot be set) with a server of JSON only."""
_HZ = os.sysconf("SC_CLK_TCK")
_SETS = {owner.name: owner for owner in skeleton(IPV4, Options()).sets}


class Space:
    """A namespace that is wired as the module's text shows. Use as a context manager: nothing of it stays."""

    def __init__(self) -> None:
        self.name = f"npt-{secrets.token_hex(3)}-bench"
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        netns.create(self.name)
        self._stack.callback(netns.delete, self.name)
        try:
            self.fd = self._stack.enter_context(netns.opened(self.name))
            self._wire()
            listener = self._stack.enter_context(self.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("0.0.0.0", 8080))
            listener.listen(4096)
            listener.setblocking(False)
            self._listener = listener
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _wire(self) -> None:
        commands = """\
            link set lo up
            link add cable type veth peer name nothing
            link set nothing up
            link set cable up
            addr add 10.200.0.1/30 dev cable
            neigh add 10.200.0.2 lladdr 02:00:00:00:00:02 dev cable nud permanent
            route add default via 10.200.0.2
            route add local 10.128.0.0/9 dev lo"""
        subprocess.run(["ip", "-n", self.name, "-batch", "-"], input=commands, text=True, check=True)

    @contextlib.contextmanager
    def reference(self, binary: Path, url: str, folder: Path) -> Iterator["Proxy"]:
        """The user's own kube-proxy in nftables mode, just started."""
        config, log = folder / "reference.yaml", folder / "reference.log"
        config.write_text(REFERENCE_CONFIG)
        with log.open("wb") as out:
            began = time.perf_counter()
            with self.process(str(binary), f"--config={config}", f"--master={url}", stderr=out, stdout=out) as process:
                yield Proxy(process, began, log, REFERENCE_GIVE_UP_S)

    def socket(self, kind: int = socket.SOCK_STREAM) -> socket.socket:
        return netns.socket_in(self.fd, socket.AF_INET, kind)

    @contextlib.contextmanager
    def process(self, *command: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A program in the namespace; ended on leaving."""
        with netns.entered(self.fd):
            process = subprocess.Popen(command, **options)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(20)

    @contextlib.contextmanager
    def fake(self, services: int, endpoints: int) -> Iterator["Fake"]:
        """`python -m netplane.client.fake`, once it is ready."""
        size = ("--services", str(services), "--endpoints", str(endpoints))
        command = (sys.executable, "-m", "netplane.client.fake", *size)
        with self.process(*command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            url = process.stdout.readline().decode().strip()
            yield Fake(self, url, endpoints)

    @contextlib.contextmanager
    def proxy(self, url: str, log: Path, *flags: str) -> Iterator["Proxy"]:
        """netplane-proxy, just started."""
        with log.open("wb") as out:
            began = time.perf_counter()
            with self.process(*PROXY, f"--master={url}", *FLAGS, *flags, stderr=out, stdout=out) as process:
                yield Proxy(process, began, log)

    def reached(self, service: int) -> bool:
        """Whether a new connection to a service is answered now."""
        with self.socket() as sock:
            sock.settimeout(TICK_S)
            try:
                sock.connect((cluster_ip(service), 80))
            except OSError:
                return False
        self.accept_all()
        return True

    def accept_all(self) -> None:
        """Take up and close what waits at the endpoints' door."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._listener.accept()[0].close()

    def wait_reached(self, service: int, proxy: "Proxy") -> float:
        """Seconds from the proxy's start to the first connection that is answered."""
        while not self.reached(service):
            proxy.pause(f"service {service} was not reached")
        return time.perf_counter() - proxy.began

    def events(self) -> "Events":
        """A new ear."""
        nft = Nft(self.fd)
        found = Events(nft.events())
        nft.close()
        return found


def reference_option(command: Callable[..., None]) -> Callable[..., None]:
    """`--reference-binary PATH`: measure a kube-proxy beside ours, in the same run."""
    kind = click.Path(exists=True, dir_okay=False, path_type=Path)
    about = "A kube-proxy of yours, to measure in the same run.  [default: figures measured once]"
    return click.option("--reference-binary", "binary", type=kind, help=about)(command)


class Usage(NamedTuple):
    """What a process has used: resident memory now and at most, and CPU time with its ended children's."""

    rss_mb: float
    peak_mb: float
    cpu_s: float


class Proxy:
    """A running netplane-proxy, or a kube-proxy."""

    def __init__(self, process: subprocess.Popen[bytes], began: float, log: Path, give_up_s: float = GIVE_UP_S) -> None:
        self.pid, self.began, self._log, self._give_up_s = process.pid, began, log, give_up_s
        self._process = process

    def usage(self) -> Usage:
        status = Path(f"/proc/{self.pid}/status").read_text()
        said = {name: int(kb) / 1024 for name, kb in re.findall(r"^(\w+):\s+(\d+) kB$", status, re.M)}
        # Fields 14 to 17 of stat: user and system time, its own and of children that were waited for.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return Usage(said["VmRSS"], said["VmHWM"], sum(map(int, fields[11:15])) / _HZ)

    def pause(self, without: str) -> None:
        """Between two looks; ends the benchmark when there is nothing to wait for any more."""
        if self._process.poll() is not None or time.perf_counter() - self.began > self._give_up_s:
            sys.exit(f"{without}; the proxy says:\n{self._log.read_text()[-3000:]}")
        time.sleep(TICK_S)

    def wait_synced(self) -> float:
        """Seconds from its start to the end of its first sync, as its health answers."""
        while b"synced" not in self._log.read_bytes():
            self.pause("no sync")
        return time.perf_counter() - self.began

    def wait_at_rest(self, quiet_s: float = 0.5) -> None:
        """Until no child of its has run for so long: what a child used counts once it has ended."""
        since = time.perf_counter()
        while time.perf_counter() - since < quiet_s:
            if self.pid in _parents():
                since = time.perf_counter()
            self.pause("it does not come to rest")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


def _parents() -> set[int]:
    """Processes that have children just now."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            found.add(int(stat.read_text().rpartition(")")[2].split()[1]))
    return found


class Fake:
    """The fake apiserver's API, as far as a benchmark changes things: over one connection that stays open."""

    def __init__(self, space: Space, url: str, endpoints: int) -> None:
        self.url, self._endpoints = url, endpoints
        host, port = url.removeprefix("http://").split(":")
        self._http = HTTPConnection(host, int(port))
        self._http.sock = space.socket()
        self._http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._http.sock.connect((host, int(port)))

    def patch(self, service: int, addresses: Sequence[str]) -> None:
        """Give a service's slice these endpoints; back when the apiserver has answered."""
        rows = [{"addresses": [address], "conditions": {"ready": True}, "nodeName": "node-1"} for address in addresses]
        path = f"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/svc-{service}-x"
        head = {"Content-Type": "application/merge-patch+json"}
        self._http.request("PATCH", path, orjson.dumps({"endpoints": rows}), head)
        answer = self._http.getresponse()
        if answer.status != 200:
            sys.exit(f"PATCH {path}: {answer.status} {answer.read().decode()}")
        answer.read()

    def addresses(self, service: int) -> list[str]:
        """Of a service's endpoints, as they were made."""
        first = fake_cluster.POD_BASE + service * self._endpoints
        return [str(IPv4Address(first + i)) for i in range(self._endpoints)]


def busy() -> str:
    """For titles: figures of a machine that others use mean little without it."""
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def cluster_ip(service: int) -> str:
    return str(IPv4Address(fake_cluster.SERVICE_BASE + service))


class Heard(NamedTuple):
    """One message of the kernel about the proxy's tables: its type, the set's name, the keys of its elements."""

    kind: int
    set: str
    keys: tuple[bytes, ...]


class Events:
    """nftables' own notifications in a namespace: sent once a transaction is committed."""

    def __init__(self, sock: NetlinkSocket) -> None:
        self._socket = sock
        self._socket.sock.setblocking(True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def wait(self, timeout_s: float = 10.0) -> list[Heard]:
        """The next datagram's messages; TimeoutError when none comes."""
        self._socket.sock.settimeout(timeout_s)
        return [heard for message in self._socket.receive() if (heard := _heard(message)) is not None]

    def pending(self) -> list[Heard]:
        """Everything that has arrived and was not read."""
        found: list[Heard] = []
        with contextlib.suppress(TimeoutError, BlockingIOError):
            while True:
                found += self.wait(0.0)
        return found


def _heard(message: nl.Message) -> Heard | None:
    """None for the end of a generation, which tells nothing by itself."""
    if message.type >> 8 != wire.SUBSYSTEM or message.type & 0xFF == 15:
        return None
    attrs = nl.attr_map(message.payload, 4)
    if message.type not in (wire.NEWSETELEM, wire.DELSETELEM):
        return Heard(message.type, "", ())
    name = nl.string(attrs[2])
    owner: Set | None = _SETS.get(name) if nl.string(attrs[1]) == NAME else None
    keys = tuple(key for key, _ in wire.decode(owner, message.payload)) if owner is not None else ()
    return Heard(message.type, name, keys)

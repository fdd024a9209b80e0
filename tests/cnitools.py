"""What the CNI's kernel tests share: namespaces, a node with an agent, runtimes' calls, and packets."""

import contextlib
import json
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cni import install
from cni.engine import Engine
from cni.frames import Request
from cni.leases import Leases, boot_id
from cni.patrol import Patrol
from netplane.kernel import netns, sysctl
from netplane.kernel.rtnl import Rtnl
from netplane.rtnl import Address, Change, Link, Route, Veth, add
from tests.waiting import until

T = TypeVar("T")
AGENT = str(Path(sys.executable).with_name("netplane-agent"))
WAIT_S = 20.0
GRACE_S = 60.0  # of patrols


class Spaces:
    """Namespaces of one test; `name("p1")` makes one."""

    def __init__(self) -> None:
        self._tag = f"npt-{secrets.token_hex(3)}"
        self.made: list[str] = []

    def name(self, what: str) -> str:
        """A new namespace."""
        made = f"{self._tag}-{what}"
        self.made.append(made)
        netns.create(made)
        return made

    def close(self) -> None:
        """Remove them all."""
        for made in self.made:
            netns.delete(made)


@contextlib.contextmanager
def spaces() -> Iterator[Spaces]:
    found = Spaces()
    try:
        yield found
    finally:
        found.close()


@contextlib.contextmanager
def door(space: str) -> Iterator[Rtnl]:
    with netns.opened(space) as fd, Rtnl(fd) as rtnl:
        yield rtnl


def wire(left: str, left_address: str, right: str, right_address: str, dev: str = "eth0") -> None:
    """A cable between two namespaces."""
    with door(left) as a, netns.opened(right) as fd, Rtnl(fd) as b:
        a.apply(
            [
                add(Link(dev, Veth(dev, peer_netns=fd), up=True)),
                Change("lo", up=True),
                add(Address.of(dev, left_address)),
            ]
        )
        b.apply([Change(dev, up=True), Change("lo", up=True), add(Address.of(dev, right_address))])


class Inside:
    """A thread that lives in a namespace; what it starts lives there too."""

    def __init__(self, space: str) -> None:
        def enter() -> None:
            with netns.opened(space) as fd:
                netns.setns(fd)

        self._pool = ThreadPoolExecutor(1, initializer=enter)

    def __call__(self, work: Callable[[], T]) -> T:
        return self._pool.submit(work).result()

    def close(self) -> None:
        self._pool.shutdown()


# What runtimes do ----------------------------------------------------------------------------------------------

SUBNET = "10.244.1.0/24"
DUAL = {"ranges": [[{"subnet": SUBNET}], [{"subnet": "fd00:1::/64"}]]}
CNI_PATH = "/opt/cni/bin"


def config(version: str = "1.0.0", **extra: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "cniVersion": version,
        "name": "net",
        "type": "netplane",
        "bridge": "np0",
        "mtu": 1400,
        "isDefaultGateway": True,
        "hostPrefix": True,
        "hairpinMode": True,
        "ipam": {"ranges": [[{"subnet": SUBNET}]]},
    }
    return base | extra


def environment(
    command: str, container: str = "", space: str = "", ifname: str = "eth0", args: str = ""
) -> dict[str, str]:
    found = {"CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_IFNAME": ifname, "CNI_PATH": CNI_PATH}
    if space:
        found["CNI_NETNS"] = space if "/" in space else str(netns.path(space))
    return found | ({"CNI_ARGS": args} if args else {})


class Answer(NamedTuple):
    """Exit status and what was printed, as JSON ({} when it was nothing)."""

    status: int
    body: dict[str, Any]


class Node:
    """A node whose engine runs in this process, in the node's namespace."""

    def __init__(self, space: str, state_dir: Path, boot_id: str = "boot-1") -> None:
        self.space, self.state_dir, self.boot_id = space, state_dir, boot_id
        self.now_s = 1000.0
        self.inside = Inside(space)
        self.engine = self.inside(self._engine)

    def _engine(self) -> Engine:
        leases = Leases(self.state_dir / "leases.db", self.boot_id)
        engine = Engine(leases, clock=lambda: self.now_s)
        engine.reconcile()
        return engine

    def call(self, command: str, container: str = "", space: str = "", **more: Any) -> Answer:
        """One call of the plugin. `config`, `ifname`, `args` as in `environment` and `config`."""
        stdin = json.dumps(more.pop("config", None) or config()).encode()
        request = Request("netplane", environment(command, container, space, **more), stdin)
        status, text = self.inside(lambda: self.engine.handle(request))
        return Answer(status, json.loads(text) if text else {})

    def restart(self, boot_id: str = "") -> None:
        """As after a kill -9: nothing is said good-bye to."""
        self.boot_id = boot_id or self.boot_id
        self.inside(self.engine.close)
        self.engine = self.inside(self._engine)

    def links(self) -> list[Link]:
        with door(self.space) as rtnl:
            return [link for link in rtnl.links() if isinstance(link.kind, Veth) and link.master]

    def close(self) -> None:
        self.inside(self.engine.close)
        self.inside.close()


class StandaloneNode(Node):
    """A node without an agent: every call is the installed plugin's own process. `engine` only looks at the store."""

    def __init__(self, space: str, state_dir: Path) -> None:
        super().__init__(space, state_dir / "state", boot_id())
        self.bin = state_dir / "bin"
        install.install_standalone(self.bin, state_dir / "state")

    def call(self, command: str, container: str = "", space: str = "", **more: Any) -> Answer:
        """One call of the plugin."""
        conf = more.pop("config", None) or config()
        program = self.bin / ("loopback" if conf["type"] == "loopback" else str(conf["type"]))
        variables = environment(command, container, space, **more)
        return self.inside(lambda: run_relay(program, variables, json.dumps(conf).encode()))


class AgentProcess:
    """`netplane-agent` in a node's namespace, as on a machine."""

    def __init__(self, space: str, folder: Path, server: str = "http://192.0.2.254:9", name: str = "a") -> None:
        self.space, self.folder, self.name = space, folder, name
        folder.mkdir(parents=True, exist_ok=True)
        self.socket, self.bin, self.conf = folder / "cni.sock", folder / "bin", folder / "net.d"
        self.kubeconfig = folder / "kubeconfig"
        cluster = {"name": "c", "cluster": {"server": server}}
        context = {"name": "c", "context": {"cluster": "c", "user": "c"}}
        user = {"name": "c", "user": {"token": "t"}}
        text = {"clusters": [cluster], "contexts": [context], "users": [user], "current-context": "c"}
        self.kubeconfig.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **text}))
        self.log = folder / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *flags: str) -> None:
        paths: list[str | Path] = [
            "--state-dir",
            self.folder,
            "--socket",
            self.socket,
            "--cni-bin-dir",
            self.bin,
            "--cni-conf-dir",
            self.conf,
        ]
        command: list[str | Path] = [AGENT, "--kubeconfig", self.kubeconfig, "--node-name", self.name, *paths, *flags]
        if "--cluster-cidr" not in flags:
            command += ["--cluster-cidr", "10.244.0.0/16"]
        with self.log.open("ab") as log:
            self.process = netns.run_in(self.space, lambda: subprocess.Popen(command, stdout=log, stderr=log))
        until(self._listening, "the agent listens")

    def _listening(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(self.socket))
            return True
        return False

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill(signal.SIGTERM)


def relays(folder: Path, socket_path: Path) -> dict[str, Path]:
    """The relays, installed as `netplane` in folders of their own: C, Python, and Python that starts as a script."""
    built = install.built_relay()
    assert built is not None, "the C relay was not built: install a C compiler and the package again"
    found = {}
    for kind, program in (("c", built.read_bytes()), ("python", install.python_relay())):
        install.install_relay(folder / kind, socket_path, program=program)
        found[kind] = folder / kind / "netplane"
    install.install_relay(folder / "script", socket_path)
    found["script"] = folder / "script" / "netplane"
    found["script"].write_bytes(install.python_relay())
    return found


def run_relay(relay: Path, variables: dict[str, str], stdin: bytes) -> Answer:
    """Call the plugin as a runtime does: a process with an environment, stdin and stdout."""
    done = subprocess.run([relay], env=variables, input=stdin, capture_output=True, timeout=WAIT_S, check=False)
    assert done.stderr == b"", done.stderr.decode()
    return Answer(done.returncode, json.loads(done.stdout) if done.stdout else {})


# What is there afterwards ----------------------------------------------------------------------------------------


def routes(space: str) -> list[str]:
    with door(space) as rtnl:
        return sorted(str(route) for route in rtnl.routes() if route.proto != 2)


def addresses(space: str, dev: str = "eth0") -> list[str]:
    with door(space) as rtnl:
        return [a.interface.with_prefixlen for a in rtnl.addresses(dev) if a.scope != "link"]


def at_once(_container: str, work: Callable[[], None]) -> bool:
    """What an agent without calls under way does when it is to wait for them."""
    work()
    return True


def patrol(node: Node, when_idle: Callable[[str, Callable[[], None]], bool] = at_once) -> None:
    """Two rounds with the grace time between them, as an agent makes them."""
    found = Patrol(node.engine.mender, when_idle, GRACE_S)
    node.inside(found.round)
    node.now_s += GRACE_S
    node.inside(found.round)


def nothing_left(node: Node) -> bool:
    return node.links() == [] and node.engine.leases.all() == []


# Packets -------------------------------------------------------------------------------------------------------


class Echo:
    """A TCP and UDP server in a namespace that answers with the client's address as it saw it."""

    def __init__(self, space: str, address: str, port: int = 8080) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._stop = threading.Event()
        with netns.opened(space) as fd:
            self._tcp = netns.socket_in(fd, family, socket.SOCK_STREAM)
            self._udp = netns.socket_in(fd, family, socket.SOCK_DGRAM)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for sock in (self._tcp, self._udp):
            sock.bind((address, port))
            sock.settimeout(0.1)
        self._tcp.listen(64)
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in (self._serve_tcp, self._serve_udp)]
        for thread in self._threads:
            thread.start()

    def _serve_tcp(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                client, peer = self._tcp.accept()
                threading.Thread(target=self._talk, args=(client, peer[0]), daemon=True).start()

    def _talk(self, client: socket.socket, peer: str) -> None:
        with client, contextlib.suppress(OSError):
            while client.recv(65536):
                client.sendall(peer.encode() + b"\n")

    def _serve_udp(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                data, peer = self._udp.recvfrom(65536)
                self._udp.sendto(f"{peer[0]} {len(data)}".encode(), peer)

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._tcp.close()
        self._udp.close()


@contextlib.contextmanager
def echo(space: str, address: str, port: int = 8080) -> Iterator[Echo]:
    server = Echo(space, address, port)
    try:
        yield server
    finally:
        server.close()


def ask(space: str, address: str, port: int = 8080, *, kind: str = "tcp", size: int = 4, timeout_s: float = 5.0) -> str:
    """The client's address as the server at `address` saw it; raises OSError when there is no answer."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.opened(space) as fd:
        sock = netns.socket_in(fd, family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(timeout_s)
        sock.connect((address, port))
        if kind == "udp-df":
            sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER = IP_PMTUDISC_DO: never fragment
        sock.send(b"x" * size)
        return sock.recv(4096).decode().split()[0]


def default_route(space: str, via: str) -> None:
    with door(space) as rtnl:
        rtnl.apply([add(Route.of("default", via=via))])


def aim_at_loopback(node: Node, pod: str, target: str) -> None:
    """Have a pod send what is for this address of 127.0.0.0/8 to the node, whose lo is up."""
    with door(node.space) as rtnl:
        rtnl.apply([Change("lo", up=True)])
    netns.run_in(pod, lambda: sysctl.write("net/ipv4/conf/eth0/route_localnet", 1))
    with door(pod) as rtnl:
        rtnl.apply([Change("lo", up=False)])
    steps = [
        "ip address flush dev lo",
        "ip route flush table local 127.0.0.0/8",
        f"ip route add {target} via 10.244.1.1 onlink dev eth0",
    ]
    netns.run_in(pod, lambda: [subprocess.run(step.split(), check=False, capture_output=True) for step in steps])

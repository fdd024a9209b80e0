"""A real etcd for tests: one member on loopback in a folder of its own, ended or killed by its own pid."""

import os
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.server_process import ServerProcess, free_port


class Etcd(ServerProcess):
    """One process at a time on one data folder; `start` after `kill` finds everything again, on the same ports."""

    def __init__(self, folder: Path, *flags: str) -> None:
        super().__init__(folder)
        self.flags = flags
        self.name = "default"
        self.scheme = "http"
        self.port, self.peer_port = free_port(), free_port()
        self.members = [self]

    @property
    def peer_url(self) -> str:
        """Where other members find it."""
        return f"http://127.0.0.1:{self.peer_port}"

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until it is healthy."""
        self.begin()
        self.wait()

    def begin(self) -> None:
        """Start."""
        program = shutil.which("etcd")
        assert program, "etcd is missing: `./run test` installs it (Debian: etcd-server)"
        cluster = ",".join(f"{member.name}={member.peer_url}" for member in self.members)
        command = [
            program, "--name", self.name, "--data-dir", str(self.folder / "data"), "--log-level", "error",
            "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
            "--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url,
            "--initial-cluster", cluster,
            "--heartbeat-interval", "20", "--election-timeout", "100", *self.flags,
        ]  # fmt: skip
        environment = {**os.environ, "ETCD_UNSUPPORTED_ARCH": os.uname().machine}
        self.launch(command, environment)

    def wait(self) -> None:
        """Until it is healthy."""
        self.until(self._answers)

    def stop(self) -> None:
        """It keeps nothing that a kill would lose, and ends slowly."""
        self.kill()

    def _answers(self) -> bool:
        """Whether it listens and has a leader; with TLS, whether it listens."""
        try:
            if self.scheme == "https":
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            with urllib.request.urlopen(f"{self.url}/health", timeout=1) as answer:
                return b'"true"' in answer.read()
        except OSError:
            return False


@contextmanager
def cluster(folder: Path, count: int) -> Iterator[list[Etcd]]:
    """Members of one cluster, all healthy."""
    members = [Etcd(folder / str(i), "--heartbeat-interval", "50", "--election-timeout", "500") for i in range(count)]
    with ExitStack() as stack:
        for i, member in enumerate(members):
            member.name, member.members = f"m{i}", members
        for member in members:
            member.begin()
            stack.callback(member.kill)
        for member in members:
            member.wait()
        yield members

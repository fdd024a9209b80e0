"""A real etcd for tests: one member on loopback in a folder of its own, ended or killed by its own pid."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

START_S = 30.0


class Etcd:
    """One process at a time on one data folder; `start` after `kill` finds everything again, on the same ports."""

    def __init__(self, folder: Path, *flags: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.flags = folder, flags
        self.name = "default"
        self.scheme = "http"
        self.port, self.peer_port = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.members = [self]

    @property
    def peer_url(self) -> str:
        """Where other members find it."""
        return f"http://127.0.0.1:{self.peer_port}"

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

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
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def wait(self) -> None:
        """Until it is healthy."""
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)

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

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: STOP makes it hang, CONT goes on."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """As a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)


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


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

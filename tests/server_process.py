"""A server program on loopback, for tests and benchmarks: begun, waited for, ended or killed by its own pid."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

START_S = 60.0
STOP_S = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")


class ServerProcess:
    """One process at a time with one log; a subclass says how it starts and when it is ready."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.log = folder, folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()

    def start(self) -> None:
        """Start and wait until it is ready."""
        raise NotImplementedError

    def stop(self) -> None:
        """As a supervisor would, or as a power cut would if that is as good."""
        self.terminate()

    def launch(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start the program; what it says is appended to the log."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=env)

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait for it. AssertionError with the log when the process ends instead, or is not ready in START_S."""
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while not ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: STOP makes it hang, CONT goes on."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """As a power cut would."""
        self.signal(signal.SIGKILL)
        self._ended()

    def terminate(self) -> int:
        """As a supervisor would; its exit code."""
        self.signal(signal.SIGTERM)
        return self._ended()

    def _ended(self) -> int:
        assert self.process is not None
        return self.process.wait(STOP_S)

    @property
    def cpu_s(self) -> float:
        """Seconds of CPU it has used."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def rss_mib(self) -> int:
        """Memory it has now."""
        return int(self._proc("status").partition("VmRSS:")[2].split()[0]) // 1024

    def _proc(self, name: str) -> str:
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/{name}").read_text()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

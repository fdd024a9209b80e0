"""A machine of its own for a container runtime: mount, process and network namespaces, /run in memory, an own folder.

    machine's process namespace
      init (reaps)  ─ containerd or podman ─ shims, monitors, containers

Ending `init` ends them all, so nothing of a runtime survives its test. The agent runs outside, as one in a container
would: the runtime's namespace paths mean nothing to it, and it gets descriptors instead.
"""

import contextlib
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from netplane.kernel import netns
from netplane.rtnl import Change
from tests.cnitools import Spaces, door
from tests.waiting import until

_INIT = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); print(flush=True)\nwhile True: signal.pause()"
_MOUNTS = 'mount --make-rprivate / && mount -t tmpfs npt /run && mkdir -p /run/netns /run/lock && exec "$0" -c "$1"'
CGROUPS = Path("/sys/fs/cgroup")


class Machine:
    """Runs programs of a node as if they had a machine for themselves.

    Args:
        node: name of the network namespace.
        folder: for the runtime's files; short, since socket paths are.
    """

    def __init__(self, node: str, folder: Path) -> None:
        self.node, self.folder = node, folder
        self.cgroup = f"/npt-{secrets.token_hex(3)}"
        command = ["unshare", "-m", "-p", "-f", "--mount-proc", "--kill-child", "sh", "-c", _MOUNTS]
        self._init = netns.run_in(
            node, lambda: subprocess.Popen([*command, sys.executable, _INIT], stdout=subprocess.PIPE)
        )
        with door(node) as rtnl:
            rtnl.apply([Change("lo", up=True)])
        assert self._init.stdout is not None
        assert self._init.stdout.readline() == b"\n", "the machine did not start"
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()
        self._enter = ["nsenter", "-t", children[0], "-m", "-p", "-n", "--"]

    def popen(self, *command: str | Path, log: Path) -> "subprocess.Popen[bytes]":
        """Start a program that goes on."""
        with log.open("ab") as file:
            return subprocess.Popen([*self._enter, *command], stdout=file, stderr=file, stdin=subprocess.DEVNULL)

    def run(self, *command: str | Path, env: dict[str, str] | None = None, timeout_s: float = 60) -> str:
        """Run a program to its end; what it printed. A failure is an assertion's."""
        done = subprocess.run(
            [*self._enter, *command], env=env, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def close(self) -> None:
        """End everything that runs in it."""
        self._init.kill()
        self._init.wait()
        assert self._init.stdout is not None
        self._init.stdout.close()
        until(self._cgroups_gone, "the machine's cgroups are gone")

    def _cgroups_gone(self) -> bool:
        found = [path for tree in CGROUPS.iterdir() if (path := tree / self.cgroup.lstrip("/")).is_dir()]
        for top in found:
            for path in sorted((p for p in top.rglob("*") if p.is_dir()), reverse=True):
                with contextlib.suppress(OSError):
                    path.rmdir()
            with contextlib.suppress(OSError):
                top.rmdir()
        return not any(path.exists() for path in found)


@contextlib.contextmanager
def machine(place: Spaces, name: str = "node") -> Iterator[Machine]:
    """A machine in a new network namespace."""
    with tempfile.TemporaryDirectory(prefix="npt-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        found = Machine(place.name(name), Path(folder))
        try:
            yield found
        finally:
            found.close()

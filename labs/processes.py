"""Processes of a lab: started inside a namespace, found again by the mark in their environment, ended for certain.

Every process of a lab carries NETPLANE_LAB=<folder> in its environment, and so does whatever it starts. That mark
survives a killed supervisor, so `lab down` needs no list of pids to find them all.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from netplane.kernel import netns

MARK = "NETPLANE_LAB"


def start(
    argv: Sequence[str],
    *,
    lab_folder: Path,
    log: Path,
    netns_name: str = "",
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    clean: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a marked process in its own session, in a namespace (empty: the caller's), its output appended to a log.

    With `clean` it gets nothing of the caller's environment but PATH, and begins in /, as in a container.

    Raises:
        OSError: when the program cannot be executed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    inherited = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/root"} if clean else os.environ
    full_env = {**inherited, **(env or {}), MARK: str(lab_folder)}
    with log.open("ab") as out:

        def spawn() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                argv,
                env=full_env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                pass_fds=pass_fds,
                cwd="/" if clean else None,
            )

        if not netns_name:
            return spawn()
        with netns.opened(netns_name) as fd, netns.entered(fd):
            return spawn()


def marked(lab_folder: Path) -> list[int]:
    """Pids of all living processes of a lab, this one and its parents left out."""
    wanted = f"{MARK}={lab_folder}".encode()
    mine = _ancestors()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in mine:
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if wanted in environment.split(b"\0"):
            found.append(int(entry.name))
    return found


def end_all(lab_folder: Path, grace_s: float = 3.0) -> int:
    """End every process of a lab: SIGTERM, then SIGKILL to what is left. Returns how many there were."""
    first = marked(lab_folder)
    for pid in first:
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while (left := marked(lab_folder)) and time.monotonic() < deadline:
        time.sleep(0.02)
    # A process that forks while it dies is found by the next look.
    for _ in range(50):
        if not left:
            break
        for pid in left:
            _signal(pid, signal.SIGKILL)
        time.sleep(0.02)
        left = marked(lab_folder)
    return len(first)


def start_time(pid: int) -> int | None:
    """Clock ticks after boot at which a process began (field 22 of proc(5) stat); None when it is gone or a zombie.

    With the pid it names a process for ever: pids are used again, such pairs are not.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def kill(pid: int, started: int, number: int = signal.SIGKILL) -> None:
    """Signal a process if it is still the one that began at `started`."""
    if start_time(pid) == started:
        _signal(pid, number)


def kill_group(pid: int, started: int, number: int) -> None:
    """Signal a process begun by `start`, and what it started, if it is still the one that began at `started`."""
    if start_time(pid) == started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)


def kill_in_namespace(name: str) -> None:
    """SIGKILL to every process in a network namespace, until there is none; harmless when it is gone."""
    for _ in range(50):
        pids = in_namespace(name)
        if not pids:
            return
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        time.sleep(0.01)


def in_namespace(name: str) -> list[int]:
    """Pids of the processes in a named network namespace, this one left out."""
    try:
        wanted = netns.path(name).stat().st_ino
    except FileNotFoundError:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if (entry / "ns" / "net").stat().st_ino == wanted and start_time(int(entry.name)) is not None:
                    found.append(int(entry.name))
    return found


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _ancestors() -> set[int]:
    chain, pid = set(), os.getpid()
    while pid > 0:
        chain.add(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return chain

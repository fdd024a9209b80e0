"""A pod's containers as processes: started in its namespace, watched, started again as restartPolicy says, ended."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from labs import processes, status
from labs.status import ContainerState
from labs.topology import Lab, LabNode
from netplane.api.objects import Container, Pod
from netplane.errors import NetplaneError

# Waits before a container is started again, after its first, second … failure in a row.
RESTART_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
# A process that lived this long was well: its next end is a first one.
WELL_AFTER_S = 60.0


class ProcessRecord(msgspec.Struct):
    """A container's process: pid and start time name it for ever; `ready` is what its readiness was last.

    `began_s` and `ended_s` are seconds since the epoch; `failures` counts ends in a row, for the wait before the next
    start. `exit_code` is None until it has ended.
    """

    pid: int = 0
    started: int = 0
    started_at: str = ""
    began_s: float = 0.0
    ended_s: float = 0.0
    ready: bool = False
    restarts: int = 0
    failures: int = 0
    exit_code: int | None = None
    last_exit_code: int | None = None

    @property
    def wait_s(self) -> float:
        """For how much longer an ended process must not be started again."""
        return self.ended_s + RESTART_S[min(max(self.failures - 1, 0), len(RESTART_S) - 1)] - time.time()

    @property
    def alive(self) -> bool:
        """Whether this very process is still there."""
        return bool(self.pid) and processes.start_time(self.pid) == self.started


class PodRecord(msgspec.Struct):
    """What exists of a pod on this machine, kept in a file of its own."""

    uid: str
    namespace: str
    name: str
    netns: str
    addresses: list[str] = []
    processes: dict[str, ProcessRecord] = {}


def now() -> str:
    """The time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Containers:
    """The processes of one pod.

    Args:
        lab, node: where they run.
        record: what is known of them; changed in place.
        save: called after each change, before the change can be lost.
        changed: called when a process ended or became ready.
    """

    def __init__(
        self, lab: Lab, node: LabNode, record: PodRecord, *, save: Callable[[], None], changed: Callable[[], None]
    ) -> None:
        self._lab = lab
        self._node = node
        self._record = record
        self._save = save
        self._changed = changed
        self._watched: dict[int, int] = {}

    def ensure_running(self, pod: Pod, container: Container) -> float:
        """Start a container that does not run and should.

        Returns:
            In how many seconds to ask again, since it must wait before its next start; 0 when there is no need to.

        Raises:
            ContainerRefused: when it cannot be started.
        """
        process = self._record.processes.setdefault(container.name, ProcessRecord())
        if process.alive:
            self._watch(process)
            return 0.0
        if process.pid:
            self._note_exit(process)
            if not _starts_again(pod, process):
                return 0.0
            if (wait_s := process.wait_s) > 0:
                return wait_s
            process.restarts += 1
        self._start(pod, container, process)
        return 0.0

    def states(self, pod: Pod, trouble: NetplaneError | None) -> list[ContainerState]:
        """What to report of each container; `trouble` is why those that do not run do not."""
        return [self._state(pod, container, trouble) for container in pod.spec.containers]

    async def end(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL to what is left after `grace_s`; 0 kills at once."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        self._signal(signal.SIGTERM if grace_s else signal.SIGKILL)
        while any(process.alive for process in self._record.processes.values()):
            if loop.time() > deadline:
                self._signal(signal.SIGKILL)
            await asyncio.sleep(0.01)
        for process in self._record.processes.values():
            self._note_exit(process)

    def _signal(self, number: int) -> None:
        for process in self._record.processes.values():
            processes.kill_group(process.pid, process.started, number)

    def _state(self, pod: Pod, container: Container, trouble: NetplaneError | None) -> ContainerState:
        process = self._record.processes.get(container.name, ProcessRecord())
        running, ended = process.alive, process.exit_code is not None
        reason = message = ""
        if not running and trouble is not None:
            reason, message = getattr(trouble, "reason", ""), trouble.message
        elif not running and ended and _starts_again(pod, process):
            reason, message = "CrashLoopBackOff", f"started again in at most {RESTART_S[-1]:.0f} s"
        return ContainerState(
            name=container.name,
            running=running,
            ready=running and process.ready,
            restarts=process.restarts,
            exit_code=None if running or reason else process.exit_code,
            last_exit_code=process.exit_code if reason else process.last_exit_code,
            reason=reason,
            message=message,
            started_at=process.started_at,
        )

    def _start(self, pod: Pod, container: Container, process: ProcessRecord) -> None:
        argv = status.command_line(container)
        tells = container.image.startswith(status.ECHO_IMAGE) and not container.command
        env = {e.name: e.value for e in container.env or []} | {
            "POD_NAME": pod.metadata.name,
            "POD_NAMESPACE": pod.metadata.namespace,
            "POD_IP": self._record.addresses[0] if self._record.addresses else "",
            "NODE_NAME": self._node.name,
        }
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        try:
            child = processes.start(
                argv,
                lab_folder=self._lab.folder,
                log=self._lab.logs / f"pod-{self._record.namespace}-{self._record.name}.log",
                netns_name=self._record.netns,
                env=env | ({"NOTIFY_FD": str(write_end)} if tells else {}),
                pass_fds=[write_end] if tells else [],
                clean=True,
            )
        except OSError as error:
            os.close(read_end)
            raise status.ContainerRefused(f"container {container.name}: {argv[0]}: {error.strerror}") from error
        finally:
            os.close(write_end)
        process.pid, process.started = child.pid, processes.start_time(child.pid) or 0
        process.started_at, process.began_s, process.ready = now(), time.time(), not tells
        process.last_exit_code, process.exit_code = process.exit_code, None
        self._save()
        self._watch(process)
        if tells:
            self._await_ready(read_end, process)
        else:
            os.close(read_end)

    def _await_ready(self, fd: int, process: ProcessRecord) -> None:
        loop = asyncio.get_running_loop()

        def readable() -> None:
            loop.remove_reader(fd)
            process.ready = bool(os.read(fd, 16))
            os.close(fd)
            self._save()
            self._changed()

        loop.add_reader(fd, readable)

    def _watch(self, process: ProcessRecord) -> None:
        """Tell when the process ends; works for children and for processes a former kubelet started."""
        if process.pid in self._watched:
            return
        try:
            fd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            self._changed()
            return
        pid, loop = process.pid, asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(fd)
            os.close(fd)
            self._watched.pop(pid, None)
            self._changed()

        self._watched[pid] = fd
        loop.add_reader(fd, ended)

    def _note_exit(self, process: ProcessRecord) -> None:
        process.ready = False
        if process.exit_code is not None:
            return
        try:
            _, raw = os.waitpid(process.pid, os.WNOHANG)
            code = os.waitstatus_to_exitcode(raw)
        except ChildProcessError:
            code = 1  # a former kubelet's child: how it ended was told to nobody
        process.exit_code = code if code >= 0 else 128 - code
        process.ended_s = time.time()
        process.failures = 1 if process.ended_s - process.began_s > WELL_AFTER_S else process.failures + 1
        self._save()


def _starts_again(pod: Pod, process: ProcessRecord) -> bool:
    wanted = pod.spec.restart_policy or "Always"
    return wanted == "Always" or (wanted == "OnFailure" and process.exit_code != 0)

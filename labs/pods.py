"""One pod on one node: namespace, network, processes, status; and all of it undone again.

desired (API)  ──►  PodWorker.reconcile  ──►  namespace → CNI ADD → processes → status patched
     ▲                     │                  each step is recorded in a file before it is taken, so that a
     └── wake ◄── process ended / became ready / object changed        killed kubelet finds what it began
"""

import asyncio
import contextlib
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from labs import processes, status
from labs.runtime import Attachment, CniRuntime
from labs.status import ContainerState
from labs.topology import Lab, LabNode
from netplane.api.objects import Container, Pod
from netplane.client.api import Api
from netplane.client.errors import ApiError, NotFound
from netplane.errors import NetplaneError
from netplane.kernel import netns
from netplane.obs import logs

log = logs.get("lab.pod")

DEFAULT_GRACE_S = 30
RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class ProcessRecord(msgspec.Struct):
    """A container's process: pid and start time name it for ever; `ready` is what its readiness was last."""

    pid: int = 0
    started: int = 0
    started_at: str = ""
    ready: bool = False
    restarts: int = 0
    exit_code: int | None = None


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


class PodWorker:
    """Drives one pod until it is gone.

    Args:
        lab, node: where it runs.
        runtime: how its network is made.
        api: where its status goes.
        record: what is known of it; new pods start with an empty one (`PodWorker.fresh`).
    """

    def __init__(self, lab: Lab, node: LabNode, runtime: CniRuntime, api: Api, record: PodRecord) -> None:
        self.lab = lab
        self.node = node
        self.runtime = runtime
        self.api = api
        self.record = record
        self.pod: Pod | None = None
        self.trouble: NetplaneError | None = None
        self._wake = asyncio.Event()
        self._reported: dict[str, Any] | None = None
        self._watched: dict[int, int] = {}

    @staticmethod
    def fresh(lab: Lab, node: LabNode, pod: Pod) -> PodRecord:
        """The record of a pod that has nothing yet."""
        meta = pod.metadata
        netns_name = node.netns if pod.spec.host_network else f"{node.netns}-pod-{meta.uid[:13]}"
        return PodRecord(uid=meta.uid, namespace=meta.namespace, name=meta.name, netns=netns_name)

    @property
    def host_network(self) -> bool:
        """Whether the pod lives in its node's own namespace."""
        return self.record.netns == self.node.netns

    def update(self, pod: Pod | None) -> None:
        """The object changed; None when it is gone from the API."""
        if pod is not None and _contradicts(pod, self._reported):
            self._reported = None  # somebody (the node controller, of a silent node's pods) knew it worse
        self.pod = pod
        self._wake.set()

    async def run(self) -> None:
        """Reconcile on every change until the pod is gone. Failures are reported in its status and tried again."""
        attempt = 0
        while True:
            self._wake.clear()
            pod = self.pod
            if pod is None or pod.metadata.deletion_timestamp:
                if await self._finish(pod):
                    return
                await self._pause(RETRY_S[0])
                continue
            self.trouble = None
            try:
                await self._reconcile(pod)
                await self._report(pod)
                attempt = 0
                await self._wake.wait()
            except ApiError as error:
                log.warning("status not written", pod=self.record.name, error=str(error))
                await self._pause(RETRY_S[min(attempt, len(RETRY_S) - 1)])
                attempt += 1
            except (NetplaneError, OSError) as error:
                self.trouble = error if isinstance(error, NetplaneError) else NetplaneError(str(error))
                log.warning("pod not started", pod=self.record.name, error=str(error))
                with contextlib.suppress(ApiError):
                    await self._report(pod)
                await self._pause(RETRY_S[min(attempt, len(RETRY_S) - 1)])
                attempt += 1

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    # Towards running ------------------------------------------------------------------------------------------

    async def _reconcile(self, pod: Pod) -> None:
        self._save()
        if self.host_network:
            self.record.addresses = [self.node.address]
        elif not self.record.addresses:
            await self._connect()
        for container in pod.spec.containers:
            await self._ensure_running(pod, container)

    async def _connect(self) -> None:
        if not netns.exists(self.record.netns):
            await asyncio.to_thread(netns.create, self.record.netns)
        while not self.runtime.ready():
            await asyncio.sleep(0.02)
        result = await asyncio.to_thread(self.runtime.add, self._attachment())
        self.record.addresses = [ip["address"].split("/")[0] for ip in result.get("ips", [])]
        self._save()

    def _attachment(self) -> Attachment:
        record = self.record
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={record.namespace};K8S_POD_NAME={record.name}"
        where = netns.path(record.netns)
        return Attachment(
            container_id=record.uid,
            netns=str(where) if where.exists() else "",
            args=f"{args};K8S_POD_UID={record.uid}",
        )

    async def _ensure_running(self, pod: Pod, container: Container) -> None:
        process = self.record.processes.setdefault(container.name, ProcessRecord())
        if process.pid and processes.start_time(process.pid) == process.started:
            self._watch(process)
            return
        if process.pid:
            self._note_exit(process)
            wanted = pod.spec.restart_policy or "Always"
            if wanted == "Never" or (wanted == "OnFailure" and process.exit_code == 0):
                return
            await asyncio.sleep(RETRY_S[min(process.restarts, len(RETRY_S) - 1)])
            process.restarts += 1
        await self._start(pod, container, process)

    async def _start(self, pod: Pod, container: Container, process: ProcessRecord) -> None:
        argv = status.command_line(container)
        tells = container.image.startswith(status.ECHO_IMAGE) and not container.command
        env = {e.name: e.value for e in container.env or []} | {
            "POD_NAME": pod.metadata.name,
            "POD_NAMESPACE": pod.metadata.namespace,
            "POD_IP": self.record.addresses[0] if self.record.addresses else "",
            "NODE_NAME": self.node.name,
        }
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        try:
            child = processes.start(
                argv,
                lab_folder=self.lab.folder,
                log=self.lab.logs / f"pod-{self.record.namespace}-{self.record.name}.log",
                netns_name=self.record.netns,
                env=env | ({"NOTIFY_FD": str(write_end)} if tells else {}),
                pass_fds=[write_end] if tells else [],
            )
        except OSError as error:
            os.close(read_end)
            raise NetplaneError(f"container {container.name}: {argv[0]}: {error.strerror}") from error
        finally:
            os.close(write_end)
        process.pid, process.started = child.pid, processes.start_time(child.pid) or 0
        process.started_at, process.exit_code, process.ready = now(), None, not tells
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
            self._wake.set()

        loop.add_reader(fd, readable)

    def _watch(self, process: ProcessRecord) -> None:
        """Wake when the process ends; works for children and for processes a former kubelet started."""
        if process.pid in self._watched:
            return
        try:
            fd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            self._wake.set()
            return
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(fd)
            os.close(fd)
            self._watched.pop(process.pid, None)
            self._wake.set()

        self._watched[process.pid] = fd
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
        self._save()

    # Status ---------------------------------------------------------------------------------------------------

    def _states(self, pod: Pod) -> list[ContainerState]:
        states = []
        for container in pod.spec.containers:
            process = self.record.processes.get(container.name, ProcessRecord())
            running = bool(process.pid) and processes.start_time(process.pid) == process.started
            trouble = self.trouble if not running else None
            states.append(
                ContainerState(
                    name=container.name,
                    running=running,
                    ready=running and process.ready,
                    restarts=process.restarts,
                    exit_code=None if running or trouble else process.exit_code,
                    reason="ErrImagePull" if isinstance(trouble, status.ImageUnknown) else "",
                    message=str(trouble) if trouble else "",
                    started_at=process.started_at,
                )
            )
        return states

    async def _report(self, pod: Pod) -> None:
        wanted = status.pod_status(pod, self._states(pod), self.record.addresses, host_ip=self.node.address, now=now())
        if _settled(wanted) == _settled(self._reported):
            return
        with contextlib.suppress(NotFound):
            await self.api.patch(
                Pod, pod.metadata.name, pod.metadata.namespace, {"status": wanted}, subresource="status"
            )
        self._reported = wanted

    # Towards nothing -------------------------------------------------------------------------------------------

    async def _finish(self, pod: Pod | None) -> bool:
        """End the processes, undo the network, forget the pod. True when all of it is done."""
        grace_s = DEFAULT_GRACE_S
        if pod is not None and pod.metadata.deletion_grace_period_seconds is not None:
            grace_s = pod.metadata.deletion_grace_period_seconds
        try:
            await self._end_processes(grace_s if pod is not None else 0)
            if not self.host_network:
                await asyncio.to_thread(self.runtime.delete, self._attachment())
                await asyncio.to_thread(netns.delete, self.record.netns)
            if pod is not None:
                with contextlib.suppress(NotFound):
                    await self.api.delete(Pod, pod.metadata.name, pod.metadata.namespace, grace_period_s=0)
        except (NetplaneError, OSError) as error:
            log.warning("pod not removed yet", pod=self.record.name, error=str(error))
            return False
        self._path().unlink(missing_ok=True)
        return True

    async def _end_processes(self, grace_s: float) -> None:
        deadline = asyncio.get_running_loop().time() + grace_s
        number = signal.SIGTERM if grace_s else signal.SIGKILL
        for process in self.record.processes.values():
            processes.kill(process.pid, process.started, number)
        while any(processes.start_time(p.pid) == p.started for p in self.record.processes.values()):
            if asyncio.get_running_loop().time() > deadline:
                for process in self.record.processes.values():
                    processes.kill(process.pid, process.started)
            await asyncio.sleep(0.01)
        for process in self.record.processes.values():
            self._note_exit(process)

    # The file ------------------------------------------------------------------------------------------------

    def _path(self) -> Path:
        return self.node.pods / f"{self.record.uid}.json"

    def _save(self) -> None:
        path = self._path()
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(self.record))
        draft.replace(path)


def load_records(node: LabNode) -> list[PodRecord]:
    """What a former kubelet left running on this node."""
    if not node.pods.is_dir():
        return []
    return [msgspec.json.decode(path.read_bytes(), type=PodRecord) for path in sorted(node.pods.glob("*.json"))]


def _contradicts(pod: Pod, report: dict[str, Any] | None) -> bool:
    """Whether the API says another readiness than we reported last."""
    if report is None:
        return False
    told = {c["type"]: c["status"] for c in report["conditions"]}
    stored = {c.type: c.status for c in (pod.status.conditions if pod.status else None) or []}
    return bool(stored.get("Ready") != told["Ready"])


def _settled(report: dict[str, Any] | None) -> Any:
    """A status without its times, to see whether there is news."""
    if report is None:
        return None
    conditions = [(c["type"], c["status"]) for c in report["conditions"]]
    return {**report, "conditions": conditions, "startTime": ""}

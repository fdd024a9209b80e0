"""One pod on one node: namespace, network, processes, status; and all of it undone again.

desired (API)  ──►  PodWorker.reconcile  ──►  namespace → CNI ADD → processes → status patched
     ▲                     │                  each step is recorded in a file before it is taken, so that a
     └── wake ◄── process ended / became ready / object changed        killed kubelet finds what it began
"""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import msgspec

from labs import processes, status
from labs.containers import Containers, PodRecord, now
from labs.runtime import Attachment, CniRuntime
from labs.topology import Lab, LabNode
from netplane.api import conditions
from netplane.api.kinds import EVENT
from netplane.api.objects import Pod
from netplane.client.api import Api
from netplane.client.errors import ApiError, NotFound
from netplane.errors import NetplaneError
from netplane.kernel import netns
from netplane.obs import logs

log = logs.get("lab.pod")

DEFAULT_GRACE_S = 30
RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


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
        self._warned = ""
        self._reported: dict[str, Any] | None = None
        self.containers = Containers(lab, node, record, save=self._save, changed=self._wake.set)

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
                again_s = await self._reconcile(pod)
                await self._report(pod)
                attempt = 0
                await self._pause(again_s or None)
            except ApiError as error:
                log.warning("status not written", pod=self.record.name, error=str(error))
                await self._pause(RETRY_S[min(attempt, len(RETRY_S) - 1)])
                attempt += 1
            except (NetplaneError, OSError) as error:
                self.trouble = error if isinstance(error, NetplaneError) else NetplaneError(str(error))
                log.warning("pod not started", pod=self.record.name, error=str(error))
                with contextlib.suppress(ApiError):
                    await self._report(pod)
                    await self._warn(pod, self.trouble)
                await self._pause(RETRY_S[min(attempt, len(RETRY_S) - 1)])
                attempt += 1

    async def _pause(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    # Towards running ------------------------------------------------------------------------------------------

    async def _reconcile(self, pod: Pod) -> float:
        """Do what is missing; in how many seconds to look again (0: when something changes)."""
        status.check_supported(pod)
        self._save()
        if self.host_network:
            self.record.addresses = [self.node.address]
        elif not self.record.addresses:
            await self._connect()
        waits = [self.containers.ensure_running(pod, container) for container in pod.spec.containers]
        return min((wait for wait in waits if wait), default=0.0)

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

    # Status ---------------------------------------------------------------------------------------------------

    async def _report(self, pod: Pod) -> None:
        wanted = status.pod_status(
            pod, self.containers.states(pod, self.trouble), self.record.addresses, host_ip=self.node.address, now=now()
        )
        if _settled(wanted) == _settled(self._reported):
            return
        with contextlib.suppress(NotFound):
            await self.api.patch(
                Pod, pod.metadata.name, pod.metadata.namespace, {"status": wanted}, subresource="status"
            )
        self._reported = wanted

    async def _warn(self, pod: Pod, trouble: NetplaneError) -> None:
        """Tell `kubectl describe` why; once for each reason."""
        if trouble.message == self._warned:
            return
        reason = "Failed" if isinstance(trouble, status.ContainerRefused) else "FailedCreatePodSandBox"
        body = status.event(
            pod, self.node.name, reason=reason, message=str(trouble), now=now(), stamp_ns=time.time_ns()
        )
        await self.api.request("POST", EVENT.path(pod.metadata.namespace), body=body)
        self._warned = trouble.message

    # Towards nothing -------------------------------------------------------------------------------------------

    async def _finish(self, pod: Pod | None) -> bool:
        """End the processes, undo the network, forget the pod. True when all of it is done."""
        grace_s = DEFAULT_GRACE_S
        if pod is not None and pod.metadata.deletion_grace_period_seconds is not None:
            grace_s = pod.metadata.deletion_grace_period_seconds
        try:
            await self.containers.end(grace_s if pod is not None else 0)
            if not self.host_network:
                await asyncio.to_thread(processes.kill_in_namespace, self.record.netns)
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
    stored = conditions.ready(pod)
    return stored is None or stored.status != told["Ready"]


def _settled(report: dict[str, Any] | None) -> Any:
    """A status without its times, to see whether there is news."""
    if report is None:
        return None
    told = [(c["type"], c["status"]) for c in report["conditions"]]
    return {**report, "conditions": told, "startTime": ""}

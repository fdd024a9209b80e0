"""Plays the kubelet for all nodes of a lab: registers them, renews their leases, runs the pods bound to them.

One process for all nodes keeps a lab light; each node's pods, CNI calls and files are its own. Killed and started
again, it finds the pods it ran by their records and goes on.
"""

import asyncio
import contextlib
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import uvloop

from labs import pods, state, status
from labs.containers import PodRecord, now
from labs.runtime import CniRuntime
from labs.topology import Lab, LabNode
from netplane import __version__
from netplane.api.conditions import is_ready
from netplane.api.kinds import LEASE
from netplane.api.objects import Lease, LeaseSpec, Node, ObjectMeta, Pod
from netplane.client import config
from netplane.client.api import Api
from netplane.client.errors import AlreadyExists, ApiError, NotFound
from netplane.client.informer import Informer
from netplane.obs import logs

log = logs.get("lab.kubelet")

LEASES = "kube-node-lease"
LEASE_S = 6
RENEW_S = 2.0
KUBELET_VERSION = f"v1.36.0-netplane-{__version__}"


class NodeKeeper:
    """One node: its object, its lease, its pods."""

    def __init__(self, lab: Lab, node: LabNode, api: Api) -> None:
        self.lab = lab
        self.node = node
        self.api = api
        self.runtime = CniRuntime(node.netns, node.cni_bin, node.cni_conf, node.folder / "cni" / "results")
        self.workers: dict[str, pods.PodWorker] = {}
        # What a former kubelet left running, until the API says what is to become of it.
        self._left = {record.uid: record for record in pods.load_records(node)}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self.seen: Node | None = None

    def node_changed(self, node: Node | None) -> None:
        """The Node object changed, perhaps by somebody else."""
        self.seen = node
        self._wake.set()

    def pod_changed(self, pod: Pod | None, uid: str) -> None:
        """A pod bound to this node changed, or is gone (None)."""
        worker = self.workers.get(uid)
        if worker is None:
            if pod is None:
                return
            known = uid in self._left
            worker = self._start(self._left.pop(uid) if known else pods.PodWorker.fresh(self.lab, self.node, pod))
        worker.update(pod)

    def remove_strangers(self) -> None:
        """Once all pods are known: take away what a former kubelet ran for pods that are gone."""
        while self._left:
            self._start(self._left.popitem()[1]).update(None)

    def _start(self, record: PodRecord) -> pods.PodWorker:
        worker = pods.PodWorker(self.lab, self.node, self.runtime, self.api, record)
        self.workers[record.uid] = worker
        task = asyncio.create_task(worker.run())
        self._tasks.add(task)

        def done(finished: asyncio.Task[None]) -> None:
            self._tasks.discard(finished)
            self.workers.pop(record.uid, None)
            if not finished.cancelled() and (error := finished.exception()):
                log.error("pod worker died", pod=record.name, exc_info=error)

        task.add_done_callback(done)
        return worker

    async def run(self) -> None:
        """Keep the node registered and, once its network is configured, ready, for ever."""
        while True:
            try:
                if self.seen is None:
                    await self._register()
                if self.runtime.ready():
                    await self._renew_lease()
                    await self._post_ready()
                    await self._pause(RENEW_S)
                else:
                    await self._pause(0.02)
            except ApiError as error:
                log.warning("node not kept", node=self.node.name, error=str(error))
                await asyncio.sleep(0.5)

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def _register(self) -> None:
        body = status.node_object(self.node, KUBELET_VERSION)
        with contextlib.suppress(AlreadyExists):
            await self.api.request("POST", "/api/v1/nodes", body=body)
            log.info("registered", node=self.node.name, address=self.node.address)
        self.seen = await self.api.get(Node, self.node.name)

    async def _post_ready(self) -> None:
        if self.seen and is_ready(self.seen):
            return
        body = status.node_status(self.node, ready=True, now=now(), kubelet_version=KUBELET_VERSION)
        self.seen = await self.api.patch(
            Node, self.node.name, "", {"status": body}, kind="strategic", subresource="status"
        )
        log.info("ready", node=self.node.name)

    async def _renew_lease(self) -> None:
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = LeaseSpec(holder_identity=self.node.name, lease_duration_seconds=LEASE_S, renew_time=stamp)
        try:
            await self.api.patch(Lease, self.node.name, LEASES, {"spec": msgspec.to_builtins(spec)})
        except NotFound:
            meta = ObjectMeta(name=self.node.name, namespace=LEASES)
            await self.api.create(Lease(api_version=LEASE.api_version, kind=LEASE.kind, metadata=meta, spec=spec))


async def keep(lab: Lab) -> None:
    """Run the kubelets of all nodes of a lab until cancelled."""
    async with Api(config.load(str(lab.kubeconfig))) as api:
        keepers = {node.name: NodeKeeper(lab, node, api) for node in lab.nodes}

        def node_changed(old: Node | None, new: Node | None) -> None:
            node = new or old
            if node is not None and node.metadata.name in keepers:
                keepers[node.metadata.name].node_changed(new)

        def pod_changed(old: Pod | None, new: Pod | None) -> None:
            pod = new or old
            if pod is None or pod.spec.node_name not in keepers:
                return
            if old is not None and new is not None and old.metadata.uid != new.metadata.uid:
                keepers[pod.spec.node_name].pod_changed(None, old.metadata.uid)
            keepers[pod.spec.node_name].pod_changed(new, pod.metadata.uid)

        nodes = Informer(api, Node, on_change=node_changed)
        all_pods = Informer(api, Pod, on_change=pod_changed)
        async with asyncio.TaskGroup() as group:
            group.create_task(nodes.run())
            group.create_task(all_pods.run())
            await nodes.synced.wait()
            await all_pods.synced.wait()
            for keeper in keepers.values():
                keeper.remove_strangers()
                group.create_task(keeper.run())


def main() -> None:
    """`python -m labs.kubelet LAB_FOLDER`."""
    logs.setup()
    lab = state.load(Path(sys.argv[1]))
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(keep(lab))


if __name__ == "__main__":
    main()

"""`netplane controllers` as a process, against `netplane apiserver` as a process, which is killed on the way."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx2
import msgspec

from netplane.api.objects import (
    ConfigMap,
    Container,
    EndpointSlice,
    Event,
    Lease,
    LeaseSpec,
    Node,
    Object,
    ObjectMeta,
    Pod,
    PodSpec,
    Service,
    ServiceAccount,
    ServicePort,
    ServiceSpec,
)
from netplane.client import config, errors
from netplane.client.api import Api
from netplane.client.informer import Informer
from tests import waiting
from tests.server_process import free_port

NETPLANE = str(Path(sys.executable).parent / "netplane")
GRACE_S = 3
until = partial(waiting.until_async, within_s=30.0)


class Cluster:
    """Both programs, and what a watcher of the apiserver sees."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self.port, self.health_port = free_port(), free_port()
        self.apiserver: asyncio.subprocess.Process
        self.controllers: asyncio.subprocess.Process
        self.api: Api
        self.slices: Informer[EndpointSlice]
        self.nodes: Informer[Node]
        self.pods: Informer[Pod]

    async def start_apiserver(self) -> None:
        self.apiserver = await self._program(
            "apiserver", "--data-dir", str(self.folder / "data"), "--bind-address", "127.0.0.1",
            "--secure-port", str(self.port), "--service-cluster-ip-range", "10.96.0.0/16",
            "--kubeconfig-out", str(self.kubeconfig),
        )  # fmt: skip
        await until(self.kubeconfig.exists, "the apiserver wrote a kubeconfig")

    async def start_controllers(self) -> None:
        self.controllers = await self._program(
            "controllers", "--kubeconfig", str(self.kubeconfig), "--cluster-cidr", "10.244.0.0/16",
            "--node-cidr-mask-size", "24", "--node-monitor-grace-period", f"{GRACE_S}s",
            "--healthz-bind-address", f"127.0.0.1:{self.health_port}",
        )  # fmt: skip

    async def _program(self, *args: str) -> asyncio.subprocess.Process:
        log = (self.folder / f"{args[0]}.log").open("ab")
        return await asyncio.create_subprocess_exec(NETPLANE, *args, stdout=log, stderr=log)

    def condition(self, node: str) -> str:
        found = self.nodes.objects.get(node)
        conditions = (found.status.conditions if found and found.status else None) or []
        return next((one.status for one in conditions if one.type == "Ready"), "")

    def ready(self) -> set[str]:
        slices = [one for one in self.slices.objects.values() if one.metadata.name.startswith("web")]
        every = [endpoint for one in slices for endpoint in one.endpoints or ()]
        return {one.addresses[0] for one in every if one.conditions and one.conditions.ready}

    async def create(self, obj: Object) -> None:
        """Create, however often the apiserver is away meanwhile."""
        async with asyncio.timeout(30):
            while True:
                try:
                    await self.api.create(obj)
                except errors.AlreadyExists:
                    return
                except errors.Unreachable:
                    await asyncio.sleep(0.05)
                else:
                    return

    async def told(self, reason: str, about: str) -> None:
        """Wait for an Event."""
        async with asyncio.timeout(30):
            while True:
                events = (await self.api.list(Event)).items
                if (reason, about) in [(event.reason, event.involved_object.name) for event in events]:
                    return
                await asyncio.sleep(0.05)

    async def start_pod(self, name: str, ip: str) -> None:
        ready = [{"type": "Ready", "status": "True"}]
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": ready}
        await self.api.patch(Pod, name, "default", {"status": status}, kind="strategic", subresource="status")

    async def heartbeats(self, *nodes: str) -> None:
        """A kubelet's."""
        for count in range(10**6):
            for name in nodes:
                spec = {"renewTime": f"2026-01-01T00:00:00.{count:06d}Z"}
                try:
                    await self.api.patch(Lease, name, "kube-node-lease", {"spec": spec})
                except errors.ApiError:
                    continue  # the apiserver is away
            await asyncio.sleep(0.3)


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    made = Cluster(folder)
    await made.start_apiserver()
    await made.start_controllers()
    async with Api(config.load(str(made.kubeconfig))) as api, asyncio.TaskGroup() as group:
        made.api = api
        made.slices, made.nodes, made.pods = Informer(api, EndpointSlice), Informer(api, Node), Informer(api, Pod)
        tasks = [group.create_task(one.run()) for one in (made.slices, made.nodes, made.pods)]
        try:
            await until(made.slices.synced.is_set, "the apiserver answered")
            yield made
        finally:
            for task in tasks:
                task.cancel()
            for process in (made.controllers, made.apiserver):
                if process.returncode is None:
                    process.kill()
                await process.wait()


def node(name: str) -> list[Object]:
    meta = ObjectMeta(name=name, namespace="kube-node-lease")
    return [
        Node(metadata=ObjectMeta(name=name)),
        Lease(metadata=meta, spec=LeaseSpec(renew_time="2026-01-01T00:00:00.000000Z")),
    ]


def pod(name: str) -> Pod:
    meta = ObjectMeta(name=name, namespace="default", labels={"app": "web"})
    return Pod(metadata=meta, spec=PodSpec(containers=[Container(name="c", image="x")]))


def web() -> Service:
    ports = [ServicePort(name="http", port=80, target_port=8080)]
    meta = ObjectMeta(name="web", namespace="default")
    return Service(metadata=meta, spec=ServiceSpec(selector={"app": "web"}, ports=ports))


async def walk(folder: Path) -> None:
    async with cluster(folder) as one:
        for obj in (*node("n1"), *node("n2"), web()):
            await one.create(obj)
        async with asyncio.TaskGroup() as group:
            beats = [group.create_task(one.heartbeats("n1")), group.create_task(one.heartbeats("n2"))]
            await until(lambda: one.condition("n1") == one.condition("n2") == "True", "both nodes are ready")
            for name in ("web-1", "web-2"):
                await one.create(pod(name))
            await until(lambda: all(n.spec.pod_cidr for n in one.nodes.objects.values()), "both have ranges")
            assert len({n.spec.pod_cidr for n in one.nodes.objects.values()}) == 2
            await until(lambda: {p.spec.node_name for p in one.pods.objects.values()} == {"n1", "n2"}, "spread")
            await one.start_pod("web-1", "10.244.0.2")
            await one.start_pod("web-2", "10.244.1.2")
            await until(lambda: one.ready() == {"10.244.0.2", "10.244.1.2"}, "both pods are endpoints")

            picky = pod("picky")
            await one.create(
                msgspec.structs.replace(
                    picky, spec=PodSpec(node_selector={"disk": "ssd"}, containers=picky.spec.containers)
                )
            )
            await one.told("FailedScheduling", "picky")

            one.apiserver.kill()
            await one.apiserver.wait()
            await one.start_apiserver()
            await one.create(pod("web-3"))
            await until(
                lambda: one.pods.objects["default/web-3"].spec.node_name if "default/web-3" in one.pods.objects else "",
                "a pod is placed after the restart",
            )
            await one.start_pod("web-3", "10.244.0.3")
            await until(lambda: len(one.ready()) == 3, "and becomes an endpoint")
            slices = [s for s in one.slices.objects.values() if s.metadata.name.startswith("web")]
            assert len(slices) == 1

            dead = one.pods.objects["default/web-2"].spec.node_name
            beats[0 if dead == "n1" else 1].cancel()
            await until(lambda: one.condition(dead) == "Unknown", "a silent node is unknown")
            await until(lambda: "10.244.1.2" not in one.ready(), "its pods get no traffic")
            await one.api.delete(Node, dead)
            await until(lambda: "default/web-2" not in one.pods.objects, "pods of a deleted node go")
            for beat in beats:
                beat.cancel()

        async with httpx2.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"http://127.0.0.1:{one.health_port}/readyz")).text == "ok"
            measured = (await http.get(f"http://127.0.0.1:{one.health_port}/metrics")).text
        for name in (
            "adds_total",
            "retries_total",
            "depth",
            "queue_duration_seconds_count",
            "work_duration_seconds_sum",
        ):
            assert f'workqueue_{name}{{name="endpointslices"}}' in measured
        bundle = await one.api.get(ConfigMap, "kube-root-ca.crt", "default")
        assert (bundle.data or {})["ca.crt"] == config.load(str(one.kubeconfig)).ca_pem
        assert "BEGIN CERTIFICATE" in (bundle.data or {})["ca.crt"]
        assert (await one.api.get(ServiceAccount, "default", "default")).metadata.uid
        one.controllers.send_signal(signal.SIGTERM)
        assert await one.controllers.wait() == 0
        assert one.ready()


def test_controllers_and_apiserver_as_processes(tmp_path: Path) -> None:
    asyncio.run(walk(tmp_path))


async def refused(*args: str) -> tuple[int | None, str]:
    pipe = asyncio.subprocess.PIPE
    env = {**os.environ, "KUBECONFIG": ""}
    process = await asyncio.create_subprocess_exec(NETPLANE, "controllers", *args, stdout=pipe, stderr=pipe, env=env)
    _, err = await process.communicate()
    return process.returncode, err.decode()


def test_bad_flags_are_one_clear_error() -> None:
    code, text = asyncio.run(refused("--cluster-cidr", "10.244.0.0/16", "--node-cidr-mask-size", "8"))
    assert code == 2
    assert "--node-cidr-mask-size 8 does not divide --cluster-cidr 10.244.0.0/16" in text
    assert "Traceback" not in text
    code, text = asyncio.run(refused("--kubeconfig", "/nonexistent"))
    assert code == 2
    assert "/nonexistent: No such file" in text

"""Brings a lab up: wire, start, apply, wait; each stage told with the time it took."""

import asyncio
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from labs import called, probe, processes, requirements, state, wiring
from labs.topology import LABS_DIR, MAX_NODES, Lab, checked_name
from netplane.api.conditions import is_ready
from netplane.api.kinds import KINDS, Kind
from netplane.api.objects import Node, Pod, Service
from netplane.client import config
from netplane.client.api import Api
from netplane.client.errors import AlreadyExists, ApiError, Unreachable
from netplane.errors import NetplaneError, UsageError, reason

FIRST_WALK = Path(__file__).parent / "first_walk" / "manifests.yaml"
STAGE_TIMEOUT_S = 60.0


class Stage(msgspec.Struct, frozen=True):
    """One step of bringing a lab up: how long it took, and the time since the start."""

    name: str
    took_s: float
    at_s: float


class LabFailed(NetplaneError):
    """A lab that did not come up."""


Tell = Callable[[str, float | None], None]


class Bringup:
    """One run of `lab up`.

    Args:
        lab: the lab to make.
        manifests: YAML files applied once the apiserver answers.
        tell: called with (stage, None) when a stage begins and (stage, seconds) when it is done.
    """

    def __init__(self, lab: Lab, manifests: list[Path], tell: Tell) -> None:
        self.lab = lab
        self.objects = [obj for path in manifests for obj in read_manifests(path)]
        self.tell = tell
        self.stages: list[Stage] = []
        self._waiting: list[str] = []
        self._began = time.perf_counter()

    async def run(self) -> list[Stage]:
        """Bring it up.

        Raises:
            LabFailed: naming the stage, with the end of the log that should say why.
        """
        lab = self.lab
        await self._stage("wire", f"wire {lab.node_count} nodes", self._wire)
        await self._stage("apiserver", "start the apiserver", self._apiserver)
        async with Api(config.load(str(lab.kubeconfig))) as api:
            # Nodes first: pods applied before would all be bound to the node that is ready first.
            await self._stage("nodes", "nodes ready (podCIDR, agent, CNI)", lambda: self._nodes(api))
            await self._stage("apply", f"apply {len(self.objects)} objects", lambda: apply(api, self.objects))
            await self._stage("pods", "pods ready (scheduler, CNI ADD, process)", lambda: self._pods(api))
            if (service := first_answering(self.objects)) is not None:
                await self._stage("service", "the Service's ClusterIP answers", lambda: self._service(api, service))
        state.mark_complete(self.lab)
        return self.stages

    async def _stage(self, key: str, title: str, work: Callable[[], Awaitable[None]]) -> None:
        self.tell(title, None)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(STAGE_TIMEOUT_S):
                await work()
        except TimeoutError as error:
            raise LabFailed(
                f"lab {self.lab.name}: not done in {STAGE_TIMEOUT_S:.0f} s: {title}\n{self._why(key)}",
                hint=f"logs: {self.lab.logs}; take it down: {called.lab('down', self.lab.name)}",
            ) from error
        done = time.perf_counter()
        self.stages.append(Stage(key, done - began, done - self._began))
        self.tell(title, done - began)

    def _why(self, stage: str) -> str:
        if stage == "pods" and self._waiting:
            return "\n".join(f"  {line}" for line in self._waiting[:8])
        program = {"apiserver": "apiserver", "nodes": "agent-node-1", "pods": "kubelet"}.get(stage, "proxy-node-1")
        log = self.lab.logs / f"{program}.log"
        lines = log.read_text(errors="replace").splitlines()[-8:] if log.exists() else ["(no log)"]
        return "\n".join([f"  {program}:", *(f"    {line[:160]}" for line in lines)])

    async def _wire(self) -> None:
        state.save(self.lab)
        wiring.build(self.lab)

    async def _apiserver(self) -> None:
        processes.start(
            [sys.executable, "-m", "labs.supervisor", str(self.lab.folder)],
            lab_folder=self.lab.folder,
            log=self.lab.logs / "supervisor.log",
        )
        while not self.lab.kubeconfig.exists():
            await asyncio.sleep(0.01)
        async with Api(config.load(str(self.lab.kubeconfig))) as api:
            await until_ready(api)

    async def _nodes(self, api: Api) -> None:
        def ready(nodes: list[Node]) -> bool:
            return sum(is_ready(node) for node in nodes) >= self.lab.node_count

        await _until(lambda: api.list(Node), ready)

    async def _pods(self, api: Api) -> None:
        wanted = {_key(o) for o in self.objects if o["kind"] == "Pod"}

        def ready(pods: list[Pod]) -> bool:
            self._waiting = [line for pod in pods if pod.key in wanted and (line := why_not_ready(pod))]
            return wanted <= {pod.key for pod in pods if is_ready(pod)}

        await _until(lambda: api.list(Pod), ready)

    async def _service(self, api: Api, obj: dict[str, Any]) -> None:
        service = await api.get(Service, obj["metadata"]["name"], _namespace(obj))
        port = next(p.port for p in service.spec.ports or [] if p.protocol == "TCP")
        space = self.lab.nodes[0].netns
        while not await asyncio.to_thread(probe.connects, space, service.spec.cluster_ip, port):
            await asyncio.sleep(0.005)


def first_answering(objects: list[dict[str, Any]]) -> dict[str, Any] | None:
    """PURE: the first Service of the manifests that TCP connections can reach: it has an address, a port and a pod."""
    pods = [o["metadata"] | {"namespace": _namespace(o)} for o in objects if o["kind"] == "Pod"]
    for obj in objects:
        spec = obj.get("spec") or {}
        if obj["kind"] != "Service" or spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None":
            continue
        selector = spec.get("selector") or {}
        chosen = [
            p for p in pods if p["namespace"] == _namespace(obj) and selector.items() <= (p.get("labels") or {}).items()
        ]
        tcp = [port for port in spec.get("ports") or [] if port.get("protocol", "TCP") == "TCP"]
        if selector and chosen and tcp:
            return obj
    return None


def _namespace(obj: dict[str, Any]) -> str:
    return str(obj["metadata"].get("namespace") or "default")


def _key(obj: dict[str, Any]) -> str:
    return f"{_namespace(obj)}/{obj['metadata']['name']}"


def plan(name: str, node_count: int) -> Lab:
    """The lab that `up` would make, on a free port of root loopback.

    Raises:
        UsageError: for a name or a number of nodes that cannot be.
    """
    if not 1 <= node_count <= MAX_NODES:
        raise UsageError(f"--nodes {node_count} cannot be", hint=f"give 1 to {MAX_NODES}")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    return Lab(checked_name(name), node_count, port, sys.prefix)


def running(name: str) -> Lab | None:
    """The lab, if it came up wholly and its supervisor lives."""
    folder = LABS_DIR / checked_name(name)
    if not state.is_complete(folder) or supervisor_pid(folder) is None:
        return None
    return state.load(folder)


def supervisor_pid(folder: Path) -> int | None:
    """The living supervisor of the lab in a folder."""
    return next((pid for pid in processes.marked(folder) if "labs.supervisor" in _command_line(pid)), None)


async def up(name: str, node_count: int, manifests: list[Path], tell: Tell) -> tuple[Lab, list[Stage]]:
    """Make a lab; what a killed one of that name left is cleared first.

    Raises:
        NetplaneError: when the machine is unfit, a manifest is malformed, or a stage fails.
    """
    requirements.check()
    lab = plan(name, node_count)
    bringup = Bringup(lab, manifests, tell)
    if left := wiring.remove(name):
        tell(f"clear what a former lab left: {', '.join(left)}", 0.0)
    try:
        return lab, await bringup.run()
    except LabFailed:
        raise  # left as it is, for its logs; it does not count as up
    except BaseException:  # a mistake in a manifest, or Ctrl-C
        wiring.remove(name)
        raise


async def apply(api: Api, objects: list[dict[str, Any]]) -> None:
    """Create each object; one that exists is patched to be like it.

    Raises:
        UsageError: naming the object that the apiserver refuses, and why.
    """
    strict = {"fieldValidation": "Strict"}
    for obj in objects:
        kind = kind_of(obj)
        namespace = _namespace(obj) if kind.namespaced else ""
        try:
            try:
                await api.request("POST", kind.path(namespace), body=obj, params=strict)
            except AlreadyExists:
                path = kind.path(namespace, obj["metadata"]["name"])
                merge = "application/merge-patch+json"
                await api.request("PATCH", path, body=obj, content_type=merge, params=strict)
        except ApiError as error:
            if 400 <= error.code < 500:
                raise UsageError(f"{kind.kind} {obj['metadata']['name']}: {error.message}") from error
            raise


async def apply_to(lab: Lab, objects: list[dict[str, Any]]) -> None:
    """Apply objects to a lab that is up."""
    async with Api(config.load(str(lab.kubeconfig))) as api:
        await apply(api, objects)


def kind_of(obj: dict[str, Any]) -> Kind:
    """The registry's row for an object. Raises UsageError when labs serve no such kind."""
    for kind in KINDS:
        if (kind.api_version, kind.kind) == (obj.get("apiVersion"), obj.get("kind")):
            return kind
    served = ", ".join(sorted(kind.kind for kind in KINDS))
    raise UsageError(f"{obj.get('apiVersion')} {obj.get('kind')} is not served", hint=f"served kinds: {served}")


def read_manifests(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a YAML file, checked for what every object needs.

    Raises:
        UsageError: naming the file, the document and the field.
    """
    try:
        documents = list(yaml.safe_load_all(path.read_text()))
    except OSError as error:
        raise UsageError(f"manifest {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"manifest {path}: not YAML: {reason(error)}") from error
    for number, doc in enumerate(documents, 1):
        if doc is None:
            continue
        if not isinstance(doc, dict) or not isinstance(doc.get("metadata"), dict) or not doc["metadata"].get("name"):
            raise UsageError(f"manifest {path}, document {number}: field metadata.name: is needed")
        kind_of(doc)
        yield doc


async def until_ready(api: Api) -> None:
    """Wait until /readyz answers."""
    while True:
        try:
            await api.request("GET", "/readyz")
        except Unreachable:
            await asyncio.sleep(0.01)
        except ApiError:
            await asyncio.sleep(0.05)
        else:
            return


def why_not_ready(pod: Pod) -> str:
    """Why a pod is not ready, as far as its status tells; "" when it is."""
    if is_ready(pod):
        return ""
    statuses = (pod.status.container_statuses if pod.status else None) or []
    waits = [s["state"]["waiting"] for s in statuses if "waiting" in (s.get("state") or {})]
    told = "; ".join(" ".join(filter(None, (w.get("reason"), w.get("message")))) for w in waits)
    return f"pod {pod.key}: {told or ('not ready' if pod.spec.node_name else 'bound to no node')}"


async def _until(listing: Callable[[], Awaitable[Any]], enough: Callable[[Any], bool]) -> None:
    while not enough((await listing()).items):
        await asyncio.sleep(0.02)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""

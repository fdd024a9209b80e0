"""Asks a lab's Service from everywhere and says whether the answers are right."""

import msgspec

from labs import probe
from labs.topology import Lab, LabNode
from netplane.api.conditions import is_ready
from netplane.api.objects import Pod, Service
from netplane.client import config
from netplane.client.api import Api

ASKS = 100


class View(msgspec.Struct, frozen=True):
    """One place the Service was asked from, and through which frontend; `answers` counts them per pod."""

    origin: str
    frontend: str
    answers: probe.Answers


class PodRow(msgspec.Struct, frozen=True):
    """A pod as the API tells it."""

    name: str
    node: str
    address: str
    ready: bool
    backend: bool


class Report(msgspec.Struct, frozen=True):
    """What was seen. `problems` is empty when everything is as it should be."""

    lab: str
    kubeconfig: str
    service: str
    cluster_ip: str
    pods: list[PodRow]
    views: list[View]
    problems: list[str]


async def verify(lab: Lab, service_name: str = "web", asks: int = ASKS) -> Report:
    """Ask the Service `asks` times from a pod, a node and outside, over TCP (HTTP) and UDP."""
    async with Api(config.load(str(lab.kubeconfig))) as api:
        service = await api.get(Service, service_name, "default")
        pods = (await api.list(Pod, "default")).items
    rows = [_row(pod, service) for pod in pods]
    views = _ask_everywhere(lab, service, pods, asks)
    return Report(
        lab=lab.name,
        kubeconfig=str(lab.kubeconfig),
        service=service_name,
        cluster_ip=service.spec.cluster_ip,
        pods=sorted(rows, key=lambda row: row.name),
        views=views,
        problems=list(_problems(rows, views, asks)),
    )


def _row(pod: Pod, service: Service) -> PodRow:
    labels, selector = pod.metadata.labels or {}, service.spec.selector or {}
    return PodRow(
        name=pod.metadata.name,
        node=pod.spec.node_name,
        address=pod.status.pod_ip if pod.status else "",
        ready=is_ready(pod),
        backend=bool(selector) and all(labels.get(k) == v for k, v in selector.items()),
    )


def _ask_everywhere(lab: Lab, service: Service, pods: list[Pod], asks: int) -> list[View]:
    http = next(port for port in service.spec.ports or [] if port.protocol == "TCP")
    udp = next((port for port in service.spec.ports or [] if port.protocol == "UDP"), None)
    address = service.spec.cluster_ip
    views = []
    client = next((pod for pod in pods if pod.metadata.name == "client"), None)
    if client is not None:
        node = lab.node(client.spec.node_name)
        space = pod_netns(node, client)
        views.append(_view("pod client", space, "http", address, http.port, asks))
        if udp is not None:
            views.append(_view("pod client", space, "udp", address, udp.port, asks))
    first = lab.nodes[0]
    views.append(_view(first.name, first.netns, "http", address, http.port, asks))
    views += [_view("outside", lab.outside, "http", node.address, http.node_port, asks) for node in lab.nodes]
    return views


def pod_netns(node: LabNode, pod: Pod) -> str:
    """The name of a pod's namespace (its node's for a host-network pod)."""
    return node.netns if pod.spec.host_network else f"{node.netns}-pod-{pod.metadata.uid[:13]}"


def _view(origin: str, space: str, kind: str, address: str, port: int, asks: int) -> View:
    protocol = "UDP" if kind == "udp" else "TCP"
    return View(origin, f"{address}:{port}/{protocol}", probe.count(space, kind, address, port, asks))


def _problems(rows: list[PodRow], views: list[View], asks: int) -> list[str]:
    found = [f"pod {row.name} is not ready" for row in rows if not row.ready]
    backends = {row.name for row in rows if row.backend and row.ready}
    for view in views:
        where = f"{view.frontend} asked from {view.origin}"
        for reason, times in view.answers.failed.items():
            found.append(f"{where}: {times} of {asks} failed: {reason}")
        strangers = set(view.answers.by_pod) - backends
        if strangers:
            found.append(f"{where}: answered by {', '.join(sorted(strangers))}, which the Service does not select")
        # Of 5 endpoints a fair choice leaves one out in 100 asks with a probability of 5 * 0.8^100 = 1e-9.
        missing = backends - set(view.answers.by_pod)
        if missing and not view.answers.failed:
            found.append(f"{where}: never answered by {', '.join(sorted(missing))}")
    return found

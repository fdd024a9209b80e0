"""Looks at a lab: what its apiserver says, and whether its programs live."""

import msgspec

from labs import processes
from labs.cluster import supervisor_pid
from labs.supervisor import program_pids
from labs.topology import Lab
from labs.verify import pod_netns
from netplane.api.conditions import is_ready
from netplane.api.objects import Node, Pod, Service
from netplane.client import config
from netplane.client.api import Api
from netplane.errors import NetplaneError


class ProgramSeen(msgspec.Struct, frozen=True):
    """A program and whether it lives."""

    name: str
    pid: int
    alive: bool


class NodeSeen(msgspec.Struct, frozen=True):
    """A node as the API and the lab know it."""

    name: str
    ready: bool
    address: str
    pod_cidr: str
    netns: str


class PodSeen(msgspec.Struct, frozen=True):
    """A pod as the API and the lab know it."""

    namespace: str
    name: str
    phase: str
    ready: bool
    node: str
    address: str
    netns: str


class ServiceSeen(msgspec.Struct, frozen=True):
    """A Service as the API knows it. Ports are written `80:30080/TCP`."""

    namespace: str
    name: str
    type: str
    cluster_ip: str
    ports: list[str]


class Seen(msgspec.Struct, frozen=True):
    """A lab at one moment. `trouble` says why the API could not be asked."""

    lab: str
    kubeconfig: str
    programs: list[ProgramSeen]
    nodes: list[NodeSeen] = []
    pods: list[PodSeen] = []
    services: list[ServiceSeen] = []
    trouble: str = ""


async def look(lab: Lab) -> Seen:
    """What there is now; a dead apiserver leaves only the programs."""
    programs = [
        ProgramSeen(name, pid, alive=processes.start_time(pid) == started) for name, pid, started in program_pids(lab)
    ]
    supervisor = supervisor_pid(lab.folder)
    programs.append(ProgramSeen("supervisor", supervisor or 0, alive=supervisor is not None))
    seen = Seen(lab.name, str(lab.kubeconfig), programs)
    try:
        async with Api(config.load(str(lab.kubeconfig))) as api:
            nodes = (await api.list(Node)).items
            pods = (await api.list(Pod)).items
            services = (await api.list(Service)).items
    except NetplaneError as error:
        return msgspec.structs.replace(seen, trouble=str(error))
    return msgspec.structs.replace(
        seen,
        nodes=[_node(lab, node) for node in nodes],
        pods=[_pod(lab, pod) for pod in pods],
        services=[_service(service) for service in services],
    )


def _node(lab: Lab, node: Node) -> NodeSeen:
    addresses = (node.status.addresses if node.status else None) or []
    return NodeSeen(
        name=node.metadata.name,
        ready=is_ready(node),
        address=next((a.address for a in addresses if a.type == "InternalIP"), ""),
        pod_cidr=node.spec.pod_cidr,
        netns=next((n.netns for n in lab.nodes if n.name == node.metadata.name), ""),
    )


def _pod(lab: Lab, pod: Pod) -> PodSeen:
    phase = (pod.status.phase if pod.status else "") or "Pending"
    return PodSeen(
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        phase="Terminating" if pod.metadata.deletion_timestamp else phase,
        ready=is_ready(pod),
        node=pod.spec.node_name,
        address=pod.status.pod_ip if pod.status else "",
        netns=next((pod_netns(n, pod) for n in lab.nodes if n.name == pod.spec.node_name), ""),
    )


def _service(service: Service) -> ServiceSeen:
    ports = [f"{p.port}{f':{p.node_port}' if p.node_port else ''}/{p.protocol}" for p in service.spec.ports or []]
    return ServiceSeen(
        service.metadata.namespace, service.metadata.name, service.spec.type, service.spec.cluster_ip, ports
    )

"""What every cluster has: namespaces, roles, priorities, the Service `kubernetes` with its endpoints, kept true."""

from typing import Any

from netplane.api import errors, kinds
from netplane.api.kinds import Kind
from netplane.api.managed import entries as managed
from netplane.apiserver import cluster as cl
from netplane.apiserver import system_objects
from netplane.apiserver.access import bootstrap_rules
from netplane.apiserver.admission import ip_objects
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.peers import Peer
from netplane.apiserver.verbs import commit

Json = dict[str, Any]

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
NAME = "kubernetes"
MANAGER = "kube-apiserver"
_LABELS = {"component": "apiserver", "provider": "kubernetes"}


async def run(cluster: Cluster, port: int) -> None:
    """Make or repair all of it. `port` is where this apiserver listens."""
    for name in NAMESPACES:
        await ensure(cluster, kinds.NAMESPACE, "", {"metadata": {"name": name}}, ())
    await bootstrap_rules.reconcile(cluster)
    await _system(cluster)
    await ensure(cluster, kinds.SERVICE_CIDR, "", _service_cidr(cluster), ())
    await _ready(cluster)
    live = await cluster.peers.beat(port)
    await ensure(cluster, kinds.SERVICE, "default", _service(cluster, live[0].port), ("ports",), inside="spec")
    await ensure(cluster, kinds.ENDPOINTS, "default", _endpoints(live), ("subsets",))
    await ensure(cluster, kinds.ENDPOINT_SLICE, "default", _slice(cluster, live), ("endpoints", "ports"))
    await ip_objects.repair(cluster)


async def _system(cluster: Cluster) -> None:
    for one in system_objects.priority_classes():
        await ensure(cluster, kinds.PRIORITY_CLASS, "", one, ())
    ca = cluster.settings.clients_ca
    known = system_objects.authentication(ca if ca is not None and ca.exists() else None)
    await ensure(cluster, kinds.CONFIG_MAP, "kube-system", known, ("data",))
    await ensure(cluster, kinds.CONFIG_MAP, "kube-system", system_objects.tracking(), ())


async def ensure(
    cluster: Cluster, kind: Kind, namespace: str, want: Json, fields: tuple[str, ...], inside: str = ""
) -> None:
    """Create an object, or set these fields of the one that is there (in `inside`, if given)."""
    obj = {"kind": kind.kind, "apiVersion": kind.api_version, **want}
    if namespace:
        obj["metadata"] = {**obj["metadata"], "namespace": namespace}
    name = obj["metadata"]["name"]
    if await cluster.store.get(cl.key(kind, namespace, name)) is None:
        try:
            await commit.create(cluster, kind, namespace, obj, own=True, manager=MANAGER)
        except errors.StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        else:
            return
    if fields:
        await commit.change(
            cluster, kind, namespace, name, lambda have: _updated(have, obj, fields, inside), scope="all"
        )


def _updated(have: Json, want: Json, fields: tuple[str, ...], inside: str) -> Json:
    target, source = (have[inside], want[inside]) if inside else (have, want)
    for field in fields:
        target[field] = source[field]
    return have


def _service_cidr(cluster: Cluster) -> Json:
    return {"metadata": {"name": NAME}, "spec": {"cidrs": [str(network) for network in cluster.settings.networks]}}


async def _ready(cluster: Cluster) -> None:
    """The default ServiceCIDR is ready and, if the flag changed since, says the ranges that are served."""
    cidrs = [str(network) for network in cluster.settings.networks]

    ready = {
        "type": "Ready",
        "status": "True",
        "lastTransitionTime": cl.stamp(),
        "message": "Kubernetes default Service CIDR is ready",
    }
    said = {"metadata": {"name": NAME}, "status": {"conditions": [ready]}}
    writer = managed.Writer("kubernetes-service-cidr-controller", cl.stamp(), "status")

    def alter(have: Json) -> Json:
        if (have.get("status") or {}).get("conditions"):
            return {**have, "spec": {"cidrs": cidrs}}
        made = managed.apply(kinds.SERVICE_CIDR, have, said, writer, force=True)
        metadata = {**made.obj["metadata"], "managedFields": made.entries}
        made.obj["status"]["conditions"][0]["reason"] = ""
        return {**have, **made.obj, "metadata": metadata, "spec": {"cidrs": cidrs}}

    await commit.change(cluster, kinds.SERVICE_CIDR, "", NAME, alter, scope="all")


def _service(cluster: Cluster, port: int) -> Json:
    address = str(cluster.settings.service_ip)
    return {
        "metadata": {"name": NAME, "labels": dict(_LABELS)},
        "spec": {
            "clusterIP": address,
            "clusterIPs": [address],
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
    }


def _endpoints(live: list[Peer]) -> Json:
    return {
        "metadata": {"name": NAME, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [
            {
                "addresses": [{"ip": peer.address} for peer in live],
                "ports": [{"name": "https", "port": live[0].port, "protocol": "TCP"}],
            }
        ],
    }


def _slice(cluster: Cluster, live: list[Peer]) -> Json:
    address = cluster.settings.advertise
    return {
        "metadata": {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": f"IPv{address.version}",
        "endpoints": [{"addresses": [peer.address], "conditions": {"ready": True}} for peer in live],
        "ports": [{"name": "https", "port": live[0].port, "protocol": "TCP"}],
    }

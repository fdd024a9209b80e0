"""IPAddress objects: one for each ClusterIP, written and deleted in the transaction of the Service that has it.

The real server allocates by making these objects; here the pools allocate, and the objects tell of it. Objects that
somebody else made keep their address out of the pools.
"""

import asyncio
from typing import Any

import orjson

from netplane.api import kinds
from netplane.apiserver import cluster as cl
from netplane.apiserver.admission import port_keys
from netplane.store.protocol import Compare, Delete, Put

Json = dict[str, Any]
Op = Put | Delete

MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
ALLOCATOR = "ipallocator.k8s.io"
_FAMILY = "ipaddress.kubernetes.io/ip-family"
PREFIX = cl.prefix(kinds.IP_ADDRESS)
AT_ONCE = 100
_OWNED: Json = {
    "f:metadata": {"f:labels": {".": {}, f"f:{_FAMILY}": {}, f"f:{MANAGED_BY}": {}}},
    "f:spec": {"f:parentRef": {".": {}, "f:name": {}, "f:namespace": {}, "f:resource": {}}},
}


def addresses(service: Json | None) -> list[str]:
    """The ClusterIPs that a Service has."""
    ips = ((service or {}).get("spec") or {}).get("clusterIPs") or []
    return [ip for ip in ips if ip != "None"]


def changes(new: Json | None, old: Json | None) -> list[Op]:
    """What a Service's write does to IPAddresses: `new` None deletes it, `old` None makes it."""
    have, want = addresses(old), addresses(new)
    if have == want:
        return []
    ops: list[Op] = [Delete(PREFIX + ip) for ip in have if ip not in want]
    assert new is not None or not want
    return ops + [Put(PREFIX + ip, _object(ip, (new or {})["metadata"])) for ip in want if ip not in have]


def _object(ip: str, service: Json) -> bytes:
    now = cl.stamp()
    entry = {
        "manager": "kube-apiserver",
        "operation": "Update",
        "apiVersion": "networking.k8s.io/v1",
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": _OWNED,
    }
    metadata = {
        "name": ip,
        "uid": cl.new_uid(),
        "creationTimestamp": now,
        "labels": {_FAMILY: "IPv6" if ":" in ip else "IPv4", MANAGED_BY: ALLOCATOR},
        "managedFields": [entry],
    }
    parent = {"resource": "services", "namespace": service.get("namespace", ""), "name": service["name"]}
    return orjson.dumps({"metadata": metadata, "spec": {"parentRef": parent}})


def is_ours(obj: Json) -> bool:
    """Whether an IPAddress stands for a Service's allocation."""
    return bool((obj["metadata"].get("labels") or {}).get(MANAGED_BY) == ALLOCATOR)


async def repair(cluster: cl.Cluster) -> None:
    """An object for each address, and a key for each port, that a Service has; none for others.

    Each is a transaction of its own that compares what was judged: another apiserver may be at work.
    """
    store = cluster.store
    have = {kv.key: kv for prefix in (PREFIX, port_keys.PREFIX) for kv in (await store.range(prefix)).kvs}
    want: set[str] = set()
    for i, kv in enumerate((await store.range(cl.prefix(kinds.SERVICE))).kvs):
        if not i % AT_ONCE:
            await asyncio.sleep(0)  # this is done every few seconds: requests are answered between
        service = orjson.loads(kv.value)
        keys = [PREFIX + ip for ip in addresses(service)] + [port_keys.key(port) for port in port_keys.ports(service)]
        want.update(keys)
        if not all(key in have for key in keys):
            for op in (*changes(service, None), *port_keys.changes(service, None)):
                await store.txn([Compare(kv.key, kv.mod_rev), Compare(op.key, 0)], [op])
    for key, kv in have.items():
        stale = key not in want and (key.startswith(port_keys.PREFIX) or is_ours(cluster.decoded(kv)))
        if stale and (await store.txn([Compare(key, kv.mod_rev)], [Delete(key)])).succeeded:
            cluster.allocator.seen(key, held=False)

"""Seconds from starting `netplane apiserver` to its first /readyz, and what it takes in memory, with a full store.

The store holds 100,000 objects: Services with ClusterIPs and IPAddresses, EndpointSlices, Pods and ConfigMaps of
about a kilobyte, as an apiserver would have stored them. The files are warm, as after a restart.

    ./run bench apiserver_start [-o json] [--objects N]
"""

import argparse
import asyncio
import ipaddress
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from bench import _table
from netplane.store.etcd.store import EtcdStore
from netplane.store.protocol import Put, Store
from netplane.store.sqlite import SqliteStore
from tests.apiserver_process import Apiserver
from tests.etcd_process import Etcd

NETWORK = ipaddress.ip_network("10.96.0.0/16")


def metadata(name: str, **more: Any) -> dict[str, Any]:
    fields = {"f:metadata": {"f:labels": {".": {}, "f:app": {}, "f:tier": {}}}, "f:spec": {"f:x": {}}}
    owner = {"manager": "bench", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z"}
    return {
        "name": name,
        "namespace": "default",
        "uid": str(uuid.uuid4()),
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"app": name, "tier": "backend"},
        "managedFields": [{**owner, "fieldsType": "FieldsV1", "fieldsV1": fields}],
        **more,
    }


def objects(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Tenths: 1 Services, 1 IPAddresses, 2 EndpointSlices, 3 Pods, 3 ConfigMaps."""
    for i in range(count // 10):
        ip = str(NETWORK[300 + i])
        spec = {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "selector": {"app": f"s{i}"},
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}], "sessionAffinity": "None",
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}  # fmt: skip
        yield f"/registry/services/default/s{i}", {"metadata": metadata(f"s{i}"), "spec": spec, "status": {}}
        labels = {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}
        parent = {"parentRef": {"resource": "services", "namespace": "default", "name": f"s{i}"}}
        address = {"metadata": {**metadata(ip), "labels": labels}, "spec": parent}
        yield f"/registry/networking.k8s.io/ipaddresses/{ip}", address
        for j in range(2):
            endpoint = {"addresses": [f"10.{j}.{i // 250 % 250}.{i % 250 + 1}"], "conditions": {"ready": True}}
            endpoints = [endpoint | {"nodeName": f"node-{n}"} for n in range(5)]
            ports = [{"port": 8080, "protocol": "TCP"}]
            slice_ = {"metadata": metadata(f"s{i}-{j}"), "addressType": "IPv4", "endpoints": endpoints, "ports": ports}
            yield f"/registry/discovery.k8s.io/endpointslices/default/s{i}-{j}", slice_
        for j in range(3):
            containers = [
                {"name": "main", "image": "registry.example/app:1", "env": [{"name": "N", "value": "x" * 200}]}
            ]
            pod = {"metadata": metadata(f"p{i}-{j}"), "spec": {"containers": containers, "nodeName": f"node-{j}"}}
            yield f"/registry/pods/default/p{i}-{j}", {**pod, "status": {"phase": "Running", "podIP": "10.0.0.1"}}
            yield (
                f"/registry/configmaps/default/c{i}-{j}",
                {"metadata": metadata(f"c{i}-{j}"), "data": {"a": "x" * 600}},
            )


async def fill(store: Store, count: int) -> None:
    """Write them, and close the store."""
    puts = [Put(key, orjson.dumps(value)) for key, value in objects(count)]
    for first in range(0, len(puts), 800):
        some = range(first, min(first + 800, len(puts)), 100)
        await asyncio.gather(*(store.txn([], puts[at : at + 100]) for at in some))
    await store.close()


def start(folder: Path, *flags: str) -> dict[str, Any]:
    """Start, ask, stop."""
    server = Apiserver(folder, *flags)
    begin = time.perf_counter()
    server.start()
    ready_s = time.perf_counter() - begin
    rss_mib = server.rss_mib
    with server.client() as client:
        pods = client.get("/api/v1/pods?limit=1").json()
        begin = time.perf_counter()
        client.get("/api/v1/services")
        first_s = time.perf_counter() - begin
    server.terminate()
    return {
        "ready, s": round(ready_s, 2),
        "list Services, s": round(first_s, 2),
        "RSS MiB": rss_mib,
        "Pods": pods["metadata"].get("remainingItemCount", -1) + 1,
    }


async def prepare(folder: Path, etcd: Etcd, count: int) -> None:
    (folder / "sqlite" / "data").mkdir(parents=True)
    (folder / "etcd-server").mkdir()
    await fill(await SqliteStore.open(folder / "sqlite" / "data" / "state.db"), count)
    await fill(await EtcdStore.open([etcd.url]), count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    parser.add_argument("--objects", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Etcd(Path(name) / "etcd") as etcd:
        folder = Path(name)
        asyncio.run(prepare(folder, etcd, options.objects))
        flags = ("--storage", "etcd", "--etcd-servers", etcd.url)
        (folder / "empty").mkdir()
        rows = [
            {"store": "SQLite, empty", **start(folder / "empty")},
            {"store": f"SQLite, {options.objects:,} objects", **start(folder / "sqlite")},
            {"store": f"etcd, {options.objects:,} objects", **start(folder / "etcd-server", *flags)},
        ]
    _table.show("Start of the apiserver", rows, as_json=options.output == "json")


if __name__ == "__main__":
    main()

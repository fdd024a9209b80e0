"""Reads kube-proxy's tables of change trackers and health checks, for the tests that replay them."""

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from netplane.api.objects import EndpointSlice
from netplane.nft.types import IPV4, PROTOCOLS
from proxy.plan import slices
from proxy.plan.changes import Tracker
from proxy.plan.model import LOCAL, READY, SERVING, TERMINATING
from proxy.plan.slices import Slice

TABLES = Path(__file__).parents[1] / ".." / "shared" / "facts" / "tables"
NODE = "test-hostname"
Endpoints = Mapping[tuple[str, int], Iterable[Any]]


def table(name: str, prefix: str) -> dict[str, Any]:
    found = json.loads((TABLES / f"{name}.json").read_text())
    return {key.removeprefix(f"{prefix}_test.go:"): value for key, value in found.items()}


def make_slice(
    service: str, name: str, endpoints: list[dict[str, Any]], ports: list[dict[str, Any]], kind: str = "IPv4"
) -> EndpointSlice:
    namespace, _, short = service.partition("/")
    labels = {"kubernetes.io/service-name": short}
    said = {
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "addressType": kind,
        "endpoints": endpoints,
        "ports": ports,
    }
    return msgspec.convert(said, EndpointSlice)


def generated(call: Any, *, kind: str = "IPv4") -> EndpointSlice:
    """The tables' generateEndpointSlice(service, namespace, n[, offset], count, unready mod, terminating mod, …)."""
    args = list(call["args"])
    if call["call"] == "generateEndpointSlice":
        args.insert(3, args[2])
    name, namespace, number, offset, count, unready, terminating, hosts, ports = args
    endpoints = []
    for i in range(1, count + 1):
        serving, leaving = i % unready != 0, i % terminating == 0
        conditions = {"ready": serving and not leaving, "serving": serving, "terminating": leaving}
        endpoint = {"addresses": [f"10.0.{offset}.{i}"], "conditions": conditions}
        endpoints.append({**endpoint, "nodeName": hosts[i % len(hosts)]} if hosts else endpoint)
    listed = [{"name": f"port-{i}", "port": port, "protocol": "TCP"} for i, port in enumerate(ports)]
    return make_slice(f"{namespace}/{name}", f"{name}-{number}", endpoints, listed, kind)


def flags(row: Mapping[str, Any]) -> int:
    return (
        (READY if row["ready"] else 0)
        | (SERVING if row["serving"] else 0)
        | (TERMINATING if row["terminating"] else 0)
        | (LOCAL if row.get("isLocal") else 0)
    )


def service_port(key: str) -> tuple[str, str, int]:
    """`map[args:[ns1 svc1 port-0 ProtocolTCP] call:makeServicePortName]` → (ns1/svc1, port-0, 6)."""
    namespace, name, port, protocol = re.search(r"args:\[(\S+) (\S+) (\S*) Protocol(\w+)\]", key).groups()  # type: ignore[union-attr]  # or fail
    return f"{namespace}/{name}", port, PROTOCOLS[protocol.lower()]


def wanted(said: Mapping[str, Any] | None) -> dict[tuple[str, str, int], set[tuple[str, int]]]:
    found = {}
    for key, rows in (said or {}).items():
        if key.startswith("map["):
            listed = [r for r in rows.values() if isinstance(r, dict)] if isinstance(rows, dict) else rows
            found[service_port(key)] = {(row["endpoint"], flags(row)) for row in listed}
    return found


def shown(service: str, merged: Endpoints) -> dict[tuple[str, str, int], set[tuple[str, int]]]:
    def text(data: bytes) -> str:
        return f"{ipaddress.ip_address(data[:4])}:{int.from_bytes(data[4:6], 'big')}"

    return {
        (service, name, protocol): {(text(endpoint.data), endpoint.flags) for endpoint in found}
        for (name, protocol), found in merged.items()
    }


def state(tracker: Tracker, keys: Iterable[str]) -> dict[tuple[str, str, int], set[tuple[str, int]]]:
    found: dict[tuple[str, str, int], set[tuple[str, int]]] = {}
    for key in keys:
        found.update(shown(key, slices.merge(tracker.slices(key), IPV4)))
    return {key: rows for key, rows in found.items() if rows}


class Watched:
    """A tracker that is fed as an informer feeds it."""

    def __init__(self, node: str = NODE) -> None:
        self.tracker = Tracker()
        self._node = node
        self._held: dict[str, Slice] = {}

    def put(self, item: EndpointSlice) -> bool:
        old, new = self._held.get(item.key), slices.read(item, self._node)
        if new is not None:
            self._held[item.key] = new
        return self.tracker.slice_changed(old, new)

    def delete(self, item: EndpointSlice) -> bool:
        return self.tracker.slice_changed(self._held.pop(item.key, None), None)


def named(found: Any) -> Any:
    cases = (
        {name: row for name, row in found.items() if isinstance(row, dict)}
        if isinstance(found, dict)
        else {row["name"]: row for row in found}
    )
    return pytest.mark.parametrize("row", list(cases.values()), ids=list(cases))

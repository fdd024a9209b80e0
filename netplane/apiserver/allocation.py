"""ClusterIPs and node ports: taken with the Service that needs them, given back when it goes or its write fails."""

import ipaddress
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import orjson

from netplane.api import errors, fields, kinds
from netplane.api.kinds import Kind
from netplane.apiserver import cluster as cl
from netplane.apiserver.settings import Settings
from netplane.store.protocol import Store

Json = dict[str, Any]


class Claim:
    """What one write took. Unless kept, it is given back."""

    def __init__(self) -> None:
        self.kept = False
        self.taken: list[tuple[set[Any], Any]] = []

    def keep(self) -> None:
        """The write happened."""
        self.kept = True


class Allocator:
    """Addresses and ports in use, rebuilt from the store at start."""

    def __init__(self, settings: Settings) -> None:
        self._network = settings.networks[0]
        self._range = settings.node_ports
        self._addresses: set[str] = set()
        self._ports: set[int] = set()

    @classmethod
    async def load(cls, store: Store, settings: Settings) -> Self:
        """The allocator of a store."""
        self = cls(settings)
        for kv in (await store.range(cl.prefix(kinds.SERVICE))).kvs:
            spec = orjson.loads(kv.value).get("spec", {})
            self._addresses |= set(spec.get("clusterIPs") or ()) - {"None"}
            self._ports |= {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
        return self

    def before_validation(self, kind: Kind, obj: Json) -> None:
        """Nothing yet."""

    @contextmanager
    def claim(self, kind: Kind, obj: Json, old: Json | None, *, dry_run: bool) -> Iterator[Claim]:
        """Take what the Service needs."""
        claim = Claim()
        try:
            if kind is kinds.SERVICE:
                self._take(obj, old, claim)
            yield claim
        finally:
            if not claim.kept or dry_run:
                for pool, value in claim.taken:
                    pool.discard(value)

    def _take(self, obj: Json, old: Json | None, claim: Claim) -> None:
        spec, before = obj["spec"], (old or {}).get("spec", {})
        if spec.get("type") == "ExternalName":
            return
        if not spec.get("clusterIP"):
            spec["clusterIP"] = before.get("clusterIP") or self._free_address()
        spec["clusterIPs"] = [spec["clusterIP"]]
        spec.setdefault("ipFamilies", [f"IPv{self._network.version}"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if spec["clusterIP"] != "None" and spec["clusterIP"] != before.get("clusterIP"):
            self._add(self._addresses, spec["clusterIP"], obj, claim, "spec.clusterIPs")
        if spec.get("type") not in ("NodePort", "LoadBalancer"):
            return
        had = {port.get("nodePort") for port in before.get("ports") or ()}
        for i, port in enumerate(spec.get("ports") or ()):
            same = [one.get("nodePort") for one in before.get("ports") or () if one.get("port") == port.get("port")]
            port["nodePort"] = port.get("nodePort") or next(iter(same), 0) or self._free_port()
            if port["nodePort"] not in had:
                self._add(self._ports, port["nodePort"], obj, claim, f"spec.ports[{i}].nodePort")

    def _add(self, pool: set[Any], value: Any, obj: Json, claim: Claim, field: str) -> None:
        if value in pool:
            problem = fields.invalid(field, value, "provided port is already allocated")
            raise errors.invalid("", "Service", obj["metadata"]["name"], [problem])
        pool.add(value)
        claim.taken.append((pool, value))

    def _free_address(self) -> str:
        while True:
            offset = random.randrange(2, self._network.num_addresses - 1)
            address = str(ipaddress.ip_address(int(self._network.network_address) + offset))
            if address not in self._addresses:
                return address

    def _free_port(self) -> int:
        while True:
            port = random.randint(self._range.first, self._range.last)
            if port not in self._ports:
                return port

    def released(self, kind: Kind, obj: Json) -> None:
        """A Service is gone."""
        if kind is kinds.SERVICE:
            self._addresses -= set(obj["spec"].get("clusterIPs") or ())
            self._ports -= {port.get("nodePort") for port in obj["spec"].get("ports") or ()}

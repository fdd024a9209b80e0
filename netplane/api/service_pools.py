"""Allocation for Services: takes addresses and ports out of the pools, and knows how to put them back.

A claim is made before the write. When the write succeeded, `keep` gives back what only the old object had; when it did
not (or was a dry run), `give_back` undoes the claim. So the pools always hold exactly what stored Services have, plus
the claims under way. Wording: kube-apiserver 1.36.
"""

import contextlib
import ipaddress
from collections.abc import Sequence
from typing import Any

from netplane.api import services
from netplane.api.errors import StatusError, internal
from netplane.api.errors import invalid as invalid_object
from netplane.api.fields import FieldError, invalid
from netplane.api.validation.service import needs_health_check
from netplane.net.bitmap import Addresses, AllocationError, Full, Ports

Json = dict[str, Any]


class Claim:
    """What one write took, and what it will no longer need."""

    def __init__(self) -> None:
        self._taken: list[tuple[Addresses | Ports, Any]] = []
        self._unneeded: list[tuple[Addresses | Ports, Any]] = []

    def took(self, pool: Addresses | Ports, value: Any) -> None:
        """Remember, to give it back if the write fails."""
        self._taken.append((pool, value))

    def unneeded(self, pool: Addresses | Ports, value: Any) -> None:
        """Remember, to give it back when the write succeeded."""
        self._unneeded.append((pool, value))

    def lost(self, value: str) -> None:
        """Another process has this address or port: it stays out of the pool."""
        self._taken = [held for held in self._taken if str(held[1]) != value]

    def keep(self) -> None:
        """The write happened."""
        self._release(self._unneeded)

    def give_back(self) -> None:
        """The write did not happen."""
        self._release(self._taken)

    def _release(self, held: list[tuple[Addresses | Ports, Any]]) -> None:
        for pool, value in held:
            pool.release(value)
        self._taken, self._unneeded = [], []


class ServicePools:
    """The pools of a cluster: one of addresses per family (the first is the default), one of node ports."""

    def __init__(self, addresses: Sequence[Addresses], ports: Ports) -> None:
        self._addresses = {f"IPv{pool.network.version}": pool for pool in addresses}
        self._ports = ports
        self.families = tuple(self._addresses)

    def adopt(self, obj: Json) -> None:
        """Take over what a stored Service has (at start); what is foreign or twice taken is left alone."""
        for pool, value in self._held(obj.get("spec") or {}):
            if value not in pool:
                try:
                    pool.take(value)
                except AllocationError:
                    continue  # of an earlier range

    def release(self, obj: Json) -> None:
        """A Service is gone."""
        for pool, value in self._held(obj.get("spec") or {}):
            pool.release(value)

    def reserve(self, ip: str) -> Claim:
        """Keep an address that is nobody's Service's out of the pool; one that is taken or of no range is let be."""
        claim = Claim()
        address = ipaddress.ip_address(ip)
        pool = self._addresses.get(f"IPv{address.version}")
        if pool is not None and address not in pool:
            with contextlib.suppress(AllocationError):
                pool.take(address)
                claim.took(pool, address)
        return claim

    def free(self, ip: str) -> None:
        """Take a reserved address back."""
        address = ipaddress.ip_address(ip)
        if pool := self._addresses.get(f"IPv{address.version}"):
            pool.release(address)

    def reserve_port(self, number: int) -> None:
        """Keep a node port out of the pool: another process gave it to a Service."""
        if number not in self._ports:
            with contextlib.suppress(AllocationError):
                self._ports.take(number)

    def free_port(self, number: int) -> None:
        """Take a reserved port back."""
        self._ports.release(number)

    def _held(self, spec: Json) -> set[tuple[Addresses | Ports, Any]]:
        ips = [ipaddress.ip_address(ip) for ip in spec.get("clusterIPs") or () if ip != "None"]
        numbers = [port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")]
        numbers += [spec["healthCheckNodePort"]] if spec.get("healthCheckNodePort") else []
        held: set[tuple[Addresses | Ports, Any]] = {(self._ports, number) for number in numbers}
        return held | {(self._addresses[f"IPv{ip.version}"], ip) for ip in ips if f"IPv{ip.version}" in self._addresses}

    def claim(self, obj: Json, old: Json | None) -> Claim:
        """Fill in everything allocated, in place. Families must be settled; the object must be valid otherwise.

        Raises StatusError 422 (taken, out of range) or 500 (nothing left); then nothing is taken.
        """
        claim = Claim()
        spec = obj.get("spec") or {}
        had = self._held((old or {}).get("spec") or {})
        try:
            errors = [*self._take_addresses(spec, had, claim), *self._take_ports(spec, had, claim)]
            errors += self._take_health_port(spec, had, claim)
            if errors:
                raise invalid_object("", "Service", (obj.get("metadata") or {}).get("name", ""), errors)
        except StatusError:
            claim.give_back()
            raise
        for pool, value in had - self._held(spec):
            claim.unneeded(pool, value)
        return claim

    def _take_addresses(self, spec: Json, had: set[tuple[Any, Any]], claim: Claim) -> list[FieldError]:
        ips = list(spec.get("clusterIPs") or ())
        if not services.needs_cluster_ip(spec) or ips == ["None"]:
            return []
        families = spec.get("ipFamilies") or list(self.families[:1])
        ips += [""] * (len(families) - len(ips))
        got: list[str] = []
        for family, ip in zip(families, ips, strict=False):
            pool = self._addresses[family]
            try:
                got.append(ip if ip and (pool, ipaddress.ip_address(ip)) in had else self._address(pool, ip, claim))
            except AllocationError as error:
                return [
                    invalid("spec.clusterIPs", ips, f"failed to allocate IP{' ' if ip else ''}{ip}: {error.message}")
                ]
        spec["clusterIP"], spec["clusterIPs"] = got[0], got
        return []

    def _address(self, pool: Addresses, ip: str, claim: Claim) -> str:
        if ip:
            address = ipaddress.ip_address(ip)
            pool.take(address)
        else:
            address = pool.pick()
        claim.took(pool, address)
        return str(address)

    def _take_ports(self, spec: Json, had: set[tuple[Any, Any]], claim: Claim) -> list[FieldError]:
        if not services.needs_node_ports(spec):
            return []
        errors: list[FieldError] = []
        ports = spec.get("ports") or []
        ours = {number for pool, number in had if pool is self._ports}
        # TCP and UDP of one port number share a node port: the same number asked for, or picked, before.
        by_port = {port["port"]: port["nodePort"] for port in reversed(ports) if port.get("nodePort")}
        for i, port in enumerate(ports):
            number = port.get("nodePort") or by_port.get(port["port"], 0)
            if not number and not services.allocates_node_ports(spec):
                continue
            try:
                if number not in ours:
                    number = self._port(number, claim)
            except Full as error:
                raise internal(f"failed to allocate a nodePort: {error.message}") from error
            except AllocationError as error:
                errors.append(invalid(f"spec.ports[{i}].nodePort", number, error.message))
                continue
            ours.add(number)
            port["nodePort"] = by_port[port["port"]] = number
        return errors

    def _port(self, number: int, claim: Claim) -> int:
        if number:
            self._ports.take(number)
        else:
            number = self._ports.pick()
        claim.took(self._ports, number)
        return number

    def _take_health_port(self, spec: Json, had: set[tuple[Any, Any]], claim: Claim) -> list[FieldError]:
        number = spec.get("healthCheckNodePort") or 0
        if not needs_health_check(spec) or (self._ports, number) in had:
            return []
        try:
            spec["healthCheckNodePort"] = self._port(number, claim)
        except Full as error:
            raise internal(f"failed to allocate a HealthCheck NodePort: {error.message}") from error
        except AllocationError as error:
            why = f"failed to allocate requested HealthCheck NodePort {number}: {error.message}"
            return [invalid("spec.healthCheckNodePort", number, why)]
        return []

"""The pools that Services' addresses and ports are taken from, and what one write takes of them.

A claim is made before the write. When the write succeeded, `keep` gives back what only the old object had; when it did
not, `give_back` undoes the claim. So the pools always hold exactly what stored Services have, plus the claims under
way. A dry run takes nothing: it is told numbers that look right. What is taken when: netplane.api.service_claims.
"""

import contextlib
import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from netplane.api.errors import StatusError
from netplane.api.service_claims import Taking
from netplane.net.bitmap import Addresses, AllocationError, Ports, Taken

Json = dict[str, Any]

DRY_PORT = 32_768
"""A dry run's first port comes after it."""


class Claim:
    """What one write took, and what it will no longer need."""

    def __init__(self) -> None:
        self._taken: list[tuple[Addresses | Ports, Any]] = []
        self._unneeded: list[tuple[Addresses | Ports, Any]] = []

    def took(self, pool: Addresses | Ports, value: Any) -> None:
        """Remember, to give it back if the write fails."""
        self._taken.append((pool, value))

    def unneeded(self, held: Iterable[tuple[Addresses | Ports, Any]]) -> None:
        """Remember, to give it back when the write succeeded."""
        self._unneeded = list(held)

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


class _Taking:
    """A pool whose values go to a claim."""

    def __init__(self, pool: Addresses | Ports, claim: Claim) -> None:
        self._pool, self._claim = pool, claim

    def take(self, value: Any) -> None:
        """Take this one. Raises AllocationError."""
        self._pool.take(value)
        self._claim.took(self._pool, value)

    def pick(self) -> Any:
        """Take any. Raises Full."""
        value = self._pool.pick()
        self._claim.took(self._pool, value)
        return value


class _DryAddresses:
    """What a dry run is told of addresses: any of the range is free, and one that is picked is the network's own."""

    def __init__(self, pool: Addresses) -> None:
        self._pool = pool

    def take(self, value: Any) -> None:
        """Raises OutOfRange."""
        if not self._pool.holds(value):
            raise self._pool.out_of_range(value)

    def pick(self) -> Any:
        """Nobody's address."""
        return self._pool.network.network_address


class _DryPorts:
    """What a dry run is told of ports: those that are picked lie above the usual range, one after the other."""

    def __init__(self, pool: Ports) -> None:
        self._pool = pool
        self._taken: list[int] = []

    def take(self, value: int) -> None:
        """Raises Taken."""
        if value in self._pool or value in self._taken:
            raise Taken("provided port is already allocated")
        self._taken.append(value)

    def pick(self) -> int:
        """The next one."""
        value = max(self._taken, default=DRY_PORT) + 1
        self._taken.append(value)
        return value


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

    def claim(self, obj: Json, old: Json | None, *, dry_run: bool = False) -> Claim:
        """Fill in everything allocated, in place. Families must be settled; the rest is not known to be valid yet.

        Raises StatusError 422 (taken, out of range) or 500 (nothing left); then nothing is taken.
        """
        claim = Claim()
        taking = Taking((obj.get("metadata") or {}).get("name") or "", *self._doors(claim, dry_run), dry_run=dry_run)
        try:
            if old is None:
                taking.create(obj["spec"])
            else:
                taking.change(obj["spec"], old.get("spec") or {})
        except StatusError:
            claim.give_back()
            raise
        return claim

    def _doors(self, claim: Claim, dry_run: bool) -> tuple[dict[str, Any], Any]:
        if dry_run:
            return {family: _DryAddresses(pool) for family, pool in self._addresses.items()}, _DryPorts(self._ports)
        doors = {family: _Taking(pool, claim) for family, pool in self._addresses.items()}
        return doors, _Taking(self._ports, claim)

    def settle(self, claim: Claim, obj: Json, old: Json | None) -> None:
        """The object is as it will be stored: what only `old` had is not needed when it is."""
        claim.unneeded(self._held((old or {}).get("spec") or {}) - self._held(obj.get("spec") or {}))

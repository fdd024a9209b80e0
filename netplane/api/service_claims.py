"""Which addresses and ports a Service takes, when it is made and when it changes (pure but for the pools it is given).

    addresses   one for each family; of a change only what is new: of no type ExternalName any more, a second family
    node ports  TCP and UDP of one port number share one, when the Service is made; asked for or picked
    health      the port that balancers ask, for external traffic to local endpoints

Nothing here is known to be valid but addresses and families: the rest is validated when all numbers are there, as the
real server does, so that the first thing that cannot be had is all that its client hears of.
Source: the allocation of pkg/registry/core/service (release 1.36).
"""

import ipaddress
from collections.abc import Mapping
from typing import Any, Protocol

from netplane.api import services
from netplane.api.errors import StatusError, internal, unknown
from netplane.api.errors import invalid as invalid_object
from netplane.api.fields import invalid
from netplane.api.validation import meta, service_ips
from netplane.api.validation.service import needs_health_check
from netplane.net.bitmap import AllocationError, Full

Json = dict[str, Any]


class Door(Protocol):
    """A pool, or what a dry run is told of it."""

    def take(self, value: Any) -> None:
        """Take this one. Raises AllocationError."""

    def pick(self) -> Any:
        """Take any. Raises Full."""


class Taking:
    """One write of one Service. `addresses` are the doors by family."""

    def __init__(self, name: str, addresses: Mapping[str, Door], ports: Door, *, dry_run: bool) -> None:
        self._name, self._addresses, self._ports, self._dry = name, addresses, ports, dry_run

    def create(self, spec: Json) -> None:
        """Fill in what a new Service gets. Raises StatusError 422, 500."""
        self._all_addresses(spec)
        if services.needs_node_ports(spec):
            self._new_node_ports(spec)
        if needs_health_check(spec):
            self._health_port(spec)

    def change(self, spec: Json, old: Json) -> None:
        """Fill in what a changed Service gets beyond what it had. Raises StatusError 422, 500."""
        if not services.still_prefers_dual(spec, old):
            self._more_addresses(spec, old)
        if services.needs_node_ports(spec):
            self._more_node_ports(spec, old)
        if needs_health_check(spec) and not needs_health_check(old):
            self._health_port(spec)

    def _more_addresses(self, spec: Json, old: Json) -> None:
        if not services.needs_cluster_ip(old):
            self._all_addresses(spec)
        elif services.needs_cluster_ip(spec) and not service_ips.headless(old) and not service_ips.headless(spec):
            families = spec.get("ipFamilies") or []
            if (len(old.get("ipFamilies") or ()), len(families)) == (1, 2):
                ips = [*(spec.get("clusterIPs") or ()), ""][:2]
                spec["clusterIPs"] = [ips[0], self._address(families[1], ips[1], ips)]

    def _all_addresses(self, spec: Json) -> None:
        given = spec.get("clusterIPs") or []
        if not services.needs_cluster_ip(spec) or given[:1] == ["None"]:
            return
        families = spec.get("ipFamilies") or []
        ips = [*given, *[""] * (len(families) - len(given))]
        got = [self._address(family, ip, ips) for family, ip in zip(families, ips, strict=False)]
        spec["clusterIP"], spec["clusterIPs"] = got[0], got

    def _address(self, family: str, ip: str, ips: list[str]) -> str:
        door = self._addresses[family]
        try:
            if ip:
                door.take(ipaddress.ip_address(ip))
            got = ip or str(door.pick())
            self._check_owner(got)
        except Full as error:
            raise internal(f'failed to allocate a serviceIP for Service "{self._name}": {error.message}') from error
        except AllocationError as error:
            what = f"IP {ip}" if ip else "IP"
            raise self._refused("spec.clusterIPs", ips, f"failed to allocate {what}: {error.message}") from error
        return got

    def _check_owner(self, ip: str) -> None:
        """An address names its Service, so a Service whose name names nothing gets none."""
        problems = [] if self._dry else meta.path_segment(self._name, "spec.parentRef.name")
        if problems:
            raise AllocationError(invalid_object("networking.k8s.io", "IPAddress", ip, problems).message)

    def _refused(self, field: str, value: Any, why: str) -> StatusError:
        return invalid_object("", "Service", self._name, [invalid(field, value, why)])

    def _new_node_ports(self, spec: Json) -> None:
        ports = spec.get("ports") or []
        asked = {port.get("port"): port["nodePort"] for port in reversed(ports) if port.get("nodePort")}
        shared: dict[int, int] = {}
        for i, port in enumerate(ports):
            number = port.get("nodePort") or 0
            if not number and not services.allocates_node_ports(spec):
                continue
            key = port.get("port") or 0
            if key not in shared:
                wanted = asked.get(port.get("port"), 0)
                port["nodePort"] = shared[key] = self._node_port(i, wanted)
            elif not number:
                port["nodePort"] = shared[key]
            elif number != shared[key]:
                self._node_port(i, number)

    def _node_port(self, i: int, number: int) -> int:
        """Port i's node port: this one, or any if it is 0."""
        try:
            if number:
                self._ports.take(number)
            return number or int(self._ports.pick())
        except Full as error:
            raise internal(f"failed to allocate a nodePort: {error.message}") from error
        except AllocationError as error:
            raise self._refused(f"spec.ports[{i}].nodePort", number, error.message) from error

    def _more_node_ports(self, spec: Json, old: Json) -> None:
        held = {port["nodePort"] for port in old.get("ports") or () if port.get("nodePort")}
        seen: set[tuple[str, int]] = set()
        for i, port in enumerate(spec.get("ports") or ()):
            number = port.get("nodePort") or 0
            if not number and not services.allocates_node_ports(spec):
                continue
            if number not in held:
                number = port["nodePort"] = self._node_port(i, number)
                held.add(number)
            pair = (port.get("protocol") or "", number)
            if pair in seen:
                raise unknown(f"duplicate nodePort: {{{pair[0]} {pair[1]}}}")
            seen.add(pair)

    def _health_port(self, spec: Json) -> None:
        number = spec.get("healthCheckNodePort") or 0
        try:
            if number:
                self._ports.take(number)
            else:
                spec["healthCheckNodePort"] = self._ports.pick()
        except AllocationError as error:
            what = f"requested HealthCheck NodePort {number}" if number else f"a HealthCheck NodePort {number}"
            raise internal(f"failed to allocate {what}: {error.message}") from error

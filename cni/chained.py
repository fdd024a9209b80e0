"""Plugins that come after another one and work on what it made: `netplane-portmap`, `netplane-bandwidth`.

They know a pod by prevResult alone: its addresses, and through the node's routes the interface that leads to it.
"""

from collections.abc import Sequence

from cni import results
from cni.doors import Doors
from cni.errors import CniError, Code
from cni.hostports import HostPorts
from cni.leases import Leases
from cni.plan import hostports
from cni.plan.lease import Key
from cni.protocol import Call, Verb
from cni.shaping import Shaper
from netplane.obs import logs
from netplane.rtnl import Interface, Link, Veth

log = logs.get("cni.chained")


class PortMap:
    """Host ports for pods that any plugin connected; takes the reference portmap's configuration.

    Args:
        leases: where the ports are remembered.
        ports: opens and closes them.
        doors: to the node's routes.
    """

    def __init__(self, leases: Leases, ports: HostPorts, doors: Doors) -> None:
        self._leases = leases
        self._ports = ports
        self._doors = doors

    def run(self, call: Call) -> bytes:
        """One verb; returns what is printed."""
        match call.verb:
            case Verb.ADD:
                return self._add(call)
            case Verb.DEL:
                self.close(call.key)
            case Verb.CHECK:
                previous(call)
                self._ports.check(self._leases.ports(call.key))
            case Verb.GC:
                self._collect(call)
            case _:
                pass
        return b""

    def take(self, call: Call, pod: Sequence[Interface], dev: str) -> None:
        """Open what the call asks for, all or nothing.

        Args:
            call: with the mappings.
            pod: the pod's addresses.
            dev: the node's interface that leads to it.

        Raises:
            CniError: PORT_IN_USE; NetplaneError: the kernel refused.
        """
        network = call.network
        ports = hostports.bind(network.ports, pod, dev, snat=network.snat, masq_all=network.masq_all)
        if not ports:
            return
        self._leases.take_ports(call.key, ports)
        try:
            self._ports.open(ports)
        except BaseException:
            self.close(call.key)
            raise

    def close(self, key: Key) -> None:
        """Close an attachment's ports: first in the kernel, then in the store."""
        if ports := self._leases.ports(key):
            self._ports.close(ports)
            self._leases.drop_ports(key)

    def _add(self, call: Call) -> bytes:
        result = previous(call)
        pod = [ip.interface for ip in result.ips if _inside(result, ip)]
        routes = self._doors.here.routes()
        first = next((i.ip for i in pod if i.version == 4), None)
        dev = hostports.device(routes, first) if first is not None and call.network.ports else ""
        self.take(call, pod, dev)
        return passed_on(call, result)

    def _collect(self, call: Call) -> None:
        for key in self._leases.port_holders(call.network.name):
            if (key.container, key.ifname) not in alive(call):
                self.close(key)
                log.info("collected host ports", container=key.container, ifname=key.ifname)


class BandwidthPlugin:
    """Rate limits for pods that any plugin connected by a veth pair; takes the reference bandwidth's configuration.

    Args:
        shaper: sets and removes them.
        doors: to the node's links.
    """

    def __init__(self, shaper: Shaper, doors: Doors) -> None:
        self._shaper = shaper
        self._doors = doors

    def run(self, call: Call) -> bytes:
        """One verb; returns what is printed."""
        match call.verb:
            case Verb.ADD:
                result = previous(call)
                if call.network.limits:
                    end = self._end(result)
                    self._shaper.limit(call.key, end.name, end.mtu, call.network.limits)
                return passed_on(call, result)
            case Verb.DEL:
                self._shaper.release(call.key)
            case Verb.CHECK if call.network.limits:
                end = self._end(previous(call))
                self._shaper.check(call.key, end.name, end.mtu, call.network.limits)
            case Verb.GC:
                self._shaper.collect(call.network.name, alive(call))
            case _:
                pass
        return b""

    def _end(self, result: results.Result) -> Link:
        for interface in result.interfaces:
            link = self._doors.here.link(interface.name) if not interface.sandbox else None
            if link is not None and isinstance(link.kind, Veth):
                return link
        raise CniError(
            Code.INVALID_CONFIG,
            "prevResult.interfaces: none of the node's is the end of a veth pair",
            "put this plugin after one that connects pods by veth pairs, such as netplane or bridge",
        )


def previous(call: Call) -> results.Result:
    """prevResult.

    Raises:
        CniError: it is missing or cannot be read.
    """
    if call.network.prev_result is None:
        advice = "put this plugin after the one that makes the interface" if call.verb is Verb.ADD else ""
        raise CniError(Code.INVALID_CONFIG, "prevResult: is missing", advice or "pass the result of ADD")
    return results.decode(call.network.prev_result)


def passed_on(call: Call, result: results.Result) -> bytes:
    """prevResult as it came when it is in the caller's version already, else converted."""
    raw = call.network.prev_result or b""
    return raw if results.version_of(raw) == call.network.version else results.encode(result, call.network.version)


def alive(call: Call) -> frozenset[tuple[str, str]]:
    """GC: (container, interface) of what must stay.

    Raises:
        CniError: the runtime did not say.
    """
    if call.network.attachments is None:
        raise CniError(Code.INVALID_CONFIG, "cni.dev/valid-attachments: is missing", "GC must be told what is alive")
    return call.network.attachments


def _inside(result: results.Result, ip: results.AssignedIP) -> bool:
    """Whether an address is a pod's: results before 0.3.0 name no interface, and have only such."""
    if ip.link is None or not 0 <= ip.link < len(result.interfaces):
        return True
    return bool(result.interfaces[ip.link].sandbox)

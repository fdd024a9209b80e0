"""Opens and closes host ports in the kernel: elements, the two switches they need, and flows that went elsewhere."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress

from cni import rules
from cni.doors import Doors
from cni.errors import CniError, Code
from cni.plan import firewall, hostports, loopback
from cni.plan.hostports import HostPort
from netplane.kernel import sysctl
from netplane.kernel.conntrack import Conntrack, Flow
from netplane.kernel.nft import NftError
from netplane.nft.types import FAMILIES, PROTOCOLS

_FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


class HostPorts:
    """The host ports of one lease store. Methods may be called from any thread.

    Args:
        doors: to the node's links.
        owner: the store's mark.
    """

    def __init__(self, doors: Doors, owner: str) -> None:
        self._doors = doors
        self._owner = owner

    def open(self, ports: Sequence[HostPort]) -> None:
        """From now on the ports lead to their pods; UDP that went elsewhere before follows.

        Raises:
            NetplaneError: the kernel refused.
        """
        if not ports:
            return
        devices = hostports.devices(ports)
        elements = loopback.elements(devices) + hostports.add(ports, self._owner)
        try:
            rules.run(elements)
        except NftError:  # no table yet, none of the loopback's chains, or somebody's `nft flush ruleset`
            self._open_again(ports, firewall.table() + loopback.table() + elements)
        for version in {port.host.version for port in ports}:
            sysctl.write(_FORWARDING[version], 1)
        for dev in devices:  # only now: nothing comes in by it
            sysctl.write(f"net/ipv4/conf/{dev}/route_localnet", 1)
        here = {address.interface.ip.packed for address in self._doors.here.addresses()}
        _flush(ports, lambda port, flow: _missed(port, flow, here))

    def _open_again(self, ports: Sequence[HostPort], text: str) -> None:
        try:
            rules.run(text)
        except NftError as error:
            for port in ports:
                if rules.ask(hostports.question(port)):
                    raise hostports.taken(port, "of another lease store on this node") from error
            raise

    def close(self, ports: Sequence[HostPort]) -> None:
        """The ports are the node's own again; repeating it is harmless.

        Raises:
            NetplaneError: the kernel refused.
        """
        if ports and rules.has(firewall.TABLE):
            try:
                rules.run(hostports.remove(ports, self._owner))
            except NftError:  # one of them is another store's, as a refused ADD leaves it: those are not ours to remove
                for port in ports:
                    with suppress(NftError):
                        rules.run(hostports.remove([port], self._owner))
            _flush(ports, _translated)

    def check(self, ports: Sequence[HostPort]) -> None:
        """Whether every port leads to its pod.

        Raises:
            CniError: CHECK_FAILED, naming those that do not.
        """
        lost = [
            str(port)
            for port in ports
            if not hostports.is_shown(port, rules.ask(hostports.question(port)), self._owner)
        ]
        if lost:
            raise CniError(Code.CHECK_FAILED, f"host ports {', '.join(lost)} do not lead to the container any more")

    def restore(self, ports: Sequence[HostPort]) -> None:
        """Make the kernel's elements of this store those of `ports`, after a crash or somebody's `nft flush`."""
        if not ports and not rules.has(firewall.TABLE):
            return
        local = loopback.elements(hostports.devices(ports))
        rules.run(firewall.table() + (loopback.table() + local if local else ""))
        stale = "".join(hostports.stale(name, _list(name), self._owner, ()) for name in hostports.SETS)
        rules.run(stale + hostports.add(ports, self._owner))

    def lost(self, ports: Iterable[HostPort]) -> list[HostPort]:
        """Those that the kernel does not have, or has leading elsewhere. Two listings for each family, however many."""
        found = list(ports)
        names = [name for name in hostports.SETS if not name.startswith("hairpin")]
        listing = "".join(map(_list, names)) if found and rules.has(firewall.TABLE) else ""
        return [port for port in found if not hostports.is_shown(port, listing, self._owner)]

    def drop_stale(self, ports: Sequence[HostPort]) -> None:
        """Remove this store's elements that belong to none of `ports`; nobody may take or leave one meanwhile.

        The rules that keep pods from 127.0.0.1 are made again, should somebody have removed them.
        """
        if rules.ask(loopback.question()):
            rules.run(loopback.table())
        if rules.has(firewall.TABLE) and (
            text := "".join(hostports.stale(name, _list(name), self._owner, ports) for name in hostports.SETS)
        ):
            rules.run(text)


def _list(name: str) -> str:
    return rules.run(f"list {'set' if name.startswith('hairpin') else 'map'} {firewall.TABLE} {name}")


# Flows ----------------------------------------------------------------------------------------------------------


def _flush(ports: Iterable[HostPort], stale: Callable[[HostPort, Flow], bool]) -> None:
    """Forget UDP flows: they have no end, and would keep their old way as long as their client keeps talking."""
    udp = [port for port in ports if port.protocol == "udp"]
    families = [family for family in FAMILIES if any(port.host.version == family.version for port in udp)]
    for family in families:
        with closing(Conntrack()) as conntrack:
            flows = list(conntrack.flows(family, PROTOCOLS["udp"]))
            conntrack.delete(family, [flow for flow in flows if any(stale(port, flow) for port in udp)])


def _missed(port: HostPort, flow: Flow, here: set[bytes]) -> bool:
    """A flow that a mapping would have translated, had it been there."""
    if flow.original.destination_port != port.host_port or flow.reply.source == port.address.packed:
        return False
    target = flow.original.destination
    return target in here if port.host.is_unspecified else target == port.host.packed


def _translated(port: HostPort, flow: Flow) -> bool:
    """A flow that a mapping translated."""
    target = (port.host_port, port.address.packed, port.port)
    return (flow.original.destination_port, flow.reply.source, flow.reply.source_port) == target

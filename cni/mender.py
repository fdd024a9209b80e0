"""Makes leases, links and elements agree again: wholly at start, and while pods come and go what nobody else will mend.

    at start      no call is under way yet: whatever does not fit was left by a crash
    from then on  find ─▶ wrong for a grace time? ─▶ the container's turn ─▶ look again ─▶ mend

A pod whose namespace went without a DEL has lost its link (a veth pair dies with either end). Its lease is released
after the grace time: until then `netplane cni leases` shows it, and a late DEL finds it. What a call under way has half
made looks just as wrong, so it is looked at again when it is its container's turn and nobody else's.

An address that another IPAM plugin gave can only be given back with the runtime's configuration: such a lease waits for
DEL or GC.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cni.bridges import Bridges
from cni.guards import Guards, guards_of
from cni.hostports import HostPorts
from cni.leases import Leases
from cni.plan import pod
from cni.plan.guard import Guard
from cni.plan.lease import Key, Lease
from cni.reaper import Reaper
from cni.shaping import Shaper
from netplane.kernel.rtnl import Rtnl
from netplane.obs import logs
from netplane.rtnl import Link

log = logs.get("cni.mender")


@dataclass(kw_only=True)
class Mender:
    """Knows what belongs together, and who can put it right.

    Args:
        leases: the store.
        owner: its mark.
        forget: removes everything of a lease, and then the lease.
        reaper, shaper, guards, ports, bridges: the engine's own.
        clock: Unix time in seconds.
    """

    leases: Leases
    owner: str
    forget: Callable[[Lease], None]
    reaper: Reaper
    shaper: Shaper
    guards: Guards
    ports: HostPorts
    bridges: Bridges
    clock: Callable[[], float]
    _wrong_since: dict[str, float] = field(default_factory=dict, init=False)

    # At start -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make all agree after a crash. Call before the first request.

        A lease nobody was told of, or whose link is gone, is released; a link of ours without a lease is deleted,
        unless the store itself was lost: then its lease is read off the link.
        """
        links = _links()
        mine = self._mine(links.values())
        if self.leases.fresh:
            self._adopt(mine.values())
        for lease in self.leases.all():
            self._release_if(lease, lease.state == "reserved" or _is_orphan(lease, links))
        for name in mine.keys() - {lease.link for lease in self.leases.all()}:
            self._delete(mine[name])
        self.shaper.reconcile()
        self.guards.restore(guards_of((lease.link, lease.guard) for lease in self.leases.all()))
        self.ports.restore(self.leases.ports())

    def _adopt(self, links: Iterable[Link]) -> None:
        macs = {guard.link: guard.mac for guard in self.guards.listed()}
        for link in links:
            found = pod.read_alias(link.alias, self.owner)
            if found is not None:
                network, container, ifname, addresses = found
                lease = Lease(Key(network, container, ifname), "active", link.name, addresses, since_s=self.clock())
                self.leases.adopt(lease)
                if mac := macs.get(link.name):
                    self.leases.hold_to(lease.key, mac)
                log.warning("adopted a pod whose lease was lost", container=container, link=link.name)

    # From then on ---------------------------------------------------------------------------------------------

    def find(self, grace_s: float) -> list[str]:
        """Containers of which something has been wrong for `grace_s`, each time it was looked at. One dump of links."""
        links, leases, now_s = _links(), self.leases.all(), self.clock()
        wrong = {lease.key.container for lease in leases if lease.state == "reserved" or _is_orphan(lease, links)}
        known = {lease.link for lease in leases}
        for name, link in self._mine(links.values()).items():
            if name not in known and (words := pod.read_alias(link.alias, self.owner)) is not None:
                wrong.add(words[1])
        wrong |= {key.container for key in self._unmapped()}
        unguarded = {guard.link for guard in self._unguarded(leases)}
        wrong |= {lease.key.container for lease in leases if lease.link in unguarded}
        self._wrong_since = {container: self._wrong_since.get(container, now_s) for container in wrong}
        return sorted(container for container, since_s in self._wrong_since.items() if now_s - since_s >= grace_s)

    def mend(self, container: str) -> None:
        """Put right what is wrong with one container. Nobody else may work on it meanwhile.

        Raises:
            NetplaneError: the kernel refused.
        """
        links = _links()
        for lease in self._of(container):
            self._release_if(lease, lease.state == "reserved" or _is_orphan(lease, links))
        leases = self._of(container)
        for link in self._mine(links.values()).values():
            words = pod.read_alias(link.alias, self.owner)
            if words is not None and words[1] == container and link.name not in {lease.link for lease in leases}:
                self._delete(link)
        for key in self._unmapped(container):
            log.info("opening host ports again", container=container)
            self.ports.open(self.leases.ports(key))
        for guard in self._unguarded(leases):
            self.guards.open(guard)

    def tidy(self) -> None:
        """What belongs to no container: elements of nobody, devices of pods that are gone, somebody's `nft flush`, and
        the store's log.
        """
        self.bridges.restore()
        self.shaper.reconcile()
        with self.leases.still() as ports:
            self.ports.drop_stale(ports)
        self.leases.settle()

    def _of(self, container: str) -> list[Lease]:
        return [lease for lease in self.leases.all() if lease.key.container == container]

    def _mine(self, links: Iterable[Link]) -> dict[str, Link]:
        return {link.name: link for link in links if link.alias.startswith(self.owner + " ")}

    def _unmapped(self, container: str = "") -> list[Key]:
        """Who has host ports that the kernel does not have."""
        held = {k: v for k, v in self.leases.ports_by_key().items() if container in ("", k.container)}
        lost = set(self.ports.lost(port for ports in held.values() for port in ports))
        return [key for key, ports in held.items() if lost.intersection(ports)]

    def _unguarded(self, leases: Iterable[Lease]) -> list[Guard]:
        return self.guards.lost(guards_of((lease.link, lease.guard) for lease in leases))

    def _release_if(self, lease: Lease, wrong: bool) -> None:
        if wrong:
            log.info("released a lease left behind", container=lease.key.container, state=lease.state)
            self.forget(lease)

    def _delete(self, link: Link) -> None:
        log.info("deleted a link left behind", link=link.name, alias=link.alias)
        self.reaper.delete(link.name)


def _links() -> dict[str, Link]:
    with Rtnl() as rtnl:
        return {link.name: link for link in rtnl.links()}


def _is_orphan(lease: Lease, links: dict[str, Link]) -> bool:
    return lease.state == "active" and lease.link not in links and not lease.delegated

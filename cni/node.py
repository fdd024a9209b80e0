"""The node's part in the cluster: watches Nodes and keeps overlay, masquerade, forwarding and CNI configuration right.

    Node changes ──▶ dirty ──▶ what should be (plan) ─ what is (dumps) = requests ──▶ kernel
    underlay's MTU,     ▲                                                               │
    addresses ──────────┴── every RESYNC_S, and soon again after a failure ◀────────────┘

Nothing is torn down at start or end: a restart finds everything in place and changes only what differs.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from cni import install, rules
from cni.bridges import Bridges, let_through
from cni.config import MTU_MIN_IPV6_BYTES, parse
from cni.doors import Doors
from cni.plan import conflist, firewall, overlay, untracked
from cni.plan.underlay import Found, Rule, Underlay, choose
from cni.resize import PodEnds
from netplane.errors import NetplaneError
from netplane.kernel.monitor import Monitor
from netplane.kernel.nft import NftError
from netplane.kernel.rtnl import Rtnl
from netplane.obs import logs
from netplane.rtnl import Change, Network

log = logs.get("cni.node")

Snapshot = dict[str, overlay.Peer | None]

RESYNC_S = 30.0
RETRY_S = 1.0


class Settings(msgspec.Struct, frozen=True):
    """What the agent was told.

    Args:
        node_name: its own Node's name.
        cluster_cidrs: ranges of all pods: what is reached without masquerade.
        tunnel: how pods of other nodes are reached.
        underlay: how the interface to them is chosen.
        socket: the agent's.
        bin_dir: where runtimes look for plugins; None installs none.
        conf_dir: where they look for networks; None writes none.
    """

    node_name: str
    cluster_cidrs: tuple[Network, ...]
    tunnel: overlay.Tunnel
    underlay: Rule
    socket: Path
    bin_dir: Path | None
    conf_dir: Path | None


class NodeSync:
    """Makes the node like its plan. Blocking; the namespace is the one it was made in.

    Args:
        settings: what the agent was told.
        ends: its pods' links.
    """

    def __init__(self, settings: Settings, ends: PodEnds) -> None:
        self.settings = settings
        self._ends = ends
        self.trouble = "the node has no podCIDR yet"
        self._bridges = Bridges(Doors())
        self._underlay: Underlay | None = None
        self._told: frozenset[str] = frozenset()
        # Links whose change may change the plan, by index: the underlay's, and the tunnel's own.
        self.watched: frozenset[int] = frozenset()

    def sync(self, nodes: Mapping[str, overlay.Peer | None]) -> None:
        """One pass.

        Args:
            nodes: by name; None is a node that lacks an address or a range.

        Raises:
            NetplaneError: what the kernel or a folder refused; the next pass starts over.
        """
        me = self._me(nodes)
        if me is None:
            return
        self._refuse(me)
        peers = [peer for peer in nodes.values() if peer is not None]
        with Rtnl() as rtnl:
            underlay = self._choose(rtnl, me)
            mtu_bytes = self._mtu(me, underlay)
            self._bridge(rtnl, me, mtu_bytes)
            self._overlay(rtnl, overlay.desired(self.settings.tunnel, me, underlay, peers))
            self._ends.narrow(rtnl, mtu_bytes)
            self._tell(overlay.left_out(self.settings.tunnel, me, underlay, peers))
        self._firewall(me, underlay)
        self._install(me, mtu_bytes)
        self.trouble = ""

    def _me(self, nodes: Mapping[str, overlay.Peer | None]) -> overlay.Peer | None:
        name = self.settings.node_name
        me = nodes.get(name)
        if me is None:
            why = "has no podCIDR or InternalIP yet" if name in nodes else "does not exist yet"
            self.trouble = f"node {name} {why}"
            log.info("waiting", reason=self.trouble)
        return me

    def _choose(self, rtnl: Rtnl, me: overlay.Peer) -> Underlay:
        everything = rtnl.links()
        links = [link for link in everything if link.name not in (overlay.DEVICE, conflist.BRIDGE)]
        rule = self.settings.underlay
        found = choose(rule, me.addresses, Found(links, rtnl.addresses(), rtnl.routes()))
        if found is None and rule.kind == "node-address":
            raise NetplaneError(
                f"no interface has {me.addresses[0]}, and there is no default route",
                hint="give the node its InternalIP, or correct status.addresses of the Node",
            )
        if found is None:
            raise NetplaneError(f"--underlay {rule}: no interface with an address fits", hint="see: ip address")
        self.watched = frozenset(link.index for link in everything if link.name in (found.dev, overlay.DEVICE))
        if found != self._underlay:
            log.info("underlay", dev=found.dev, address=str(found.address), mtu=found.mtu_bytes, reason=found.reason)
            if found.address not in me.addresses and rule.kind != "node-address":
                log.warning(
                    "peers look for this node elsewhere",
                    they_use=str(me.addresses[0]),
                    hint=f"annotate the Node: flannel.alpha.coreos.com/public-ip-overwrite={found.address}",
                )
            self._underlay = found
        return found

    def _refuse(self, me: overlay.Peer) -> None:
        if lost := overlay.unreachable(self.settings.tunnel, me):
            self.trouble = lost
            raise NetplaneError(
                lost, hint="give its Node such an InternalIP too, or use --overlay vxlan, which carries both"
            )

    def _mtu(self, me: overlay.Peer, underlay: Underlay) -> int:
        mtu_bytes = self.settings.tunnel.pod_mtu(underlay)
        if mtu_bytes < MTU_MIN_IPV6_BYTES and any(cidr.version == 6 for cidr in me.pod_cidrs):
            raise NetplaneError(
                f"{underlay.dev} takes packets of {underlay.mtu_bytes} bytes: {mtu_bytes} are left for pods,"
                f" and IPv6 needs {MTU_MIN_IPV6_BYTES} (RFC 8200, section 5)",
                hint="give the underlay a larger MTU; until then pods keep theirs",
            )
        return mtu_bytes

    def _tell(self, left_out: Sequence[str]) -> None:
        for line in left_out:
            if line not in self._told:
                log.warning("pods out of reach", reason=line)
        self._told = frozenset(left_out)

    def _bridge(self, rtnl: Rtnl, me: overlay.Peer, mtu_bytes: int) -> None:
        network = parse(conflist.network(me.pod_cidrs, mtu_bytes), args={}, needs_ranges=True)
        passed_on = self._ends.widen(rtnl, mtu_bytes)
        self._bridges.ensure(msgspec.structs.replace(network, mtu_bytes=passed_on))
        found = rtnl.link(conflist.BRIDGE)
        if found is not None and found.mtu != passed_on:  # an ADD with an older configuration changed it
            rtnl.apply([Change(conflist.BRIDGE, mtu=passed_on)])

    def _overlay(self, rtnl: Rtnl, want: overlay.State) -> None:
        have = overlay.observe(rtnl.links(), rtnl.addresses(), rtnl.routes(), rtnl.neighbours(), rtnl.fdb())
        requests = overlay.repair(want, have)
        for request in requests:
            log.info("overlay", change=str(request))
        rtnl.apply(requests)

    def _firewall(self, me: overlay.Peer, underlay: Underlay) -> None:
        cluster = [*self.settings.cluster_cidrs, *me.pod_cidrs]
        text = firewall.table() + firewall.bridge(conflist.BRIDGE) + firewall.cluster(me.pod_cidrs, cluster)
        rules.run(text + untracked.sent(self.settings.tunnel, underlay))
        self._leave_untracked(underlay)
        let_through(cluster)

    def _leave_untracked(self, underlay: Underlay) -> None:
        try:
            rules.run(untracked.received(self.settings.tunnel, underlay))
        except NftError:  # no hook at devices (CONFIG_NETFILTER_INGRESS), or the device just went
            rules.run(untracked.received_anywhere(self.settings.tunnel, underlay))

    def _install(self, me: overlay.Peer, mtu_bytes: int) -> None:
        if self.settings.bin_dir is not None:
            install.install_relay(self.settings.bin_dir, self.settings.socket)
        if self.settings.conf_dir is not None:
            text = conflist.conflist(me.pod_cidrs, mtu_bytes)
            if install.install_conflist(self.settings.conf_dir, text):
                log.info("ready", conflist=str(self.settings.conf_dir / conflist.FILE), mtu=mtu_bytes)


class NodeLoop:
    """Runs passes when something changed, one at a time, off the event loop.

    Args:
        snapshot: takes what a pass works on, in the event loop.
        work: the pass, in a thread.
        watched: indices of the links whose changes the next pass must see, known after a pass.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        work: Callable[[Snapshot], None],
        watched: Callable[[], frozenset[int]] = frozenset,
    ) -> None:
        self._snapshot = snapshot
        self._work = work
        self._watched = watched
        self._watching: frozenset[int] = frozenset()
        self._monitor: Monitor | None = None
        self._dirty = asyncio.Event()

    def changed(self, old: object, new: object) -> None:
        """Tell it what an informer saw."""
        if old != new:
            self._dirty.set()

    async def follow(self) -> None:
        """For ever: another pass when the kernel tells of a change of a watched link."""
        with Monitor() as self._monitor:
            self._monitor.watch(self._watching)
            async for _ in self._monitor.changes():
                self._dirty.set()

    def _watch(self) -> None:
        """Let the kernel drop news of other links, of pods above all. What it dropped until now the next pass sees."""
        if self._monitor is not None and (found := self._watched()) != self._watching:
            self._monitor.watch(found)
            self._watching = found
            self._dirty.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._dirty.clear()
            pause_s = await self._pass()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._dirty.wait()

    async def _pass(self) -> float:
        """One pass; returns how long to wait for the next when nothing changes, in seconds."""
        try:
            await asyncio.to_thread(self._work, self._snapshot())
        except NetplaneError as error:
            log.error("sync failed; trying again", error=str(error))
            return RETRY_S
        except Exception:
            log.exception("sync failed; trying again")
            return RETRY_S
        self._watch()
        return RESYNC_S

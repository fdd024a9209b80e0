"""The loop: what the cluster says ─► what changed ─► one atomic batch ─► stale flows ─► health.

Events arrive by `service_changed` and `slice_changed` (an informer calls them, in the event loop) and only mark their
service. A run takes every marked service at once: while one run is busy, events gather for the next, and when nothing
is going on an event is applied without delay. The first run, and the run after a failure, read the kernel and repair
only what differs.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from netplane.kernel.conntrack import ConntrackError
from netplane.nft.types import Family
from netplane.obs import logs
from proxy.conntrack import Cleaner
from proxy.drift import EVERYTHING, RULES, Touched
from proxy.plan import desired, nodeports
from proxy.plan.changes import Tracker
from proxy.plan.flows import TCP, UDP, Expected, Flows, candidates, protocol_of, stale
from proxy.plan.model import EMPTY, Fragment, Frontend, Health, Node, Options
from proxy.plan.services import Served
from proxy.plan.slices import Slice
from proxy.plane import Applied, Plane

log = logs.get("proxy.sync")

Noted = dict[bytes, tuple[str, Frontend | None]]
"""Frontends whose flows are to be judged: who asked for each, and what it was before."""


class Report(NamedTuple):
    """What a run did."""

    services: int
    applied: Applied
    flows_deleted: int
    full: bool
    mended: int = 0


class Ranges(NamedTuple):
    """Address ranges of the cluster, as CIDRs of both families."""

    service_cidrs: tuple[str, ...] = ()
    pod_cidrs: tuple[str, ...] = ()


class Syncer:
    """Keeps the planes as the cluster's objects say. `poke` is called when there is something to do."""

    def __init__(
        self, planes: Iterable[Plane], cleaner: Cleaner, node: Node, options: Options, poke: Callable[[], None]
    ) -> None:
        self.tracker = Tracker()
        self.node = node
        self.ranges = Ranges()
        self.health: dict[str, Health] = {}
        self._planes = tuple(planes)
        self._cleaner = cleaner
        self._options = options
        self._poke = poke
        self._replan_all = False
        self._drift: dict[str, set[str]] = {}
        self._noted: dict[Family, Noted] = {plane.family: {} for plane in self._planes}
        self._all_flows = False

    # Events ---------------------------------------------------------------------------------------------------

    def service_changed(self, old: Served | None, new: Served | None) -> None:
        """An informer's event."""
        if self.tracker.service_changed(old, new):
            _name_problems(new)
            self._poke()

    def slice_changed(self, old: Slice | None, new: Slice | None) -> None:
        """An informer's event."""
        if self.tracker.slice_changed(old, new):
            _name_problems(new)
            self._poke()

    def node_changed(self, node: Node) -> None:
        """Name, zone and primary addresses may matter to every service, other addresses to NodePorts only.

        Devices of pods come and go with addresses of their own (link-local ones of IPv6): mostly to nobody's interest.
        """
        was, self.node = self.node, node
        if msgspec.structs.replace(node, addresses=was.addresses) != was:
            log.info("node changed", zone=node.zone, addresses=len(node.addresses))
            self._replan_all = True
            self._poke()
        elif any(
            self._node_port_addresses(plane, was) != self._node_port_addresses(plane, node) for plane in self._planes
        ):
            log.info("node's addresses for NodePorts changed", addresses=len(node.addresses))
            self.tracker.node_ports_changed()
            self._poke()

    def _node_port_addresses(self, plane: Plane, node: Node) -> tuple[bytes, ...]:
        return nodeports.addresses(plane.family, node, self._options)

    def ranges_changed(self, ranges: Ranges) -> None:
        """Service or pod CIDRs."""
        if ranges != self.ranges:
            self.ranges = ranges
            self._poke()

    def drifted(self, touched: Touched, by: str) -> None:
        """Somebody else changed tables of ours."""
        log.warning(
            "somebody changed the proxy's tables", by=by, what={k: sorted(names) for k, names in touched.items()}
        )
        for table, names in touched.items():
            self._drift.setdefault(table, set()).update(names)
        self._poke()

    # Run ------------------------------------------------------------------------------------------------------

    async def run_once(self, full: bool) -> Report:
        """`apply`, then `clean`; for who does not mind waiting for both."""
        report = self.apply(full)
        return report._replace(flows_deleted=await self.clean())

    def apply(self, full: bool) -> Report:
        """Bring the kernel to what the cluster says now. Raises NftError; call it with full=True then."""
        mended = self._mend(full)
        keys = self._keys(full)
        for plane in self._planes:
            self._note_frontends(plane, keys)
        applied = [self._apply(plane, keys, full) for plane in self._planes]
        for plane in self._planes:
            self._note_newcomers(plane, keys)
        self._all_flows |= full
        self._count_health(keys)
        total = Applied(*(sum(values) for values in zip(*applied, strict=True)))
        return Report(len(keys), total, 0, full, mended)

    def _mend(self, full: bool) -> int:
        """Repair what others changed (a full run does so anyway); returns in how many tables that was."""
        drift, self._drift = self._drift, {}
        for plane in () if full else self._planes:
            names = drift.get(plane.table.spec)
            if names is None:
                continue
            known = None if names >= EVERYTHING else names - {RULES}
            applied = plane.mend(known, rules=RULES in names)
            log.warning("repaired", table=plane.table.spec, elements=applied.elements)
        return len(drift)

    async def clean(self) -> int:
        """Delete the flows that what was applied since the last time made stale; returns how many.

        To be called by one task at a time, while others may apply: listing flows walks the kernel's whole table, which
        takes several milliseconds however few there are, and no change should wait for that.
        """
        full, self._all_flows = self._all_flows, False
        deleted = 0
        for plane in self._planes:
            noted, self._noted[plane.family] = self._noted[plane.family], {}
            try:
                deleted += await self._clean(plane, noted, full)
            except ConntrackError as error:
                # The rules are right, and new connections go where they should; writing them again would not help.
                log.warning("stale flows were not deleted", family=plane.family.name, why=error.message)
                self._noted[plane.family] |= noted
                self._all_flows |= full
        return deleted

    def _keys(self, full: bool) -> set[str]:
        if not full and not self._replan_all:
            return self.tracker.take()
        self._replan_all = False
        known = (service for plane in self._planes for service in plane.ledger.services())
        return self.tracker.everything().union(known)

    def _apply(self, plane: Plane, keys: set[str], full: bool) -> Applied:
        problems: list[str] = []
        fragments = ((key, self._fragment(plane.family, key, problems)) for key in keys)
        # A service of the other family only is nothing to this one, unless it was of both before.
        updates = {key: made for key, made in fragments if made is not EMPTY or plane.ledger.owns(key)}
        for problem in problems:
            log.warning("skipped", why=problem)
        return plane.apply(updates, full=full, service_cidrs=self.ranges.service_cidrs, pod_cidrs=self.ranges.pod_cidrs)

    def _fragment(self, family: Family, key: str, problems: list[str]) -> Fragment:
        service, slices = self.tracker.service(key), self.tracker.slices(key)
        return desired.fragment(service, slices, family, self.node, self._options, problems)

    def _count_health(self, keys: set[str]) -> None:
        for key in keys:
            service = self.tracker.service(key)
            health = desired.health(service, self.tracker.slices(key)) if service else None
            if health is not None:
                self.health[key] = health
            else:
                self.health.pop(key, None)

    # Flows ----------------------------------------------------------------------------------------------------

    def _note_frontends(self, plane: Plane, keys: set[str]) -> None:
        """Remember what touched services have now, until their flows are judged: a failed run must not forget them."""
        noted = self._noted[plane.family]
        for service in keys:
            for key in plane.ledger.frontends_of(service):
                noted.setdefault(key, (service, plane.ledger.frontend(key)))

    def _note_newcomers(self, plane: Plane, keys: set[str]) -> None:
        """Frontends that were not there before: flows of theirs may have gone by untranslated."""
        noted = self._noted[plane.family]
        for service in keys:
            for key in plane.ledger.frontends_of(service):
                noted.setdefault(key, (service, None))

    async def _clean(self, plane: Plane, noted: Noted, full: bool) -> int:
        """Delete flows that go on to endpoints which answer no more; returns how many."""
        ledger = plane.ledger
        owners = {key: service for key, (service, _) in noted.items()}
        touched = candidates(
            {key: old for key, (_, old) in noted.items()}, {key: ledger.frontend(key) for key in noted}, ledger.width
        )
        deleted = 0
        for protocol in (UDP, TCP):
            if not full and not any(protocol_of(key) == protocol for key in touched):
                continue
            flows = await asyncio.to_thread(self._cleaner.flows, plane.family, protocol)
            ours = {s.frontend for _, s in flows if s.frontend in touched or (full and ledger.frontend(s.frontend))}
            expected = self._expected(plane, ours, owners)
            gone = list(stale(flows, protocol, expected))
            deleted += await asyncio.to_thread(self._cleaner.delete, plane.family, gone)
        return deleted

    def _expected(self, plane: Plane, frontends: Iterable[bytes], owners: Mapping[bytes, str]) -> Flows:
        by_service: dict[str, list[bytes]] = {}
        for key in frontends:
            owner = plane.ledger.owner(key) or owners[key]
            by_service.setdefault(owner, []).append(key)
        found: dict[bytes, Expected] = {}
        for service, keys in by_service.items():
            served, slices = self.tracker.service(service), self.tracker.slices(service)
            found.update(desired.expected_flows(served, slices, plane.family, keys))
        return found


def _name_problems(item: Served | Slice | None) -> None:
    for problem in item.problems if item is not None else ():
        log.warning("skipped", why=problem)

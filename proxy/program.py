"""The proxy as a program: informers, the node's addresses, the loop, health, and a clean end.

    Service, EndpointSlice ── informers ──► Syncer ──► planes ──► kernel
    Node, ServiceCIDR ───────────┘ ▲
    rtnetlink addresses ───────────┘

The first sync waits until every list has come once: with half of the endpoints known, it would cut off the others.
"""

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

from netplane.api import kinds
from netplane.api.objects import EndpointSlice, Node, Service, ServiceCIDR
from netplane.client import errors
from netplane.client.api import Api
from netplane.client.config import Connection
from netplane.client.informer import Informer
from netplane.kernel.conntrack import Conntrack
from netplane.kernel.nft import Nft
from netplane.net.addresses import lenient
from netplane.nft.types import Family
from netplane.obs import logs
from netplane.obs.runner import Pace, Runner
from proxy import config as configuration
from proxy import drift, durations, health, metrics, node
from proxy.config import HEALTHZ_PORT, METRICS_PORT, Config
from proxy.conntrack import Cleaner
from proxy.counters import Counters
from proxy.health import Door
from proxy.plan import cidrs, local, nodeports, services, slices
from proxy.plan.model import HEADLESS, OTHER_PROXY, Options
from proxy.plane import Plane
from proxy.sync import Ranges, Report, Syncer
from proxy.triggers import ANNOTATION

log = logs.get("proxy")

SERVICES, SLICES = f"!{OTHER_PROXY}", f"!{HEADLESS}"
"""Label selectors: what another proxy serves, and what is only for names, is not sent at all."""
FULL_RESYNC_S = 30 * 60.0
SERVICE_CIDR_PROBE_S, SERVICE_CIDR_RETRY_S = 60.0, 1.0
RANGES_PATIENCE_S = 5.0
# A list of all flows costs milliseconds however few there are: under churn, no oftener than this.
SWEEP_INTERVAL_S = 0.1


class Program:
    """One proxy. `run` ends when it is cancelled; the rules stay."""

    def __init__(
        self,
        config: Config,
        node_name: str,
        connection: Connection,
        nft: Nft,
        families: Sequence[Family],
        *,
        node_cidrs: tuple[str, ...] = (),
        once_synced: Callable[[], None] = lambda: None,
        alone: bool = True,
    ) -> None:
        self._config = config
        # Whose ports are taken while another proxy's rules are here waits for that proxy to go.
        self._hard = config.bind_address_hard_fail or not alone
        self._options: Options = configuration.options(config)
        self._node_name = node_name
        self._node_cidrs = node_cidrs
        self._stats = metrics.Stats([family.name for family in families], time.time())
        self._api = Api(connection, agent="netplane-proxy", on_answer=self._stats.requested)
        self._once_synced = once_synced
        self._addresses = node.local_addresses()
        bind = lenient(config.bind_address)
        self._given = () if not any(bind) else (bind,)
        self._nft = nft
        self._planes = [Plane(family, configuration.options(config, family, node_cidrs), nft) for family in families]
        first = node.describe(node_name, None, self._addresses, self._given)
        self._syncer = Syncer(self._planes, Cleaner(Conntrack()), first, self._options, self._poke)
        self._stats.by_service = Counters(Nft(), self._planes, self._syncer.tracker).gather
        pace = Pace(resync_s=FULL_RESYNC_S, min_interval_s=durations.parse_s(config.nftables.min_sync_period))
        self._runner = Runner("proxy", self._sync, pace)
        self._sweeper = Runner("proxy.flows", self._sweep, Pace(resync_s=0, min_interval_s=SWEEP_INTERVAL_S))
        patience_s = 2 * durations.parse_s(config.nftables.sync_period)
        self._state = health.State(time.monotonic, patience_s, [family.name for family in families])
        self._checks = health.NodePortChecks(self._state)
        self._synced = asyncio.Event()
        self._ranges_known = asyncio.Event()
        self._stats.without_local = lambda: local.without_local(
            self._syncer.tracker, [plane.ledger for plane in self._planes]
        )
        self._service_cidrs: Informer[ServiceCIDR] | None = None
        self._services = Informer(
            self._api, Service, label_selector=SERVICES, on_change=self._service_changed, convert=services.read
        )
        self._slices = Informer(
            self._api, EndpointSlice, label_selector=SLICES, on_change=self._slice_changed, convert=self._read_slice
        )
        self._nodes = Informer(
            self._api, Node, field_selector=f"metadata.name={node_name}", on_change=self._node_changed
        )

    async def run(self) -> None:
        """Serve until cancelled."""
        gc.disable()  # until the first sync: a first load makes hundreds of thousands of objects, and no cycles
        config, hard = self._config, self._hard
        with (
            contextlib.closing(Door(config.healthz_address, "healthzBindAddress", HEALTHZ_PORT, hard=hard)) as healthz,
            contextlib.closing(Door(config.metrics_address, "metricsBindAddress", METRICS_PORT, hard=hard)) as scraped,
        ):
            await self._serve(healthz, scraped)

    async def _serve(self, healthz: Door, scraped: Door) -> None:
        shown = configuration.shown(self._config)
        async with self._api, asyncio.TaskGroup() as tasks:
            for informer in (self._services, self._slices, self._nodes):
                tasks.create_task(informer.run())
            tasks.create_task(self._watch_service_cidrs(tasks))
            tasks.create_task(node.watch_addresses(self._addresses_changed))
            tasks.create_task(self._loop())
            tasks.create_task(self._watch_tables())
            # Importing an HTTP server takes a while: connections wait in the sockets' queues until the rules are there.
            await self._first(self._synced.wait(), 5.0)
            tasks.create_task(self._sweeper.run())
            tasks.create_task(healthz.serve(health.routes(self._state, self._stats, shown)))
            tasks.create_task(scraped.serve(health.metric_routes(self._state, self._stats, shown)))
            try:
                await asyncio.Event().wait()
            finally:
                await self._checks.close()

    async def _loop(self) -> None:
        for informer in (self._services, self._slices, self._nodes):
            await informer.synced.wait()
        # A start that knew no ranges yet would take away those that the kernel has, and give them back at once.
        await self._first(self._ranges_known.wait(), RANGES_PATIENCE_S)
        await self._runner.run()

    @staticmethod
    async def _first(waiting: Any, at_most_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await waiting

    # Events ---------------------------------------------------------------------------------------------------

    def _read_slice(self, item: EndpointSlice) -> slices.Slice | None:
        found = slices.read(item, self._node_name)
        if found is not None and item.metadata.annotations is not None:
            self._stats.triggers.seen(found.service, item.metadata.annotations.get(ANNOTATION))
        return found

    def _service_changed(self, old: services.Served | None, new: services.Served | None) -> None:
        self._stats.service_changes += 1
        self._syncer.service_changed(old, new)

    def _slice_changed(self, old: slices.Slice | None, new: slices.Slice | None) -> None:
        self._stats.slice_changes += 1
        if new is None and old is not None:
            self._stats.triggers.gone(old.service)
        self._syncer.slice_changed(old, new)

    def _node_changed(self, _: Node | None, new: Node | None) -> None:
        if new is None:
            log.warning("the node's object is gone; what it said last goes on to count")
            return
        self._state.node = new
        self._describe_node()
        if self._options.detect_local == "NodeCIDR":
            self._ranges_changed()

    def _addresses_changed(self, addresses: frozenset[bytes]) -> None:
        self._addresses = addresses
        self._describe_node()

    def _describe_node(self) -> None:
        self._syncer.node_changed(node.describe(self._node_name, self._state.node, self._addresses, self._given))

    def _ranges_changed(self, *_: ServiceCIDR | None) -> None:
        listed = self._service_cidrs.objects.values() if self._service_cidrs is not None else ()
        problems: list[str] = []
        ranges = cidrs.of_services(listed, problems)
        pods: Sequence[str] = self._config.cluster_cidrs
        if self._options.detect_local == "NodeCIDR":
            # A node that is not there yet says nothing: what it said at the start counts.
            if self._state.node is not None:
                self._node_cidrs = cidrs.of_node(self._state.node, problems)
            pods = self._node_cidrs
            for plane in self._planes:
                plane.use(configuration.options(self._config, plane.family, self._node_cidrs))
        for problem in problems:
            log.warning("skipped", why=problem)
        self._syncer.ranges_changed(Ranges(ranges, tuple(pods)))

    async def _watch_service_cidrs(self, tasks: asyncio.TaskGroup) -> None:
        """Follow ServiceCIDRs where the server has them; ask again now and then where it has not."""
        self._ranges_changed()
        while not await self._has_service_cidrs():
            # A server that says no may be upgraded; one that says nothing is asked again soon, like all else.
            await asyncio.sleep(SERVICE_CIDR_PROBE_S if self._ranges_known.is_set() else SERVICE_CIDR_RETRY_S)
        self._service_cidrs = Informer(self._api, ServiceCIDR, on_change=self._ranges_changed)
        tasks.create_task(self._service_cidrs.run())
        await self._service_cidrs.synced.wait()
        self._ranges_known.set()

    async def _has_service_cidrs(self) -> bool:
        try:
            await self._api.request("GET", kinds.SERVICE_CIDR.path(), params={"limit": 1})
        except errors.ApiError as error:
            log.debug("no ServiceCIDRs", why=error.message)
            if error.code in (403, 404):
                self._ranges_known.set()
            return False
        return True

    async def _watch_tables(self) -> None:
        """Notice what others do to our tables; from the first sync on, since a load would be events only of our own."""
        await self._synced.wait()
        listener = drift.Listener(self._nft, [plane.table for plane in self._planes])
        await drift.watch(listener, self._syncer.drifted)

    # Sync -----------------------------------------------------------------------------------------------------

    def _poke(self) -> None:
        self._stats.last_queued_unix_s = time.time()
        self._state.changed()
        self._runner.poke()

    async def _sync(self, full: bool) -> None:
        began, stats = time.perf_counter(), self._stats
        stats.services_synced, stats.slices_synced = stats.service_changes, stats.slice_changes
        try:
            report = self._syncer.apply(full)
        except Exception:
            self._stats.sync_failures += 1
            self._state.changed()
            raise
        if not self._synced.is_set():
            self._once_synced()
        self._count(report, time.perf_counter() - began)
        self._sweeper.poke()
        families = [plane.family for plane in self._planes]
        hosts = nodeports.health_hosts(families, self._syncer.node, self._options)
        await self._checks.update(self._syncer.health, hosts)

    async def _sweep(self, _full: bool) -> None:
        began = time.perf_counter()
        deleted = await self._syncer.clean()
        self._stats.conntrack_s.observe(time.perf_counter() - began)
        self._stats.flows_deleted += deleted
        if deleted:
            log.info("stale flows deleted", flows=deleted)

    def _count(self, report: Report, seconds: float) -> None:
        stats = self._stats
        for histogram in (stats.sync_s, stats.full_sync_s if report.full else stats.partial_sync_s):
            histogram.observe(seconds)
        stats.elements_written += report.applied.elements
        stats.drift_repairs += report.mended
        stats.transactions += report.applied.transactions
        stats.last_sync_unix_s = time.time()
        for took_s in stats.triggers.take(stats.last_sync_unix_s):
            stats.network_s.observe(took_s)
        stats.services = len(self._syncer.tracker.services)
        stats.frontends = sum(len(plane.ledger) for plane in self._planes)
        self._state.synced()
        level = log.info if report.full else log.debug
        level(
            "synced",
            full=report.full,
            services=report.services,
            elements=report.applied.elements,
            ms=round(seconds * 1e3, 2),
        )
        if not self._synced.is_set():
            # What was loaded stays for long: keep the garbage collector from walking it again and again.
            gc.freeze()
            gc.enable()
            self._synced.set()

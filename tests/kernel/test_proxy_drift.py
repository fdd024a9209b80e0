"""Somebody else changes the proxy's tables: it is heard, and put right before anybody could look twice."""

import asyncio
import os
import subprocess
from collections.abc import Iterator

import pytest

from netplane.kernel import netns
from netplane.kernel.conntrack import Conntrack
from netplane.kernel.nft import Nft, NftError
from netplane.nft.types import FAMILIES
from proxy import drift
from proxy.conntrack import Cleaner
from proxy.plan import services, slices
from proxy.plane import Plane
from proxy.sync import Ranges, Syncer
from tests import proxied
from tests import strategies as moves

pytestmark = pytest.mark.privileged
NAMESPACE = f"npt-drift-{os.getpid():x}"
PATIENCE_S = 10.0

DAMAGES = [
    "delete table ip netplane-proxy",
    "flush ruleset",
    "flush chain ip netplane-proxy prerouting",
    "delete rule ip netplane-proxy dispatch handle {handle}",
    "insert rule ip6 netplane-proxy dispatch drop",
    "flush map ip netplane-proxy services",
    "flush map ip netplane-proxy endpoints",
    "delete element ip netplane-proxy cluster-ips {{ 10.96.0.1 }}",
    "add element ip netplane-proxy pod-cidrs {{ 172.16.0.0/12 }}",
    "delete element ip netplane-proxy endpoints {{ 10.96.0.1 . tcp . 80 . 0 }}; "
    "add element ip netplane-proxy endpoints {{ 10.96.0.1 . tcp . 80 . 0 : 10.9.9.9 . 9999 }}",
    "flush chain ip netplane-proxy lb_2",
    "add chain ip netplane-proxy mine {{ type filter hook forward priority 0; policy drop; }}",
]


@pytest.fixture
def namespace() -> Iterator[int]:
    netns.create(NAMESPACE)
    try:
        with netns.opened(NAMESPACE) as fd:
            yield fd
    finally:
        netns.delete(NAMESPACE)


def command(*arguments: str) -> str:
    done = subprocess.run(
        ["ip", "netns", "exec", NAMESPACE, "nft", *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


def listed() -> set[str]:
    return set(filter(str.strip, command("list", "ruleset").split("\n}\n")))


def handle() -> str:
    shown = command("-a", "list", "chain", "ip", "netplane-proxy", "dispatch")
    return next(line.rpartition(" ")[2] for line in shown.splitlines() if "cluster-ips" in line)


class Watched:
    """A proxy with its watch, in one event loop."""

    def __init__(self, fd: int) -> None:
        self.nft = Nft(fd)
        self.woken = asyncio.Event()
        self.heard: list[str] = []
        self.planes = [Plane(family, moves.OPTIONS, self.nft) for family in FAMILIES]
        self.syncer = Syncer(self.planes, Cleaner(Conntrack(fd)), moves.NODE, moves.OPTIONS, self.woken.set)
        self.syncer.ranges_changed(Ranges(("10.96.0.0/16",), ("10.0.0.0/8",)))
        self.syncer.service_changed(None, services.read(proxied.service()))
        self.put(1, 2)
        self.syncer.apply(full=True)
        self.listener = drift.Listener(self.nft, [plane.table for plane in self.planes])

    def put(self, *numbers: int) -> None:
        self.syncer.slice_changed(None, slices.read(proxied.endpoints(*numbers), "here"))

    def drifted(self, touched: drift.Touched, by: str) -> None:
        self.heard.append(by)
        self.syncer.drifted(touched, by)

    def applies(self, full: bool) -> bool:
        """One run; False when it failed, as it may while somebody else deletes things. The next has to be full then."""
        try:
            self.syncer.apply(full)
        except NftError:
            return False
        return True

    async def until_mended(self) -> None:
        """Work as the loop does until there is nothing more to mend."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await self.woken.wait()
                self.woken.clear()
                if self.syncer.apply(full=False).mended:
                    return


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_kind_of_damage_is_heard_and_repaired(namespace: int, damage: str) -> None:
    async def scenario() -> None:
        it = Watched(namespace)
        good = listed()
        watching = asyncio.create_task(drift.watch(it.listener, it.drifted))
        await asyncio.sleep(0)
        it.woken.clear()
        await asyncio.to_thread(command, damage.format(handle=handle() if "{handle}" in damage else ""))
        assert listed() != good
        await it.until_mended()
        assert listed() == good
        assert it.heard == ["nft"] * len(it.heard)
        watching.cancel()

    asyncio.run(scenario())


def test_our_own_changes_and_other_tables_are_not_drift(namespace: int) -> None:
    async def scenario() -> None:
        it = Watched(namespace)
        watching = asyncio.create_task(drift.watch(it.listener, it.drifted))
        await asyncio.sleep(0)
        for count in (3, 5, 80, 2):  # 80: a chain more, made by text
            it.put(*range(1, count))
            it.syncer.apply(full=False)
        it.syncer.apply(full=True)
        await asyncio.to_thread(command, "add table ip strangers; add chain ip strangers c")
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert it.heard == []
        watching.cancel()

    asyncio.run(scenario())


def test_damage_during_churn_ends_with_the_right_tables(namespace: int) -> None:
    async def scenario() -> None:
        it = Watched(namespace)
        watching = asyncio.create_task(drift.watch(it.listener, it.drifted))
        await asyncio.sleep(0)
        vandal = asyncio.create_task(_vandal())
        full, turn = False, 0
        while not vandal.done():
            it.put(*range(1, 2 + turn % 7))
            full, turn = not it.applies(full), turn + 1
            await asyncio.sleep(0.002)
        await vandal
        await asyncio.sleep(0.05)
        while not it.applies(full):
            full = True
        for plane in it.planes:
            kernel = {o.name: it.nft.list_elements(plane.table, o) for o in plane.table.sets if not o.dynamic}
            assert kernel == {name: held for name, held in plane.ledger.contents().items() if name in kernel}
            assert it.syncer.apply(full=True).applied.elements == 0
        watching.cancel()

    asyncio.run(scenario())


async def _vandal() -> None:
    for damage in DAMAGES:
        if "{handle}" not in damage and "10.96.0.1 . tcp" not in damage:
            await asyncio.to_thread(subprocess.run, ["ip", "netns", "exec", NAMESPACE, "nft", damage.format()])
            await asyncio.sleep(0.03)


def test_lost_events_make_everything_suspect(namespace: int) -> None:
    it = Watched(namespace)
    it.listener.events.sock.setsockopt(1, 33, 4096)  # SO_RCVBUFFORCE
    for turn in range(200):
        it.put(*range(1, 3 + turn % 2))
        it.syncer.apply(full=False)
    touched, by = it.listener.read()
    assert (set(touched.values()), by) == ({drift.EVERYTHING}, "unknown")


def test_a_generation_that_no_event_told_makes_everything_suspect(namespace: int) -> None:
    it = Watched(namespace)
    assert it.listener.missed() == {}, "the first look only learns where we are"
    assert it.listener.missed() == {}
    it.listener.events.close()
    command("add", "table", "ip", "strangers")
    assert set(it.listener.missed().values()) == {drift.EVERYTHING}

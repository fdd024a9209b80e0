"""News of links: what is asked for is heard, and the kernel drops the rest."""

import asyncio
import os
import threading
from collections.abc import Iterator

import pytest

from netplane.kernel import netns
from netplane.kernel.monitor import Departures, Monitor
from netplane.kernel.rtnl import Rtnl
from netplane.rtnl import Address, Bridge, Change, DeleteGroup, Link, Veth, add, delete_link

pytestmark = pytest.mark.privileged


@pytest.fixture
def space() -> Iterator[str]:
    name = f"npt-mon-{os.getpid()}"
    netns.create(name)
    try:
        yield name
    finally:
        netns.delete(name)


@pytest.fixture
def pod() -> Iterator[int]:
    name = f"npt-mon-pod-{os.getpid()}"
    netns.create(name)
    try:
        with netns.opened(name) as fd:
            yield fd
    finally:
        netns.delete(name)


def test_a_departure_is_told_when_the_link_is_off_every_list_and_not_when_it_leaves_its_bridge(space: str) -> None:
    def work() -> None:
        with Rtnl() as rtnl, Rtnl() as other:
            rtnl.apply([add(Link("br0", Bridge(), up=True))])
            rtnl.apply([add(Link("v0", Veth("w0"), master="br0", up=True))])
            departures, index = Departures(), rtnl.index("v0")
            rtnl.apply([Change("v0", master="")])
            killer = threading.Thread(target=rtnl.apply, args=([delete_link("v0")],))
            killer.start()
            gone = set(departures.wait() or ())
            while index not in gone:
                gone |= departures.wait() or set()
            assert other.find("v0") == 0
            other.apply([add(Link("v0", Veth("w0")))])  # the name is free
            assert gone <= {index, index - 1}  # and its peer, which was made first
            killer.join()
            departures.close()

    netns.run_in(space, work)


def test_when_the_news_comes_the_pods_end_and_its_addresses_are_gone_too(space: str, pod: int) -> None:
    def work() -> None:
        with Rtnl() as rtnl, Rtnl(pod) as inside:
            departures = Departures()
            for _ in range(10):
                rtnl.apply([add(Link("v0", Veth("eth0", peer_netns=pod), up=True))])
                inside.apply([Change("eth0", up=True), add(Address.of("eth0", "10.0.0.2/24"))])
                index = rtnl.index("v0")
                killer = threading.Thread(target=rtnl.apply, args=([delete_link("v0")],))
                killer.start()
                while index not in (departures.wait() or ()):
                    pass
                assert (inside.find("eth0"), inside.addresses()) == (0, [])
                killer.join()
            departures.close()

    netns.run_in(space, work)


def test_many_departures_at_once_and_the_end_of_waiting(space: str) -> None:
    def work() -> None:
        with Rtnl() as rtnl:
            rtnl.apply([add(Link(f"v{i}", Veth(f"w{i}"))) for i in range(30)])
            indices = {rtnl.index(f"{end}{i}") for i in range(30) for end in "vw"}
            departures = Departures()
            rtnl.apply([*(Change(f"v{i}", group=77) for i in range(30)), DeleteGroup(77)])
            gone: set[int] = set()
            while gone < indices:
                gone |= departures.wait() or set()
            departures.stop()
            assert departures.wait() is None
            departures.close()

    netns.run_in(space, work)


def test_a_monitor_hears_of_the_watched_links_only(space: str) -> None:
    async def play() -> list[int]:
        heard: list[int] = []
        with Rtnl() as rtnl:
            rtnl.apply([add(Link(f"d{i}", Bridge())) for i in range(5)])
            index = {i: rtnl.index(f"d{i}") for i in range(5)}
            with Monitor() as monitor:
                monitor.watch({index[1], index[3], index[4]})
                for i in range(4):
                    rtnl.apply([Change(f"d{i}", mtu=1400)])
                monitor.watch(set())
                rtnl.apply([Change("d4", mtu=1400)])
                monitor.watch({index[2]})
                rtnl.apply([Change("d2", mtu=1300)])
                async for found in monitor.changes():
                    heard.append(found)
                    if {index[1], index[2], index[3]} <= set(heard):
                        break
        return [i for i in index if index[i] in heard]

    found = netns.run_in(space, lambda: asyncio.run(play()))
    assert found == [1, 2, 3]

"""Flows are judged beside the syncs: no change waits for them, and no service is forgotten meanwhile."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from netplane.kernel.conntrack import ConntrackError, Flow
from netplane.nft.types import Family
from proxy.conntrack import Cleaner
from proxy.plan import slices
from proxy.plan.flows import Seen
from tests import packet_hosts as at
from tests.packet_hosts import Hosts
from tests.proxied import Proxy, endpoints, proxy, service

pytestmark = pytest.mark.privileged
Listed = list[tuple[Flow, Seen]]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with at.hosts() as made:
        yield made


def change(made: Proxy, *numbers: int) -> int:
    made.syncer.slice_changed(None, slices.read(endpoints(*numbers), "here"))
    return made.syncer.apply(full=False).applied.elements


def test_a_change_is_applied_while_flows_are_listed(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    listing, go_on, calls = threading.Event(), threading.Event(), []

    def slow(_: Cleaner, family: Family, protocol: int) -> Listed:
        calls.append((family.name, protocol))
        listing.set()
        assert go_on.wait(20)
        return []

    async def both(made: Proxy) -> None:
        assert change(made, 2)
        cleaning = asyncio.create_task(made.syncer.clean())
        await asyncio.to_thread(listing.wait, 20)
        assert change(made, 3), "applied at once"
        assert not cleaning.done()
        go_on.set()
        await cleaning
        calls.clear()
        await made.syncer.clean()
        assert calls, "what changed meanwhile is judged next"
        calls.clear()
        await made.syncer.clean()
        assert not calls, "nothing changed since"

    with proxy(hosts) as made:
        made.put(service(), endpoints(1))
        monkeypatch.setattr(Cleaner, "flows", slow)
        asyncio.run(both(made))


def test_flows_that_could_not_be_listed_are_judged_later(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def failing(_: Cleaner, family: Family, protocol: int) -> Listed:
        calls.append((family.name, protocol))
        raise ConntrackError("busy")

    with proxy(hosts) as made:
        made.put(service(), endpoints(1))
        monkeypatch.setattr(Cleaner, "flows", failing)
        assert change(made, 2)
        for _ in range(2):
            calls.clear()
            assert asyncio.run(made.syncer.clean()) == 0
            assert calls

"""Per-service counters: every connection is counted once, under its reason, through any frontend, across changes."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import closing

import pytest

from netplane.kernel.nft import Nft
from netplane.nft.objects import canonical
from proxy.counters import Count, Counters, ServicePort
from proxy.plan import slices
from proxy.plan.skeleton import missing_balancers, with_balancers
from tests import packet_hosts as at
from tests.packet_hosts import Hosts, Probe
from tests.proxied import Proxy, endpoints, proxy, service

pytestmark = pytest.mark.privileged
WEB, DNS = ServicePort("ns", "s0", "web", "tcp"), ServicePort("ns", "s0", "dns", "udp")


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with at.hosts() as made:
        yield made


def counters(made: Proxy) -> Counters:
    return Counters(made.nft, made.planes, made.syncer.tracker)


def ask(hosts: Hosts, count: int, *, source: str = "client", to: str = "10.96.0.1", port: int = 80) -> None:
    for _ in range(count):
        hosts.ask([Probe(source, to, port, "udp" if port == 53 else "tcp")], patience_s=0.2)


def test_connections_rejects_and_ports_are_told_apart(hosts: Hosts) -> None:
    with proxy(hosts) as made:
        read = counters(made).read
        made.put(service(externalIPs=["198.51.100.1"]), endpoints(1, 2))
        assert read() == {}
        ask(hosts, 5)
        ask(hosts, 3, source="out", to="198.51.100.1")
        ask(hosts, 2, port=53)
        assert read() == {WEB: Count(8, endpoints=2), DNS: Count(2, endpoints=2)}
        made.put(None, endpoints())
        ask(hosts, 4)
        made.put(None, endpoints(1))
        ask(hosts, 1)
        assert read()[WEB] == Count(9, 4, endpoints=1)
        assert read()[WEB] == Count(9, 4, endpoints=1), "reading takes nothing away"


def test_dropped_connections_are_counted_by_reason(hosts: Hosts) -> None:
    with proxy(hosts) as made:
        guarded = service(
            type="LoadBalancer",
            externalTrafficPolicy="Local",
            externalIPs=["198.51.100.1"],
            internalTrafficPolicy="Local",
        )
        made.put(guarded, endpoints(1, 2, node="there"))
        # What seems dropped is asked again, by a second first packet.
        ask(hosts, 1, source="out", to="198.51.100.1")
        ask(hosts, 1)
        assert counters(made).read() == {WEB: Count(local_drops=4)}


def test_numbers_survive_a_restart_and_session_affinity_counts_too(hosts: Hosts) -> None:
    with proxy(hosts) as made:
        sticky = service(sessionAffinity="ClientIP")
        made.put(sticky, endpoints(1, 2))
        ask(hosts, 3)
        made.restart(sticky, endpoints(1, 2))
        ask(hosts, 2)
        assert counters(made).read() == {WEB: Count(5, endpoints=2)}


def test_what_a_new_element_replaces_is_counted_on(hosts: Hosts) -> None:
    """By the kernel: a proxy that starts after changes, or that replaces elements at its start, loses nothing."""
    with proxy(hosts) as made:
        exposed = service(externalIPs=["198.51.100.1"])
        made.put(exposed, endpoints(1, 2))
        ask(hosts, 3)
        ask(hosts, 2, source="out", to="198.51.100.1")
        made.put(None, endpoints(1))
        made.restart(exposed, endpoints(1))
        assert counters(made).read() == {WEB: Count(5, endpoints=1)}
        ask(hosts, 1)
        made.restart(exposed, endpoints(1, 2))
        reader = counters(made)
        assert reader.read() == {WEB: Count(6, endpoints=2)}
        made.put(None, endpoints())
        ask(hosts, 1)
        assert reader.read()[WEB] == Count(6, 1), "no element counts, and what was counted stays"
        made.put(None, endpoints(2))
        ask(hosts, 1)
        assert reader.read()[WEB] == counters(made).read()[WEB] == Count(7, 1, endpoints=1)
        made.restart(exposed, endpoints(2))
        assert counters(made).read() == {WEB: Count(7, 1, endpoints=1)}


def test_somebody_elses_repair_does_not_turn_numbers_back(hosts: Hosts) -> None:
    with proxy(hosts) as made:
        reader = counters(made)
        made.put(service(), endpoints(1, 2))
        ask(hosts, 4)
        assert reader.read()[WEB].connections == 4
        made.nft.run_text(
            "delete element ip netplane-proxy services { 10.96.0.1 . tcp . 80 }\n"
            "add element ip netplane-proxy services { 10.96.0.1 . tcp . 80 : drop }"
        )
        made.sync(full=True)
        ask(hosts, 1)
        assert reader.read()[WEB].connections == 5


def test_changes_during_a_reading_are_counted_once(hosts: Hosts) -> None:
    """A reading pauses for changes: elements are replaced before, behind and at the place it has come to."""
    with proxy(hosts) as made, closing(Nft(hosts.node)) as apart:
        reader = Counters(apart, made.planes, made.syncer.tracker)
        made.put(service(), endpoints(1))

        async def churned(numbers: Iterator[int]) -> None:
            reading = asyncio.ensure_future(reader.gather())
            while not reading.done():
                made.syncer.slice_changed(None, slices.read(endpoints(*range(1, 2 + next(numbers))), "here"))
                made.syncer.apply(False)
                await asyncio.sleep(0)
            await reading

        numbers = itertools.cycle(range(3))
        for turn in range(1, 6):
            ask(hosts, 3)
            asyncio.run(churned(numbers))
            assert reader.read()[WEB].connections == 3 * turn


def test_a_service_that_went_takes_its_numbers_along(hosts: Hosts) -> None:
    with proxy(hosts) as made:
        reader = counters(made)
        made.put(service(), endpoints(1))
        ask(hosts, 3)
        assert reader.read() == {WEB: Count(3, endpoints=1)}
        made.delete(service())
        ask(hosts, 1)
        assert reader.read() == {}
        made.put(service(), endpoints(1))
        ask(hosts, 1)
        assert reader.read() == {WEB: Count(1, endpoints=1)}


def test_the_table_made_anew_starts_the_kernels_count_again_but_not_ours(hosts: Hosts) -> None:
    with proxy(hosts) as made:
        reader = counters(made)
        made.put(service(), endpoints(1))
        ask(hosts, 3)
        assert reader.read() == {WEB: Count(3, endpoints=1)}
        made.nft.run_text("delete table ip netplane-proxy")
        made.sync(full=True)
        ask(hosts, 2)
        assert reader.read() == {WEB: Count(5, endpoints=1)}


def test_the_listing_is_what_is_wanted_so_a_restart_rewrites_nothing(hosts: Hosts) -> None:
    with proxy(hosts) as made:
        made.put(service(sessionAffinity="ClientIP"), endpoints(1, 2))
        for plane in made.planes:
            wanted = with_balancers(plane.table, missing_balancers(plane.ledger.verdicts()))
            assert canonical(made.nft.list_table(plane.table) or "") == str(wanted)

"""Ranges that users add to those that ClusterIPs are given from, and take away again."""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplane.apiserver.admission import service_cidrs
from netplane.net.bitmap import Addresses, AllocationError, Full, OutOfRange, Taken
from netplane.net.ranges import Ranges
from tests.apiserver_app import Server, serving, settings

CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"
SERVICES = "/api/v1/namespaces/default/services"


def net(text: str) -> Any:
    return ipaddress.ip_network(text)


def ip(text: str) -> Any:
    return ipaddress.ip_address(text)


def run(test: Callable[[Server], Awaitable[None]], networks: str = "10.96.0.0/28") -> None:
    async def body() -> None:
        async with serving(settings(networks)) as server:
            await test(server)

    asyncio.run(asyncio.wait_for(body(), 30))


def cidr(name: str, *networks: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"cidrs": list(networks)}}


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def test_a_full_cluster_goes_on_with_the_range_that_is_added() -> None:
    async def test(ask: Server) -> None:
        known: dict[str, Any] = {}
        for i in range(13):  # 14 addresses, one is the kubernetes Service's
            await ask.create(SERVICES, service(f"s{i}"))
        assert "range is full" in (await ask("POST", SERVICES, service("more"))).json["message"]
        outside = await ask("POST", SERVICES, service("fixed", clusterIP="10.97.0.7"))
        assert (outside.status, "does not match the current range" in outside.json["message"]) == (422, True)
        await ask.create(CIDRS, cidr("more", "10.97.0.0/24"))
        await service_cidrs.settle(ask.cluster, known)
        made = (await ask("GET", f"{CIDRS}/more")).json
        assert made["metadata"]["finalizers"] == ["networking.k8s.io/service-cidr-finalizer"]
        [ready] = made["status"]["conditions"]
        assert (ready["type"], ready["status"]) == ("Ready", "True")
        first = await ask.create(SERVICES, service("more"))
        assert first["spec"]["clusterIP"].startswith("10.97.0.")
        assert (await ask.create(SERVICES, service("fixed", clusterIP="10.97.0.7")))["spec"]["clusterIP"] == "10.97.0.7"
        twice = await ask("POST", SERVICES, service("again", clusterIP="10.97.0.7"))
        assert (twice.status, "already allocated" in twice.json["message"]) == (422, True)

    run(test)


def test_a_range_in_use_stays_until_its_last_address_is_free() -> None:
    async def test(ask: Server) -> None:
        known: dict[str, Any] = {}
        await ask.create(CIDRS, cidr("more", "10.97.0.0/24"))
        await service_cidrs.settle(ask.cluster, known)
        await ask.create(SERVICES, service("s", clusterIP="10.97.0.7"))
        assert (await ask("DELETE", f"{CIDRS}/more")).json["metadata"]["deletionTimestamp"]
        assert (await service_cidrs.settle(ask.cluster, known))[1]
        [held] = (await ask("GET", f"{CIDRS}/more")).json["status"]["conditions"]
        assert (held["status"], held["reason"]) == ("False", "Terminating")
        assert held["message"].startswith("There are still IPAddresses referencing the ServiceCIDR")
        none = await ask("POST", SERVICES, service("t", clusterIP="10.97.0.8"))
        assert (none.status, "does not match the current range" in none.json["message"]) == (422, True)
        assert (await ask("DELETE", f"{SERVICES}/s")).status == 200
        await service_cidrs.settle(ask.cluster, known)
        assert (await ask("GET", f"{CIDRS}/more")).status == 404
        assert not (await service_cidrs.settle(ask.cluster, known))[1]
        assert list(known) == ["kubernetes"]

    run(test)


def test_addresses_that_another_range_holds_let_a_range_go() -> None:
    async def test(ask: Server) -> None:
        known: dict[str, Any] = {}
        await ask.create(CIDRS, cidr("small", "10.97.0.0/28"))
        await service_cidrs.settle(ask.cluster, known)
        await ask.create(SERVICES, service("s", clusterIP="10.97.0.7"))
        await ask.create(CIDRS, cidr("large", "10.97.0.0/24"))
        await service_cidrs.settle(ask.cluster, known)
        await ask("DELETE", f"{CIDRS}/small")
        await service_cidrs.settle(ask.cluster, known)
        assert (await ask("GET", f"{CIDRS}/small")).status == 404
        twice = await ask("POST", SERVICES, service("again", clusterIP="10.97.0.7"))
        assert twice.status == 422
        assert (await ask.create(SERVICES, service("t", clusterIP="10.97.0.8")))["spec"]["clusterIP"] == "10.97.0.8"

    run(test)


def test_the_loop_does_it_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_cidrs, "AGAIN_S", 0.01)

    async def test(ask: Server) -> None:
        loop = asyncio.create_task(service_cidrs.run(ask.cluster))
        await ask.create(CIDRS, cidr("more", "10.97.0.0/24", "fd00:97::/64"))
        while not ((await ask("GET", f"{CIDRS}/more")).json.get("status") or {}).get("conditions"):
            await asyncio.sleep(0.005)
        made = await ask.create(SERVICES, service("six", ipFamilies=["IPv6"], clusterIP="fd00:97::7"))
        assert made["spec"]["clusterIP"] == "fd00:97::7"
        await ask("DELETE", f"{CIDRS}/more")
        await ask("DELETE", f"{SERVICES}/six")
        while (await ask("GET", f"{CIDRS}/more")).status != 404:
            await asyncio.sleep(0.005)
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)

    run(test, "10.96.0.0/28,fd00:96::/112")


# The pool of several networks -----------------------------------------------------------------------------------


def test_what_is_retired_gives_nothing_and_remembers() -> None:
    pool = Ranges(net("10.0.0.0/29"))
    pool.add(net("10.1.0.0/29"), [ip("10.1.0.3")])
    assert pool.networks == (net("10.0.0.0/29"), net("10.1.0.0/29"))
    with pytest.raises(Taken):
        pool.take(ip("10.1.0.3"))
    pool.take(ip("10.1.0.4"))
    assert pool.free == 6 + 4
    pool.retire(net("10.1.0.0/29"))
    assert pool.free == 6
    assert ip("10.1.0.4") in pool
    with pytest.raises(OutOfRange, match="does not match the current range"):
        pool.take(ip("10.1.0.5"))
    for _ in range(6):
        assert pool.pick() in net("10.0.0.0/29")
    with pytest.raises(Full):
        pool.pick()
    pool.add(net("10.1.0.0/29"))
    assert pool.pick() in net("10.1.0.0/29")
    pool.drop(net("10.1.0.0/29"))
    assert ip("10.1.0.4") not in pool


def test_any_address_of_a_large_range_is_given_to_who_asks_for_it() -> None:
    async def test(ask: Server) -> None:
        far = "fd00:96::1:2:3:4"
        made = await ask.create(SERVICES, service("far", clusterIP=far))
        assert made["spec"]["clusterIPs"] == [far]
        assert (await ask("GET", f"/apis/networking.k8s.io/v1/ipaddresses/{far}")).status == 200
        assert "already allocated" in (await ask("POST", SERVICES, service("b", clusterIP=far))).json["message"]
        near = await ask.create(SERVICES, service("near"))
        assert ip(near["spec"]["clusterIP"]) in net("fd00:96::/108")
        outside = await ask("POST", SERVICES, service("out", clusterIP="fd00:96:0:1::1"))
        assert "does not match the current range" in outside.json["message"]
        await ask("DELETE", f"{SERVICES}/far")
        await ask.create(SERVICES, service("again", clusterIP=far))

    run(test, "fd00:96::/64")


NETWORKS = [net("10.0.0.0/29"), net("10.0.0.0/28"), net("10.0.0.8/29"), net("10.1.0.0/29")]


def holds(pool: Ranges, value: Any) -> bool:
    return any(Addresses(one).holds(value) for one in pool.networks)


STEP = st.one_of(
    st.tuples(st.sampled_from(["add", "retire"]), st.sampled_from(NETWORKS[1:])),
    st.tuples(st.just("pick"), st.none()),
    st.tuples(st.sampled_from(["take", "release"]), st.integers(1, 14).map(lambda n: ip(f"10.0.0.{n}"))),
)


@given(st.lists(STEP, max_size=60))
def test_no_address_is_given_twice_whatever_overlaps(steps: list[tuple[str, Any]]) -> None:
    pool, held = Ranges(NETWORKS[0]), set[Any]()
    for what, value in steps:
        try:
            if what == "pick":
                found = pool.pick()
                assert found not in held
                assert any(found in one for one in pool.networks)
                held.add(found)
            elif what == "take":
                pool.take(value)
                assert value not in held
                held.add(value)
            elif what == "add":
                pool.add(value, [one for one in held if one in value])
            else:
                getattr(pool, what)(value)
                held.discard(value)
        except AllocationError:
            refused = what == "take" and not (value in held or not holds(pool, value))
            if refused or what not in ("pick", "take"):
                raise
    assert set(pool) == held

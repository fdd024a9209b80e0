"""Allocators: bands, exhaustion, errors and repeatability."""

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest

from netplane.net import bitmap
from netplane.net.bitmap import Addresses, Full, OutOfRange, Ports, Taken

FACTS = Path(__file__).parents[2] / "../shared/facts/tables"
LIMITS = {"MaxInt32- 1": 2**31 - 2, "MaxUint32- 1": 2**32 - 2, "MaxInt64": 2**63 - 1}


def network(text: str) -> bitmap.IPNetwork:
    return ipaddress.ip_network(text, strict=False)


def rows(file: str, table: str) -> list[dict[str, Any]]:
    path = FACTS / file
    return json.loads(path.read_text())[table] if path.exists() else []


@pytest.mark.parametrize(
    ("cidr", "hosts", "band"),
    [
        ("10.96.0.0/16", 65534, 256),
        ("10.0.0.0/24", 254, 16),
        ("10.0.0.0/20", 4094, 256),
        ("10.0.0.0/23", 510, 32),
        ("10.0.0.0/28", 14, 0),
        ("10.0.0.0/30", 2, 0),
        ("10.0.0.0/32", 0, 0),
        ("fd00::/112", 65535, 256),
        ("fd00::/127", 1, 0),
    ],
)
def test_networks(cidr: str, hosts: int, band: int) -> None:
    assert (bitmap.usable_hosts(network(cidr)), bitmap.address_band(network(cidr))) == (hosts, band)


@pytest.mark.parametrize(
    "row", rows("pkg_registry_core_service_ipallocator_ipallocator.json", "ipallocator_test.go:Test_hostsPerNetwork#1")
)
def test_hosts_per_network(row: dict[str, Any]) -> None:
    want = LIMITS.get(row["addrs"], row["addrs"])
    have = bitmap.usable_hosts(network(row["cidr"]))
    assert have == want or (want == "MaxUint64" and have >= 2**64 - 1)


@pytest.mark.parametrize(
    "row",
    rows("pkg_registry_core_service_portallocator_allocator.json", "allocator_test.go:Test_calculateRangeOffset#1"),
    ids=lambda row: row["name"],
)
def test_port_bands(row: dict[str, Any]) -> None:
    assert bitmap.port_band(row["args"]["pr"]["Size"]) == row["want"]


def test_default_port_band() -> None:
    assert [bitmap.port_band(size) for size in (10, 16, 17, 128, 2768, 8192)] == [0, 0, 16, 16, 86, 128]


@pytest.mark.parametrize(
    "row",
    rows("pkg_registry_core_service_ipallocator_ipallocator.json", "ipallocator_test.go:TestAllocateIPAllocator#1"),
    ids=lambda row: row["name"],
)
def test_allocation_of_a_whole_network(row: dict[str, Any]) -> None:
    pool = Addresses(network(row["cidr"]))
    assert pool.free == row["free"]
    picked = {pool.pick() for _ in range(pool.free)}
    assert len(picked) == row["free"]
    with pytest.raises(Full, match="range is full"):
        pool.pick()
    released = ipaddress.ip_address(row["released"])
    pool.release(released)
    pool.release(released)
    assert (pool.free, released in pool) == (1, False)
    assert pool.pick() == released
    for outside in row["outOfRange"]:
        with pytest.raises(
            OutOfRange, match=r"the provided IP \(.*\) is not in the valid range\. The range of valid IPs is"
        ):
            pool.take(ipaddress.ip_address(outside))
    with pytest.raises(Taken, match="provided IP is already allocated"):
        pool.take(ipaddress.ip_address(row["alreadyAllocated"]))


def test_picks_come_from_above_the_band_first() -> None:
    pool = Addresses(network("10.0.0.0/24"))
    upper = {pool.pick() for _ in range(254 - 16)}
    assert upper == {ipaddress.ip_address(f"10.0.0.{i}") for i in range(17, 255)}
    assert {pool.pick() for _ in range(16)} == {ipaddress.ip_address(f"10.0.0.{i}") for i in range(1, 17)}


def test_ports() -> None:
    pool = Ports(30000, 32767, seed=1)
    pool.take(30005)
    assert (30005 in pool, list(pool)) == (True, [30005])
    with pytest.raises(Taken, match="provided port is already allocated"):
        pool.take(30005)
    with pytest.raises(OutOfRange, match=r"The range of valid ports is 30000-32767"):
        pool.take(80)
    assert all(30086 <= pool.pick() <= 32767 for _ in range(100))


def test_equal_seeds_pick_alike_and_others_do_not() -> None:
    picks = [[pool.pick() for _ in range(20)] for pool in (Ports(1, 9999, 7), Ports(1, 9999, 7), Ports(1, 9999, 8))]
    assert picks[0] == picks[1] != picks[2]
    assert picks[0] != sorted(picks[0])


def test_of_a_large_network_any_address_can_be_asked_for() -> None:
    pool = Addresses(network("fd00::/64"), seed=3)
    far = ipaddress.ip_address("fd00::ffff:ffff:ffff:ffff")
    pool.take(far)
    with pytest.raises(Taken):
        pool.take(far)
    assert (far in pool, list(pool), pool.free) == (True, [far], 2**64 - 2)
    assert all(pool.pick() in network("fd00::/108") for _ in range(100))
    pool.release(far)
    pool.release(far)
    assert (far in pool, pool.free) == (False, 2**64 - 101)
    with pytest.raises(OutOfRange):
        pool.take(ipaddress.ip_address("fd00:0:0:1::"))


def test_families_do_not_mix() -> None:
    assert ipaddress.ip_address("::a00:1") not in Addresses(network("10.0.0.0/24"))

"""Session affinity with real packets: sticky, renewed by use, re-picked, remembered across restarts of the proxy."""

import subprocess
import time
from collections.abc import Iterator

import msgspec
import pytest

from netplane.api.objects import EndpointSlice, Service
from netplane.net.addresses import packed
from netplane.nft.objects import canonical
from netplane.nft.packet import client_slot
from tests import packet_hosts as at
from tests import proxied
from tests.packet_hosts import Hosts, Probe
from tests.proxied import Proxy, proxy

pytestmark = pytest.mark.privileged
FRONTENDS = {4: ("10.96.0.1", "198.51.100.1"), 6: ("fd00:96::1", "2001:db8:f::1")}
VERSIONS = (4, 6)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with at.hosts() as made:
        yield made


def service(version: int, timeout_s: int = 60) -> Service:
    cluster_ip, external_ip = FRONTENDS[version]
    return proxied.service(
        clusterIP=cluster_ip,
        externalIPs=[external_ip],
        type="NodePort",
        ports=[{"name": "web", "port": 80, "nodePort": 30_009}],
        sessionAffinity="ClientIP",
        sessionAffinityConfig={"clientIP": {"timeoutSeconds": timeout_s}},
    )


def endpoints(version: int, *numbers: int) -> EndpointSlice:
    item = proxied.endpoints(*numbers)
    assert item.endpoints is not None
    moved = [
        msgspec.structs.replace(e, addresses=[at.ADDRESSES[f"e{n}"][version]])
        for e, n in zip(item.endpoints, numbers, strict=True)
    ]
    return msgspec.structs.replace(item, address_type=f"IPv{version}", endpoints=moved)


def ask(hosts: Hosts, source: str, address: str, port: int = 80) -> str:
    probe = Probe(source, address, port, "tcp")
    answer = hosts.ask([probe], patience_s=2.0)[probe]
    assert answer.outcome == "dnat"
    return answer.endpoint


def remembered(made: Proxy, version: int) -> dict[bytes, bytes]:
    plane = made.planes[version == 6]
    return made.nft.list_elements(plane.table, plane.table.set("affinity")) or {}  # type: ignore[return-value]  # handles


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_sticks_through_every_frontend_and_others_are_spread(hosts: Hosts, version: int) -> None:
    cluster_ip, external_ip = FRONTENDS[version]
    with proxy(hosts) as made:
        made.put(service(version), endpoints(version, *at.ENDPOINTS))
        chosen = {}
        for source in ("client", "out", *(f"e{n}" for n in at.ENDPOINTS)):
            chosen[source] = ask(hosts, source, cluster_ip)
            ways = [(cluster_ip, 80), (external_ip, 80), (at.ADDRESSES["node"][version], 30_009)]
            assert {ask(hosts, source, *way) for way in ways * 5} == {chosen[source]}
        assert len(set(chosen.values())) > 1, "eight clients on one of six endpoints: one chance in 280,000"
        # The kernel's hash of an IPv6 address is the tracer's.
        slots = {key[4:] for key in remembered(made, version)}
        assert {client_slot(packed(at.ADDRESSES[source][version])) for source in chosen} == slots


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_is_re_picked_when_its_endpoint_goes_and_only_then(hosts: Hosts, version: int) -> None:
    cluster_ip, _ = FRONTENDS[version]
    with proxy(hosts) as made:
        present = set(at.ENDPOINTS)
        made.put(service(version), endpoints(version, *present))
        mine = ask(hosts, "client", cluster_ip)
        while len(present) > 1:
            number = next(n for n in present if at._endpoint(at.ADDRESSES[f"e{n}"][version], 8080) == mine)
            other = next(n for n in present if n != number)
            made.put(None, endpoints(version, *(present - {other})))
            assert {ask(hosts, "client", cluster_ip) for _ in range(4)} == {mine}, "another endpoint went"
            made.put(None, endpoints(version, *present))
            assert {ask(hosts, "client", cluster_ip) for _ in range(4)} == {mine}, "another endpoint came"
            present.discard(number)
            made.put(None, endpoints(version, *present))
            again = ask(hosts, "client", cluster_ip)
            assert again != mine
            assert {ask(hosts, "client", cluster_ip) for _ in range(8)} == {again}
            mine = again


@pytest.mark.parametrize("version", VERSIONS)
def test_memory_outlives_the_proxy_and_ends_with_its_timeout(hosts: Hosts, version: int) -> None:
    cluster_ip, external_ip = FRONTENDS[version]
    with proxy(hosts) as made:
        made.put(service(version, timeout_s=2), endpoints(version, *at.ENDPOINTS))
        mine = ask(hosts, "client", cluster_ip)
        made.restart(service(version, timeout_s=2), endpoints(version, *at.ENDPOINTS))
        began = time.monotonic()
        while time.monotonic() - began < 3:  # longer than the timeout: use renews it
            assert ask(hosts, "client", external_ip) == mine
            time.sleep(0.3)
        time.sleep(2.5)
        assert not [key for key in remembered(made, version) if key[4:] == client_slot(_packed("client", version))]


def _packed(source: str, version: int) -> bytes:
    return packed(at.ADDRESSES[source][version])


def test_listing_and_reloading_keeps_rules_and_memory(hosts: Hosts) -> None:
    with proxy(hosts) as made:
        for version in VERSIONS:
            made.put(service(version), endpoints(version, *at.ENDPOINTS))
            mine = ask(hosts, "client", FRONTENDS[version][0])
            nft = ["ip", "netns", "exec", f"{at.PREFIX}node", "nft"]
            shown = subprocess.run([*nft, "list", "ruleset"], capture_output=True, text=True, check=True).stdout
            subprocess.run([*nft, "-f", "-"], input=f"flush ruleset\n{canonical(shown)}", text=True, check=True)
            assert made.sync(full=True).applied.elements == 0
            assert {ask(hosts, "client", FRONTENDS[version][0]) for _ in range(6)} == {mine}
            made.delete(service(version))


def test_nothing_of_the_scratch_register_leaves_the_node(hosts: Hosts) -> None:
    """A packet's priority chooses queues and becomes VLAN priorities: it must be what it was."""
    with proxy(hosts) as made:
        made.put(service(4), endpoints(4, *at.ENDPOINTS))
        made.nft.run_text(
            "add table ip seen; add counter ip seen marked; add counter ip seen plain;"
            "add chain ip seen post { type filter hook postrouting priority 300; };"
            "add rule ip seen post ip daddr 10.1.0.0/24 meta priority none counter name plain;"
            "add rule ip seen post ip daddr 10.1.0.0/24 meta priority != none counter name marked"
        )
        ask(hosts, "client", "10.96.0.1")
        assert "packets 0 " in made.nft.run_text("list counter ip seen marked")
        assert "packets 0 " not in made.nft.run_text("list counter ip seen plain")

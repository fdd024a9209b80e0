"""Pods on one bridge, client and endpoint alike, with and without br_netfilter."""

from collections.abc import Iterator

import msgspec
import pytest

from netplane.api.objects import Endpoint
from tests import packet_hosts as at
from tests.packet_hosts import Hosts, Probe
from tests.proxied import endpoints, proxy, service

pytestmark = pytest.mark.privileged


@pytest.fixture(scope="module")
def bridged() -> Iterator[Hosts]:
    with at.hosts(bridge=True) as made:
        yield made


@pytest.mark.parametrize("filtered", [False, True], ids=["bridge-nf-call-iptables=0", "bridge-nf-call-iptables=1"])
def test_endpoints_on_the_clients_own_bridge(bridged: Hosts, filtered: bool) -> None:
    """The reply must pass the node to be translated back; so must a pod's request that comes back to itself."""
    bridged.filter_bridged(filtered)
    twin = msgspec.structs.replace(
        endpoints(name="s1-0"),
        address_type="IPv6",
        endpoints=[Endpoint(addresses=[at.ADDRESSES["e2"][6]], node_name="here")],
    )
    with proxy(bridged) as made:
        made.put(service(), endpoints(2))
        made.put(service("s1", clusterIP="fd00:96::1"), twin)
        for client in ("e1", "client", "node", "out", "e2"):
            asked = [
                probe
                for address in ("10.96.0.1", "fd00:96::1")
                for probe in (Probe(client, address, 80, "tcp"), Probe(client, address, 53, "udp"))
            ]
            for probe, answer in bridged.ask(asked, patience_s=1.0).items():
                version = probe.family.version
                assert answer.endpoint.startswith(("10.1.0.2:", "[fd00:1::2]:")), (probe, answer)
                kept = answer.client == at.ADDRESSES[client][version]
                assert kept == (client in ("e1", "client")), (
                    "only who is no pod, and who reaches itself, is masqueraded"
                )

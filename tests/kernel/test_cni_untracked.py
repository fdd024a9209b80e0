"""The tunnel's own packets pass connection tracking by; what is inside them does not."""

import ipaddress

import pytest

from cni.plan import overlay
from cni.plan.underlay import Underlay
from cni.plan.untracked import chains
from netplane.kernel import netns
from netplane.kernel.conntrack import Conntrack
from netplane.kernel.nft import Nft
from netplane.nft.types import FAMILIES, PROTOCOLS
from tests.cnitools import ask, echo
from tests.overlay_cluster import Cluster

pytestmark = pytest.mark.privileged


def tracked_ports(space: str, protocol: str) -> set[int]:
    """Destination ports of a node's flows, both families."""
    with netns.opened(space) as fd:
        conntrack = Conntrack(fd)
        try:
            return {
                flow.original.destination_port
                for family in FAMILIES
                for flow in conntrack.flows(family, PROTOCOLS[protocol])
            }
        finally:
            conntrack.close()


def test_only_inner_flows_are_tracked(cluster: Cluster) -> None:
    (a, a4, a6), (b, b4, b6) = cluster.pod(1, "a"), cluster.pod(2, "b")
    with echo(b, b4), echo(b, b6, 8081):
        assert ask(a, b4) == a4
        assert ask(a, b4, kind="udp") == a4
        assert ask(a, b6, 8081) == a6
    for agent in cluster.agents.values():
        assert tracked_ports(agent.space, "tcp") >= {8080, 8081}
        assert 8080 in tracked_ports(agent.space, "udp")
        assert overlay.PORT not in tracked_ports(agent.space, "udp")
    # What pods send to that port of somebody else is tracked, and masqueraded, as ever.
    with echo(cluster.outside, "192.0.2.200", overlay.PORT):
        assert ask(a, "192.0.2.200", overlay.PORT, kind="udp") == "192.0.2.1"
        assert overlay.PORT in tracked_ports(cluster.agents[1].space, "udp")


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_without_a_tunnel_the_chains_are_empty_and_text_is_repeatable(cluster: Cluster, address: str) -> None:
    underlay = Underlay("eth0", ipaddress.ip_address(address), 1500, "")
    with netns.opened(cluster.agents[1].space) as fd:
        nft = Nft(fd)
        try:
            for mode, rules in (("vxlan", 2), ("vxlan", 2), ("host-gw", 0), ("none", 0)):
                nft.run_text(chains(overlay.Tunnel(mode), underlay))  # type: ignore[arg-type] # its three words
                listing = nft.run_text("list table inet netplane-cni")
                assert listing.count("notrack") == rules
                assert listing.count(address) == rules
        finally:
            nft.close()

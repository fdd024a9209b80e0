"""Listing and deleting tracked flows of a namespace, made with real datagrams over its loopback."""

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from netplane.kernel import netns
from netplane.kernel.conntrack import Conntrack
from netplane.nft import types

pytestmark = pytest.mark.privileged
NAMESPACE = f"npt-ct-{os.getpid():x}"
RULES = """
table ip t {
  chain out { type nat hook output priority -100; ip daddr 10.96.0.1 udp dport 53 dnat to 127.0.0.1:5353; }
}
table ip6 t {
  chain out { type nat hook output priority -100; ip6 daddr fd00::96 udp dport 53 dnat to [::1]:5353; }
}
"""


@pytest.fixture
def conntrack() -> Iterator[Conntrack]:
    netns.create(NAMESPACE)
    try:
        for command in (
            "ip link set lo up",
            "ip address add 10.96.0.1/32 dev lo",
            "ip -6 address add fd00::96/128 dev lo nodad",
        ):
            subprocess.run(["ip", "netns", "exec", NAMESPACE, *command.split()], check=True)
        subprocess.run(["ip", "netns", "exec", NAMESPACE, "nft", "-f", "-"], input=RULES, text=True, check=True)
        with netns.opened(NAMESPACE) as fd:
            yield Conntrack(fd)
    finally:
        netns.delete(NAMESPACE)


def send(*targets: tuple[str, int]) -> None:
    def work() -> None:
        for address, port in targets:
            kind = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(kind, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"x", (address, port))

    netns.run_in(NAMESPACE, work)


@pytest.mark.parametrize(
    ("family", "service", "endpoint"),
    [(types.IPV4, "10.96.0.1", "127.0.0.1"), (types.IPV6, "fd00::96", "::1")],
    ids=["IPv4", "IPv6"],
)
def test_flows_show_where_they_went_and_can_be_deleted(
    conntrack: Conntrack, family: types.Family, service: str, endpoint: str
) -> None:
    send((service, 53), (service, 54), (service, 53))
    flows = list(conntrack.flows(family, 17))
    wanted = [flow for flow in flows if flow.original.destination_port == 53]
    assert len(flows) == 3
    assert {family.address.text(flow.original.destination) for flow in wanted} == {service}
    assert {(family.address.text(flow.reply.source), flow.reply.source_port) for flow in wanted} == {(endpoint, 5353)}
    assert conntrack.delete(family, wanted) == 2
    assert conntrack.delete(family, wanted) == 0, "flows that are gone are no error"
    assert [flow.original.destination_port for flow in conntrack.flows(family, 17)] == [54]


def test_the_kernel_filters_by_protocol_and_family(conntrack: Conntrack) -> None:
    send(("10.96.0.1", 53))
    assert len(list(conntrack.flows(types.IPV4, 17))) == 1
    assert list(conntrack.flows(types.IPV4, 6)) == []
    assert list(conntrack.flows(types.IPV6, 17)) == []


def test_thousands_of_flows_are_deleted_in_batches(conntrack: Conntrack) -> None:
    send(*(("10.96.0.1", port) for port in range(1000, 2000)))
    flows = list(conntrack.flows(types.IPV4, 17))
    assert len(flows) == 1000
    assert conntrack.delete(types.IPV4, flows) == 1000
    assert list(conntrack.flows(types.IPV4, 17)) == []

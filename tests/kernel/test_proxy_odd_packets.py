"""Packets no socket sends on its own: fragments, ICMP errors about translated flows, no checksum, SCTP."""

import json
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import pytest
from scapy.layers.inet import ICMP, IP, UDP, IPerror, UDPerror, fragment
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit
from scapy.packet import Packet, Raw

from netplane.api.objects import EndpointPort, EndpointSlice, Service
from netplane.kernel import netns
from tests import packet_hosts as at
from tests import proxied
from tests.packet_hosts import Hosts
from tests.proxied import proxy

pytestmark = pytest.mark.privileged
VERSIONS = (4, 6)
SERVICE = {4: "10.96.0.1", 6: "fd00:96::1"}
CLIENT, ENDPOINT = at.ADDRESSES["client"], at.ADDRESSES["e1"]
PATIENCE_S = 5.0
_ETH_P_ALL = 0x0003


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with at.hosts() as made:
        yield made


def service(version: int) -> Service:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "sig", "port": 3868, "protocol": "SCTP"},
        {"name": "closed", "port": 54, "protocol": "UDP"},
    ]
    return proxied.service(clusterIP=SERVICE[version], ports=ports)


def endpoints(version: int) -> EndpointSlice:
    item = proxied.endpoints(1)
    assert item.endpoints is not None
    (one,) = item.endpoints
    ports = [
        EndpointPort(name="dns", port=8053, protocol="UDP"),
        EndpointPort(name="sig", port=9868, protocol="SCTP"),
        EndpointPort(name="closed", port=8054, protocol="UDP"),
    ]
    moved = [msgspec.structs.replace(one, addresses=[ENDPOINT[version]])]
    return msgspec.structs.replace(item, address_type=f"IPv{version}", endpoints=moved, ports=ports)


class Wire:
    """A pod's end of its link: frames out, frames in."""

    def __init__(self, hosts: Hosts, name: str) -> None:
        self.name = name
        self.sock = netns.socket_in(hosts.fds[name], socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self.sock.bind(("eth0", _ETH_P_ALL))
        self._source, self._gateway = _mac(name, "eth0"), _mac("node", name)

    def send(self, packet: Packet) -> None:
        self.sock.send(bytes(Ether(src=self._source, dst=self._gateway) / packet))

    def until(self, wanted: Callable[[Packet], bool]) -> Packet:
        """The first packet that comes in and is wanted."""
        end = time.monotonic() + PATIENCE_S
        while select.select([self.sock], [], [], max(end - time.monotonic(), 0))[0]:
            data, (_, _, kind, *_) = self.sock.recvfrom(65_536)
            frame = Ether(data)
            if kind != 4 and wanted(frame):  # 4: what we sent ourselves
                return frame.payload
        raise AssertionError(f"{self.name} never saw it")


def _mac(name: str, link: str) -> str:
    shown = subprocess.run(
        ["ip", "-n", at.PREFIX + name, "-j", "link", "show", link], capture_output=True, text=True, check=True
    )
    return str(json.loads(shown.stdout)[0]["address"])


@contextmanager
def wires(hosts: Hosts, version: int) -> Iterator[tuple[Wire, Wire]]:
    """The client's and the endpoint's, while a proxy serves."""
    with proxy(hosts) as made:
        made.put(service(version), endpoints(version))
        client, endpoint = Wire(hosts, "client"), Wire(hosts, "e1")
        with client.sock, endpoint.sock:
            yield client, endpoint


def ip(version: int, src: str, dst: str) -> Packet:
    return IP(src=src, dst=dst) if version == 4 else IPv6(src=src, dst=dst)


def answered(client: Wire, version: int, sport: int) -> str:
    """The line a server sent back to a port of the client, from the service's address."""
    answer = client.until(lambda p: UDP in p and p[UDP].dport == sport and p[UDP].sport == 53)
    assert answer.src == SERVICE[version]
    return bytes(answer[UDP].payload).decode()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("reverse", [False, True], ids=["in order", "last first"])
def test_a_datagram_in_fragments_reaches_the_endpoint_whole(hosts: Hosts, version: int, reverse: bool) -> None:
    with wires(hosts, version) as (client, _):
        sport = 41_000 + version + 10 * reverse
        body = UDP(sport=sport, dport=53) / Raw(b"x" * 3_000)
        if version == 4:
            pieces = fragment(IP(src=CLIENT[4], dst=SERVICE[4], id=sport) / body, 1_000)
        else:
            whole = IPv6(src=CLIENT[6], dst=SERVICE[6]) / IPv6ExtHdrFragment(id=sport) / body
            pieces = fragment6(whole, 1_280)
        assert len(pieces) >= 3
        for piece in reversed(pieces) if reverse else pieces:
            client.send(piece)
        assert answered(client, version, sport).split()[1] == CLIENT[version]


def test_a_datagram_without_checksum_is_translated_and_stays_without(hosts: Hosts) -> None:
    """RFC 768: zero means that none was computed; translating must not make one up from nothing."""
    with wires(hosts, 4) as (client, endpoint):
        client.send(ip(4, CLIENT[4], SERVICE[4]) / UDP(sport=42_004, dport=53, chksum=0) / Raw(b"?"))
        came = endpoint.until(lambda p: UDP in p and p[UDP].sport == 42_004)
        assert (came.dst, came[UDP].dport, came[UDP].chksum) == (ENDPOINT[4], 8053, 0)
        assert answered(client, 4, 42_004).startswith("10.1.0.1:8053")


def test_an_ipv6_datagram_without_checksum_gets_no_answer_and_breaks_nothing(hosts: Hosts) -> None:
    """RFC 8200, 8.1: receivers must discard such datagrams."""
    with wires(hosts, 6) as (client, _):
        bare = bytes(ip(6, CLIENT[6], SERVICE[6]) / UDP(sport=42_006, dport=53, chksum=0) / Raw(b"?"))
        client.send(IPv6(bare[:46] + b"\0\0" + bare[48:]))
        client.send(ip(6, CLIENT[6], SERVICE[6]) / UDP(sport=42_007, dport=53) / Raw(b"?"))
        first = client.until(lambda p: UDP in p and p[UDP].dport in (42_006, 42_007))
        assert first[UDP].dport == 42_007


@pytest.mark.parametrize("version", VERSIONS)
def test_an_error_from_the_endpoint_speaks_of_the_address_the_client_asked(hosts: Hosts, version: int) -> None:
    with wires(hosts, version) as (client, _):
        client.send(ip(version, CLIENT[version], SERVICE[version]) / UDP(sport=43_001, dport=54) / Raw(b"?"))
        kind = ICMP if version == 4 else ICMPv6DestUnreach
        error = client.until(lambda p: kind in p and UDPerror in p and p[UDPerror].sport == 43_001)
        quoted = error[IPerror] if version == 4 else error[ICMPv6DestUnreach].payload
        assert (quoted.dst, error[UDPerror].dport) == (SERVICE[version], 54)
        assert error.src == SERVICE[version]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_error_from_the_client_speaks_to_the_endpoint_of_its_own_packet(hosts: Hosts, version: int) -> None:
    """Path MTU discovery (RFC 1191, RFC 8201) through translation: the endpoint must learn of its own flow."""
    with wires(hosts, version) as (client, endpoint):
        client.send(ip(version, CLIENT[version], SERVICE[version]) / UDP(sport=43_002, dport=53) / Raw(b"?"))
        answered(client, version, 43_002)
        quoted = (
            ip(version, SERVICE[version], CLIENT[version]) / UDP(sport=53, dport=43_002, len=1_400) / Raw(b"x" * 32)
        )
        error = ICMP(type=3, code=4, nexthopmtu=1_300) if version == 4 else ICMPv6PacketTooBig(mtu=1_300)
        client.send(ip(version, CLIENT[version], SERVICE[version]) / error / quoted)
        kind = ICMP if version == 4 else ICMPv6PacketTooBig
        came = endpoint.until(lambda p: kind in p and UDPerror in p)
        inner = came[IPerror] if version == 4 else came[ICMPv6PacketTooBig].payload
        assert (came.dst, inner.src, came[UDPerror].sport) == (ENDPOINT[version], ENDPOINT[version], 8053)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_sctp_association_begins_at_the_endpoint_with_a_right_checksum(hosts: Hosts, version: int) -> None:
    with wires(hosts, version) as (client, endpoint):
        hello = SCTP(sport=44_000, dport=3868, tag=0) / SCTPChunkInit(
            init_tag=7, a_rwnd=65_536, n_out_streams=1, n_in_streams=1
        )
        client.send(ip(version, CLIENT[version], SERVICE[version]) / hello)
        came = endpoint.until(lambda p: SCTP in p and p[SCTP].sport == 44_000)
        assert (came.dst, came[SCTP].dport) == (ENDPOINT[version], 9868)
        said = came[SCTP].chksum
        again = SCTP(bytes(came[SCTP]))
        again.chksum = None
        assert SCTP(bytes(again)).chksum == said

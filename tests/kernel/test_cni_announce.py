"""After ADD the node's bridge hears where the pod's addresses are."""

import socket
from pathlib import Path

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA
from scapy.layers.l2 import ARP, Ether

from netplane.kernel import netns
from tests.cnitools import Node, config, door, spaces

pytestmark = pytest.mark.privileged
RANGES = {"ranges": [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:1::/64"}]]}


def test_both_families_are_announced_with_the_pods_mac(tmp_path: Path) -> None:
    with spaces() as place:
        node = Node(place.name("node"), tmp_path)
        try:
            settings = config(ipam=RANGES)
            assert node.call("ADD", "first", place.name("first"), config=settings).status == 0
            with netns.opened(node.space) as fd:
                ear = netns.socket_in(fd, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            with ear:
                ear.bind(("np0", 3))
                ear.settimeout(10)
                pod = place.name("pod")
                assert node.call("ADD", "c1", pod, config=settings).status == 0
                with door(pod) as rtnl:
                    mac = getattr(rtnl.link("eth0"), "mac", "")
                heard: set[str] = set()
                while len(heard) < 2:
                    frame = Ether(ear.recv(2048))
                    if ARP in frame and frame[ARP].psrc == frame[ARP].pdst and frame[ARP].hwsrc == mac:
                        heard.add(frame[ARP].psrc)
                    if ICMPv6ND_NA in frame and frame.src == mac and frame[ICMPv6ND_NA].tgt.startswith("fd00"):
                        heard.add(frame[ICMPv6ND_NA].tgt)
            assert heard == {"10.244.1.3", "fd00:1::3"}
        finally:
            node.close()

"""The frames of announcements, read by somebody else's decoder."""

from ipaddress import ip_address

from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from cni.plan import announce

MAC = "0a:58:0a:f4:01:05"


def test_an_arp_announcement_asks_everybody_for_its_own_address() -> None:
    frame = Ether(announce.frame(MAC, ip_address("10.244.1.5")))
    assert (frame.src, frame.dst) == (MAC, "ff:ff:ff:ff:ff:ff")
    arp = frame[ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.pdst) == (1, MAC, "10.244.1.5", "10.244.1.5")


def test_a_neighbour_advertisement_overrides_what_all_nodes_know() -> None:
    raw = announce.frame(MAC, ip_address("fd00:1::5"))
    frame = Ether(raw)
    assert (frame.src, frame.dst) == (MAC, "33:33:00:00:00:01")
    packet, found = frame[IPv6], frame[ICMPv6ND_NA]
    assert (packet.src, packet.dst, packet.hlim) == ("fd00:1::5", "ff02::1", 255)
    assert (found.tgt, found.O, found.S, found.R) == ("fd00:1::5", 1, 0, 0)
    assert frame[ICMPv6NDOptDstLLAddr].lladdr == MAC
    again = frame.copy()
    del again[ICMPv6ND_NA].cksum
    assert bytes(again) == raw, "the checksum is right"

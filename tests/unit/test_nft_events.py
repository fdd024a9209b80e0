"""Trace messages as the kernel writes them, and whether they agree with a trace."""

import struct

import pytest

from netplane.net import netlink as nl
from netplane.net.addresses import packed
from netplane.nft import events
from netplane.nft.events import Event, Headers
from netplane.nft.packet import Endpoint, Packet, Step, Trace
from netplane.nft.types import IPV4
from proxy.plan.agree import disagreements, follow

FIRST = Packet(IPV4, packed("10.244.1.5"), packed("10.96.0.10"), 6, 80)
OWN = "netplane-trace-1"


def message(*attrs: bytes, family: int = 2) -> nl.Message:
    return nl.Message(events.TRACE, 0, 0, struct.pack("!BBH", family, 0, 0) + b"".join(attrs))


def verdict(code: int, chain: str = "") -> bytes:
    said = nl.attr(1, struct.pack("!i", code)) + (nl.attr_str(2, chain) if chain else b"")
    return nl.attr(5, said)


def test_a_rules_message_is_read() -> None:
    v4 = bytes(12) + packed("10.0.0.1") + packed("10.96.0.1")
    read = events.decode(
        message(
            nl.attr_str(1, "netplane-proxy"),
            nl.attr_str(2, "dispatch"),
            nl.attr_be64(3, 77),
            nl.attr_be32(4, 3),
            verdict(-4, "lb_2"),
            nl.attr(8, b"\x45" + v4[1:]),
            nl.attr(9, struct.pack("!HH", 4000, 53)),
        )
    )
    headers = Headers(packed("10.0.0.1"), packed("10.96.0.1"), 53)
    assert read == Event("ip", "netplane-proxy", "dispatch", "rule", "goto lb_2", 77, headers)


def test_a_policys_message_with_ipv6_headers() -> None:
    v6 = b"\x60" + bytes(7) + packed("fd00::1") + packed("fd00::2")
    read = events.decode(
        message(
            nl.attr_str(1, OWN),
            nl.attr_str(2, "input"),
            nl.attr_be32(4, 1),
            nl.attr_be32(16, 1),
            nl.attr(8, v6),
            family=1,
        )
    )
    assert read == Event("inet", OWN, "input", "policy", "accept", 0, Headers(packed("fd00::1"), packed("fd00::2"), 0))


def test_other_messages_are_none() -> None:
    assert events.decode(nl.Message(2, 0, 0, b"")) is None


def test_rules_are_found_by_their_handles() -> None:
    listing = (
        "table ip a { # handle 1\n\tset s { # handle 9\n\t\ttype ipv4_addr\n\t}\n\tchain c { # handle 2\n"
        "\t\ttype nat hook prerouting priority dstnat; policy accept;\n\t\tgoto d # handle 5\n\t}\n}\n"
        "table ip6 a { # handle 2\n\tchain c { # handle 1\n\t\tdrop # handle 5\n\t}\n}\n"
    )
    assert events.rules_by_handle(listing) == {("ip a", "c", 5): "goto d", ("ip6 a", "c", 5): "drop"}


def rule(chain: str, handle: int, said: str) -> Event:
    return Event("ip", "netplane-proxy", chain, "rule", said, handle, None)


def end(saddr: str, daddr: str, dport: int) -> Event:
    return Event("inet", OWN, "postrouting", "policy", "accept", 0, Headers(packed(saddr), packed(daddr), dport))


RULES = {("ip netplane-proxy", "prerouting", 1): "goto dispatch", ("ip netplane-proxy", "dispatch", 2): "reject"}
STEPS = (Step("prerouting", "goto dispatch", ""),)
DNAT = Trace(FIRST, "dnat", (Endpoint("10.1.0.1", 8080, False), Endpoint("10.1.0.2", 8080, True)), True, STEPS, 0)


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (end("10.244.1.5", "10.1.0.1", 8080), ""),
        (end("192.0.2.1", "10.1.0.2", 8080), ""),
        (end("192.0.2.1", "10.1.0.1", 8080), "the source was rewritten"),
        (end("10.244.1.5", "10.1.0.2", 8080), "the source was kept"),
        (end("10.244.1.5", "10.1.0.3", 8080), "went to 10.1.0.3:8080, which the tracer does not reach"),
        (end("10.244.1.5", "10.96.0.10", 80), "the kernel's verdict is none"),
        (rule("dispatch", 2, "drop"), "the kernel's verdict is reject"),
        (rule("dispatch", 3, "drop"), "the kernel's verdict is drop"),
        (rule("dispatch", 3, "accept"), "the kernel's verdict is lost"),
    ],
)
def test_agreement_is_about_verdict_endpoint_and_source(last: Event, told: str) -> None:
    followed = follow(FIRST, [rule("prerouting", 1, "goto dispatch"), last], RULES, OWN)
    found = list(disagreements(DNAT, followed))
    assert bool(found) == bool(told)
    assert told in "".join(found)


def test_agreement_is_about_the_way_too() -> None:
    way = [rule("prerouting", 1, "goto x"), rule("x", 4, "accept"), end("10.244.1.5", "10.1.0.1", 8080)]
    found = list(disagreements(DNAT, follow(FIRST, way, RULES, OWN)))
    assert found == ["the kernel went through prerouting → x, the tracer through prerouting"]

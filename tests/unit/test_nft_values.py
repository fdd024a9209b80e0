"""nftables values: register bytes, text, ranges, diffs, netlink bytes. The kernel's own opinion: tests/kernel."""

import struct
import sys

import pytest

from netplane.net import netlink as nl
from netplane.nft import elements, expr, types, wire
from netplane.nft.elements import Change, Transaction
from netplane.nft.objects import Chain, Hook, Map, Set, Table, ensure_text, rule

FRONTEND = (types.IPV4_ADDR, types.INET_PROTO, types.INET_SERVICE)
SERVICES = Map("services", FRONTEND)
ENDPOINTS = Map("endpoints", (*FRONTEND, types.INTEGER), data=(types.IPV4_ADDR, types.INET_SERVICE))
RANGES = Set("ranges", (types.IPV4_ADDR,), ("interval",))
SOURCES = Set("sources", (*FRONTEND, types.IPV4_ADDR), ("interval",))
TABLE = Table(types.IPV4, "t", (SERVICES, ENDPOINTS, RANGES, SOURCES))
WEB = types.pack(FRONTEND, "10.96.0.1", "tcp", 80)


def test_a_key_sits_in_registers_as_packets_and_numgen_leave_it() -> None:
    key = WEB + types.INTEGER.pack(2)
    assert key == bytes.fromhex("0a600001 06000000 00500000") + struct.pack("=I", 2)
    assert types.text(ENDPOINTS.key, key) == "10.96.0.1 . tcp . 80 . 2"


def test_ipv6_differs_only_by_its_family() -> None:
    key = types.pack((types.IPV6.address, types.INET_PROTO, types.INET_SERVICE), "fd00::1", "sctp", 3868)
    assert len(key) == 24
    assert types.text((types.IPV6_ADDR, types.INET_PROTO, types.INET_SERVICE), key) == "fd00::1 . sctp . 3868"


@pytest.mark.parametrize(
    ("kind", "value"),
    [(types.IPV4_ADDR, "fd00::1"), (types.IPV4_ADDR, b"\1\2"), (types.INET_SERVICE, 70_000)],
)
def test_a_value_of_the_wrong_shape_is_refused(kind: types.DataType, value: str | int | bytes) -> None:
    with pytest.raises((ValueError, OverflowError)):
        kind.pack(value)


@pytest.mark.parametrize(
    ("cidrs", "shown"),
    [
        (["10.0.0.0/8", "11.0.0.0/8"], ["10.0.0.0/7"]),
        (["10.0.0.0/8", "10.1.0.0/16"], ["10.0.0.0/8"]),
        (["10.0.0.7/32", "10.0.0.9/32", "fd00::/64"], ["10.0.0.7", "10.0.0.9"]),
        (["10.0.0.9/31", "10.0.0.10/32"], ["10.0.0.8-10.0.0.10"]),
        (["0.0.0.0/0"], ["0.0.0.0/0"]),
        ([], []),
    ],
)
def test_cidrs_become_ranges_that_neither_overlap_nor_touch(cidrs: list[str], shown: list[str]) -> None:
    assert [elements.key_text(RANGES, key) for key in elements.cidr_elements(types.IPV4, cidrs)] == shown


def test_a_transaction_prints_as_nft_commands() -> None:
    low, high = elements.cidr_range(types.IPV4, "203.0.113.0/25")
    transaction = Transaction(
        TABLE,
        (
            Change(SERVICES, [WEB], [(WEB, types.goto("lb_3"))]),
            Change(ENDPOINTS, (), [(WEB + types.INTEGER.pack(0), types.pack(ENDPOINTS.data, "10.1.2.3", 8080))]),
            Change(SOURCES, (), [(WEB + low + WEB + high, None)]),
        ),
    )
    assert str(transaction).splitlines() == [
        "delete element ip t services { 10.96.0.1 . tcp . 80 }",
        "add element ip t services { 10.96.0.1 . tcp . 80 : goto lb_3 }",
        "add element ip t endpoints { 10.96.0.1 . tcp . 80 . 0 : 10.1.2.3 . 8080 }",
        "add element ip t sources { 10.96.0.1 . tcp . 80 . 203.0.113.0/25 }",
    ]
    assert len(transaction) == 4


def test_diff_removes_what_changed_and_adds_it_again() -> None:
    other = types.pack(FRONTEND, "10.96.0.2", "tcp", 80)
    change = elements.diff(SERVICES, {WEB: "drop", other: "drop"}, {WEB: "goto lb_1", b"new": "drop"})
    assert set(change.remove) == {WEB, other}
    assert dict(change.add) == {WEB: "goto lb_1", b"new": "drop"}
    assert not elements.diff(SERVICES, {WEB: "drop"}, {WEB: "drop"})


def test_one_element_on_the_wire_byte_by_byte() -> None:
    datum = types.pack(ENDPOINTS.data, "10.1.2.3", 8080)
    key = WEB + types.INTEGER.pack(1)
    (element,) = wire.encode(Change(ENDPOINTS, (), [(key, datum)]), adding=True)
    value = nl.attr(1, nl.attr(1, key)) + nl.attr(2, nl.attr(1, datum))
    assert element == nl.attr(1, value)


def test_a_verdict_on_the_wire_is_its_code_and_its_chain() -> None:
    (element,) = wire.encode(Change(SERVICES, (), [(WEB, types.goto("lb_3"))]), adding=True)
    verdict = nl.attr(2, nl.attr(2, nl.attr(1, struct.pack("!i", -4)) + nl.attr_str(2, "lb_3")))
    assert element == nl.attr(1, nl.attr(1, nl.attr(1, WEB)) + verdict)


def test_an_element_may_begin_with_packets_counted() -> None:
    other = types.pack(FRONTEND, "10.96.0.2", "tcp", 80)
    items = [(WEB, types.goto("lb_3")), (other, types.DROP)]
    change = Change(SERVICES, [WEB], items, {WEB: 7})
    assert str(Transaction(TABLE, (change,))).splitlines()[1:] == [
        "add element ip t services { 10.96.0.1 . tcp . 80 counter packets 7 bytes 0 : goto lb_3 }",
        "add element ip t services { 10.96.0.2 . tcp . 80 : drop }",
    ]
    pairs = list(wire.decode(SERVICES, wire.nfgenmsg(2) + nl.attr(3, b"".join(wire.encode(change, adding=True)))))
    assert [(key, wire.decoded_verdict(rest)) for key, rest in pairs] == items
    expression = nl.attr_str(1, "counter") + nl.attr(2, nl.attr(2, (7).to_bytes(8, "big")))
    assert pairs[0][1].endswith(nl.attr(7, expression))
    assert nl.attr_map(pairs[1][1]).keys() == {2}, "nothing but its verdict"


def test_a_batch_stays_below_16_bit_lengths_and_asks_for_one_ack() -> None:
    keys = [types.pack(FRONTEND, i.to_bytes(4, "big"), "tcp", 80) for i in range(5_000)]
    data, parts = wire.batch(Transaction(TABLE, (Change(SERVICES, keys, [(k, types.DROP) for k in keys]),)), 100)
    messages = list(nl.messages(data))
    assert messages[0].type == wire.BATCH_BEGIN
    assert messages[-1].type == wire.BATCH_END
    assert [m.seq for m in messages] == list(range(100, 100 + len(messages)))
    assert [bool(m.flags & nl.NLM_F_ACK) for m in messages[1:-1]] == [False] * (len(parts) - 1) + [True]
    assert all(part.body_bytes <= wire.CHUNK_BYTES for part in parts)
    assert [key for part in parts for key in part.keys] == keys + keys


@pytest.mark.parametrize("owner", [SERVICES, ENDPOINTS, RANGES, SOURCES], ids=lambda owner: owner.name)
def test_what_is_encoded_decodes_to_itself(owner: Set) -> None:
    low, high = elements.cidr_range(types.IPV4, "10.0.0.0/9")
    content: dict[str, dict[bytes, elements.Value]] = {
        "services": {WEB: types.goto("lb_1"), types.pack(FRONTEND, "1.1.1.1", "udp", 53): types.DROP},
        "endpoints": {WEB + types.INTEGER.pack(7): types.pack(ENDPOINTS.data, "10.1.1.1", 80)},
        "ranges": {**elements.cidr_elements(types.IPV4, ["10.0.0.0/9", "10.200.0.0/16", "255.255.255.255/32"])},
        "sources": {WEB + low + WEB + high: None},
    }
    items = list(content[owner.name].items())
    body = b"".join(wire.encode(Change(owner, (), items), adding=True))
    payload = wire.nfgenmsg(2) + nl.attr(3, body)
    split = wire.rows(owner, payload) if isinstance(owner, Map) and owner.data else wire.decode(owner, payload)
    assert wire.contents(owner, list(split)) == dict(items)


@pytest.mark.parametrize("extra", [b"", nl.attr(6, b"said"), nl.attr(6, b"as long as a whole element, so: 44")[:44]])
def test_a_row_that_has_more_to_it_is_read_all_the_same(extra: bytes) -> None:
    items = [(WEB + types.INTEGER.pack(i), types.pack(ENDPOINTS.data, "10.1.1.1", 80 + i)) for i in range(6)]
    bodies = wire.encode(Change(ENDPOINTS, (), items), adding=True)
    bodies[2] = (len(bodies[2]) + len(extra)).to_bytes(2, sys.byteorder) + bodies[2][2:] + extra
    payload = wire.nfgenmsg(2) + nl.attr(3, b"".join(bodies))
    assert list(wire.rows(ENDPOINTS, payload)) == items


def test_an_errors_offset_points_to_its_element() -> None:
    keys = [types.pack(FRONTEND, f"10.0.0.{i}", "tcp", 80) for i in range(9)]
    change = Change(SERVICES, (), [(key, types.goto("lb_10" if i % 2 else "x")) for i, key in enumerate(keys)])
    ((_, _, payload, part),) = wire.messages(TABLE, change)
    offset = nl.HEADER_BYTES + payload.index(keys[6]) - 12
    assert wire.blamed(part, TABLE, offset) == keys[6]
    assert wire.blamed(part, TABLE, None) is None


def test_a_table_is_made_so_by_commands_that_may_be_repeated() -> None:
    table = Table(
        types.IPV6,
        "t",
        (Set("ranges", (types.IPV6_ADDR,), ("interval",)),),
        (
            Chain("b", (rule(expr.In(("saddr",), "ranges", negated=True), expr.SetMark(0x4000)),)),
            Chain("a", (rule(expr.Go(types.goto("b"))),), Hook("nat", "prerouting", "dstnat")),
        ),
        "made by a test",
    )
    assert ensure_text(table).splitlines() == [
        'add table ip6 t { comment "made by a test"; }',
        "add set ip6 t ranges { type ipv6_addr; flags interval; }",
        "add chain ip6 t b",
        "add chain ip6 t a { type nat hook prerouting priority dstnat; policy accept; }",
        "flush chain ip6 t b",
        "add rule ip6 t b ip6 saddr != @ranges meta mark set meta mark | 0x00004000",
        "flush chain ip6 t a",
        "add rule ip6 t a goto b",
    ]

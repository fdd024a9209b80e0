"""The netlink codec against bytes written out by hand."""

import struct

import pytest

from netplane.net import netlink as nl


@pytest.mark.parametrize(
    ("payload", "wire"),
    [
        (b"", b"\x04\x00\x07\x00"),
        (b"a", b"\x05\x00\x07\x00a\0\0\0"),
        (b"abcd", b"\x08\x00\x07\x00abcd"),
    ],
)
def test_attribute_is_padded_and_its_length_is_not(payload: bytes, wire: bytes) -> None:
    assert nl.attr(7, payload) == wire


def test_attributes_round_trip_through_nesting() -> None:
    wire = nl.nested(1, nl.attr_u32(2, 5), nl.attr_str(3, "eth0"), nl.attr_be16(4, 443))
    ((kind, inner),) = nl.attrs(wire)
    assert kind == 1
    assert nl.attr_map(inner) == {2: struct.pack("=I", 5), 3: b"eth0\0", 4: b"\x01\xbb"}


def test_messages_are_split_and_truncation_is_refused() -> None:
    wire = nl.message(16, 1, 7, nl.attr_u8(1, 1)) + nl.message(17, 1, 8)
    assert [(m.type, m.seq) for m in nl.messages(wire)] == [(16, 7), (17, 8)]
    with pytest.raises(ValueError, match="truncated"):
        list(nl.messages(wire[:-1]))


@pytest.mark.parametrize("capped", [True, False])
def test_extended_ack_gives_the_kernels_words(capped: bool) -> None:
    request = nl.message(20, 5, 9, nl.attr_u32(1, 1))
    echoed = request[: nl.HEADER_BYTES] if capped else request
    flags = nl.NLM_F_ACK_TLVS | (nl.NLM_F_CAPPED if capped else 0)
    payload = struct.pack("=i", -17) + echoed + nl.attr_str(1, "in use") + nl.attr_u32(2, 20)
    failure = nl.failure(nl.Message(nl.NLMSG_ERROR, flags, 9, payload))
    assert failure == nl.Failure(17, "in use", 20)
    assert str(failure) == "EEXIST: in use"

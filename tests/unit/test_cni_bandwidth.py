"""Rate limits without a kernel: what configurations mean, and what is refused."""

from typing import Any

import pytest

from cni.errors import CniError
from cni.plan import bandwidth
from cni.plan.bandwidth import Bandwidth, Limit
from cni.plan.lease import Key

KEY = Key("net", "c1", "eth0")


def test_the_capability_wins_over_the_configuration() -> None:
    static = {"ingress_rate": 8000, "ingress_burst": 800}
    assert bandwidth.parse(static, None) == Bandwidth(Limit(8000, 800))
    assert bandwidth.parse(static, {"egressRate": 9000, "egressBurst": 900}) == Bandwidth(None, Limit(9000, 900))
    assert not bandwidth.parse({}, None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ingressRate": 1000}, "runtimeConfig.bandwidth.ingressBurst: 0"),
        ({"egressBurst": 1000}, "runtimeConfig.bandwidth.egressRate: 0"),
        ({"egressRate": -1, "egressBurst": 5}, "egressRate: -1"),
        ({"egressRate": 1000, "egressBurst": 1 << 40}, "egressBurst"),
        ({"egressRate": "fast"}, "runtimeConfig.bandwidth.egressRate: Expected `int`"),
        ([1], "runtimeConfig.bandwidth: Expected"),
    ],
)
def test_limits_that_cannot_be_are_named(given: Any, words: str) -> None:
    with pytest.raises(CniError) as caught:
        bandwidth.parse({}, given)
    assert words in caught.value.message


def test_a_burst_holds_a_frame_and_a_queue_what_25_ms_let_through() -> None:
    small = bandwidth.bucket("v", Limit(8_000_000, 8), 1500)
    assert (small.rate, small.burst, small.limit) == (1_000_000, 1518, 25_000 + 1518)


def test_requests_read_like_tc() -> None:
    both = Bandwidth(Limit(8_000_000, 80_000), Limit(16_000_000, 80_000))
    lines = [str(request) for request in bandwidth.requests(KEY, "veth1", 1500, both, "np-x")]
    ifb = bandwidth.device(KEY)
    assert lines == [
        "tc qdisc add dev veth1 root tbf rate 8000000bit burst 10000b limit 35000b",
        f"ip link add {ifb} mtu 1500 up type ifb",
        f"ip link set {ifb} alias np-x/bandwidth veth1 eth0 net c1",
        f"tc qdisc add dev {ifb} root tbf rate 16000000bit burst 10000b limit 60000b",
        "tc qdisc add dev veth1 ingress",
        f"tc filter add dev veth1 ingress protocol all u32 match u32 0 0 action mirred egress redirect dev {ifb}",
    ]


def test_the_mark_of_a_device_names_its_link_even_when_cut_short() -> None:
    key = Key("n" * 255, "c" * 255, "eth0")
    text = bandwidth.alias(key, "veth1", "np-x")
    assert len(text) == 255
    assert bandwidth.read_alias(text, "np-x") is not None
    assert bandwidth.read_alias(bandwidth.alias(KEY, "veth1", "np-x"), "np-x") == ("veth1", KEY)
    assert bandwidth.read_alias(text, "np-y") is None
    assert bandwidth.read_alias("np-x net c1 eth0 10.0.0.2", "np-x") is None

"""Ranges that ServiceCIDRs and the Node tell, also those that no apiserver should have taken."""

import msgspec
import pytest

from netplane.api.objects import Node, ServiceCIDR
from netplane.net.addresses import packed, special
from proxy.plan import cidrs


def service_cidr(name: str, *told: str) -> ServiceCIDR:
    return msgspec.convert({"metadata": {"name": name}, "spec": {"cidrs": told}}, ServiceCIDR)


def node(**spec: object) -> Node:
    return msgspec.convert({"metadata": {"name": "n"}, "spec": spec}, Node)


def test_service_ranges_are_sorted_each_once_and_what_cannot_be_read_is_named() -> None:
    problems: list[str] = []
    items = [
        service_cidr("b", "10.97.0.0/16", "fd00::/112"),
        service_cidr("a", "nonsense", "10.96.3.4/16", "10.97.0.0/16"),
    ]
    assert cidrs.of_services(items, problems) == ("10.96.0.0/16", "10.97.0.0/16", "fd00::/112")
    assert problems == ["ServiceCIDR a: 'nonsense' is no CIDR"]


@pytest.mark.parametrize(
    ("said", "ranges", "named"),
    [
        (None, (), []),
        (node(), (), []),
        (node(podCIDR="10.1.0.0/24"), ("10.1.0.0/24",), []),
        (node(podCIDR="10.1.0.0/24", podCIDRs=["10.1.0.0/24", "fd00::/64"]), ("10.1.0.0/24", "fd00::/64"), []),
        (node(podCIDRs=["10.1.0.0", "010.2.0.0/16"]), ("10.2.0.0/16",), ["node n: '10.1.0.0' is no CIDR"]),
    ],
)
def test_pod_ranges_of_a_node(said: Node | None, ranges: tuple[str, ...], named: list[str]) -> None:
    problems: list[str] = []
    assert (cidrs.of_node(said, problems), problems) == (ranges, named)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("10.1.0.1", ""), ("169.253.0.1", ""), ("224.0.1.1", ""), ("2001:db8::1", ""), ("ff0e::1", ""), ("feff::1", ""),
        ("0.1.2.3", ""), ("::1:0", ""), ("0.0.0.0", "unspecified"), ("::", "unspecified"), ("127.9.9.9", "loopback"),
        ("::1", "loopback"), ("169.254.0.1", "link-local"), ("fe80::1", "link-local"), ("224.0.0.9", "link-local"),
        ("ff02::1", "link-local"), ("ff12::1", "link-local"),
    ],
)  # fmt: skip
def test_special_addresses(text: str, kind: str) -> None:
    assert special(packed(text)) == kind

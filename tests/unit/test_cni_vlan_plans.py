"""Plans for bridge ports: which VLANs they are in, and which MAC address they are held to."""

from ipaddress import ip_network

import msgspec
import pytest

from cni.config import Network, parse
from cni.plan import conflist, guard, pod, vlan
from netplane.rtnl import Bridge, Link, PortVlan

NET: Network = parse(conflist.network([ip_network("10.244.1.0/24")], 1450), args={}, needs_ranges=True)


def trunk(*entries: dict[str, int]) -> list[vlan.Trunk]:
    return [vlan.Trunk(**entry) for entry in entries]


@pytest.mark.parametrize(
    ("own", "entries", "keep", "commands"),
    [
        (0, [], False, []),
        (100, [], False, ["delete dev v vid 1-4094", "add dev v vid 100 pvid untagged"]),
        (100, [], True, ["add dev v vid 100 pvid untagged"]),
        (
            0,
            [{"id": 7}, {"minID": 5, "maxID": 6}, {"minID": 9, "maxID": 9}],
            False,
            ["delete dev v vid 1-4094", "add dev v vid 5-7", "add dev v vid 9", "add dev v vid 1 pvid untagged"],
        ),
        (
            6,
            [{"id": 9, "minID": 5, "maxID": 7}],
            True,
            ["add dev v vid 5-7", "add dev v vid 9", "add dev v vid 6 pvid untagged"],
        ),
    ],
)
def test_vlans_of_a_port(own: int, entries: list[dict[str, int]], keep: bool, commands: list[str]) -> None:
    """As the reference bridge does it: a trunk without a VLAN of its own has VLAN 1 for plain frames."""
    vlans = vlan.parse(own, trunk(*entries), keep_default=keep)
    assert [str(r).removeprefix("bridge vlan ") for r in vlan.requests("v", vlans)] == commands
    assert vlan.missing("v", vlans, vlan.wanted("v", vlans)) == []


def test_check_names_the_vlans_that_are_lost() -> None:
    vlans = vlan.parse(6, trunk({"minID": 4, "maxID": 8}), keep_default=False)
    have = [PortVlan("v", 4, 5), PortVlan("v", 6), PortVlan("v", 8), PortVlan("v", 1, pvid=True)]
    assert vlan.missing("v", vlans, have) == [6, 7]


def test_the_gateway_of_a_vlan_is_an_interface_of_its_own() -> None:
    net = msgspec.structs.replace(NET, vlans=vlan.parse(100, None, keep_default=False))
    commands = [str(request) for request in pod.gateway(net, 1400, None)]
    port = commands[0].split()[3]
    assert f"peer name {net.bridge}.100" in commands[0]
    assert f"bridge vlan add dev {port} vid 100 pvid untagged" in commands
    assert commands[-1] == f"ip address add 10.244.1.1/24 dev {net.bridge}.100"
    assert pod.gateway(net, 1400, pod.gateways(net)) == []
    assert [str(r) for r in pod.bridge(net, Link(net.bridge, Bridge(vlan_filtering=False), mtu=1450, up=True))] == [
        f"ip link set {net.bridge} type bridge vlan_filtering 1"
    ]


def test_guards_read_back_from_a_listing() -> None:
    one = guard.Guard("vethabc", "0a:58:0a:f4:01:02")
    listing = (
        'elements = { "vethabc" . 0a:58:0a:f4:01:02 comment "np-1",\n "vethx" . 02:00:00:00:00:01 comment "np-2" }'
    )
    assert guard.listed(listing, "np-1") == [one]
    assert guard.unlisted("owners", listing, "np-1") == (
        'delete element bridge netplane-cni owners { "vethabc" . 0a:58:0a:f4:01:02 }\n'
    )


def test_a_guard_is_lost_when_either_set_lacks_it() -> None:
    whole, loose, other = (guard.Guard(f"veth{i}", f"0a:58:0a:f4:01:0{i}") for i in range(3))
    owners = 'elements = { "veth0" . 0a:58:0a:f4:01:00 comment "np-1", "veth1" . 0a:58:0a:f4:01:01 comment "np-1",'
    owners += ' "veth2" . 0a:58:0a:f4:01:09 comment "np-1" }'
    guarded = 'elements = { "veth0" comment "np-1", "veth2" comment "np-1" }'
    assert guard.lost([whole, loose, other], owners, guarded) == [loose, other]

"""Restarts, a lost store and a reboot: leases and links agree again."""

import sqlite3

import pytest

from netplane.rtnl import Change, Link, Veth, add, delete
from tests.cnitools import DUAL, Node, Spaces, config, door, nothing_left

pytestmark = pytest.mark.privileged


def test_a_restart_keeps_pods_and_releases_what_nobody_was_told_of(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    node.call("ADD", "c1", pod)
    node.call("ADD", "c2", place.name("p2"))
    with sqlite3.connect(node.state_dir / "leases.db") as db:
        db.execute("UPDATE leases SET state = 'reserved' WHERE container = 'c2'")
    db.close()
    index = next(link.index for link in node.links())
    node.restart()
    assert [lease.key.container for lease in node.engine.leases.all()] == ["c1"]
    assert [link.index for link in node.links()] == [index]
    assert node.call("DEL", "c2") == (0, {})


def test_a_restart_releases_leases_whose_pod_is_gone_and_reaps_links_without_lease(node: Node, place: Spaces) -> None:
    gone = place.name("p1")
    node.call("ADD", "c1", gone)
    node.call("ADD", "c2", place.name("p2"))
    with door(gone) as rtnl:
        rtnl.apply([delete(Link("eth0"))])
    with door(node.space) as rtnl:
        stranger = add(Link("vethstranger", Veth("x"), master="np0"))
        rtnl.apply([stranger, Change("vethstranger", alias="somebody else's")])
        mine = f"{node.engine.owner} net c7 eth0 10.244.1.50"
        rtnl.apply([add(Link("vethorphan", Veth("y"), master="np0")), Change("vethorphan", alias=mine)])
    node.restart()
    assert [lease.key.container for lease in node.engine.leases.all()] == ["c2"]
    left = {link.name for link in node.links()}
    assert "vethstranger" in left
    assert "vethorphan" not in left
    assert len(left) == 2


def test_a_lost_store_is_read_off_the_links(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    node.call("ADD", "c1", pod, config=config(ipam=DUAL))
    before = node.engine.leases.all()
    for file in node.state_dir.glob("leases.db*"):
        file.unlink()
    node.restart()
    (lease,) = node.engine.leases.all()
    assert (lease.key, lease.addresses, lease.link, lease.state) == (
        before[0].key,
        before[0].addresses,
        before[0].link,
        "active",
    )
    answer = node.call("ADD", "c2", place.name("p2"), config=config(ipam=DUAL))
    assert answer.body["ips"][0]["address"] == "10.244.1.3/32"


def test_a_reboot_voids_all_leases(node: Node, place: Spaces) -> None:
    node.call("ADD", "c1", place.name("p1"))
    with door(node.space) as rtnl:
        rtnl.apply([delete(link) for link in node.links()])
    node.restart("boot-2")
    assert node.engine.leases.void == 1
    assert nothing_left(node)

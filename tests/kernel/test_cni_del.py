"""DEL and GC: nothing is left, whatever is missing already."""

import sqlite3

import pytest

from cni.errors import Code
from netplane.kernel import netns
from netplane.kernel.netlink import KernelError
from netplane.rtnl import Link, Veth, add
from tests.cnitools import Node, Spaces, config, door, nothing_left

pytestmark = pytest.mark.privileged


def test_del_leaves_nothing_and_may_be_repeated(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    node.call("ADD", "c1", pod)
    for _ in range(3):
        assert node.call("DEL", "c1", pod) == (0, {})
    assert nothing_left(node)
    with door(pod) as rtnl:
        assert rtnl.link("eth0") is None
    assert node.call("ADD", "c1", pod).body["ips"][0]["address"] == "10.244.1.3/32"


def test_del_works_without_namespace_lease_link_or_prev_result(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    node.call("ADD", "c1", pod)
    netns.delete(pod)
    assert node.call("DEL", "c1") == (0, {})
    assert node.call("DEL", "c1", "/run/netns/npt-gone") == (0, {})
    assert node.call("DEL", "never-added") == (0, {})
    assert nothing_left(node)


def test_del_without_its_lease_still_removes_the_link(node: Node, place: Spaces) -> None:
    node.call("ADD", "c1", place.name("p1"))
    with sqlite3.connect(node.state_dir / "leases.db") as db:
        db.execute("PRAGMA foreign_keys=ON")
        db.execute("DELETE FROM leases")
    db.close()
    assert node.call("DEL", "c1") == (0, {})
    assert nothing_left(node)


def test_gc_removes_what_is_not_valid_of_its_own_network_only(node: Node, place: Spaces) -> None:
    for i in range(3):
        node.call("ADD", f"c{i}", place.name(f"p{i}"), config=config("1.1.0"))
    other = config("1.1.0", name="other", bridge="br1", ipam={"subnet": "10.9.0.0/24"})
    node.call("ADD", "c9", place.name("p9"), config=other)
    valid = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}
    assert node.call("GC", config=config("1.1.0", **valid)) == (0, {})
    assert [lease.key.container for lease in node.engine.leases.all()] == ["c1", "c9"]
    assert len(node.links()) == 2
    assert node.call("GC", config=config("1.1.0")).body["code"] == Code.INVALID_CONFIG


def test_the_reaper_deletes_many_links_at_once_and_missing_ones_too(engine_node: Node) -> None:
    with door(engine_node.space) as rtnl:
        rtnl.apply([add(Link(f"v{i}", Veth(f"w{i}"))) for i in range(20)])
    from concurrent.futures import ThreadPoolExecutor

    reaper = engine_node.engine._reaper
    with ThreadPoolExecutor(24, initializer=lambda: _enter(engine_node.space)) as pool:
        list(pool.map(reaper.delete, [f"v{i}" for i in range(24)]))
    with door(engine_node.space) as rtnl:
        assert not [link for link in rtnl.links() if link.name.startswith("v")]
        with pytest.raises(KernelError):
            rtnl.index("v1")


def _enter(space: str) -> None:
    with netns.opened(space) as fd:
        netns.setns(fd)

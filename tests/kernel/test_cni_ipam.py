"""Addresses from elsewhere: wishes of runtimes, other IPAM plugins, what host-local reserved before, name servers."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cni.errors import Code
from netplane.rtnl import Link, Veth, add, delete
from tests.cnitools import (
    Node,
    Spaces,
    addresses,
    ask,
    config,
    door,
    echo,
    environment,
    run_relay,
)

pytestmark = pytest.mark.privileged
REFERENCE = "/usr/lib/cni"  # Debian's containernetworking-plugins
RANGES = {"ranges": [[{"subnet": "10.244.1.0/24"}]]}
GIVEN = {
    "cniVersion": "1.0.0",
    "ips": [{"address": "10.9.0.5/24", "gateway": "10.9.0.254"}, {"address": "fd00:9::5/64"}],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.9.0.99"}],
    "dns": {"nameservers": ["10.9.0.53"]},
}


class Plugin:
    """An IPAM plugin that writes down how it was called, and answers what a file says."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        program = folder / "teller"
        program.write_text(
            f'#!/bin/sh\ncat > "{folder}/stdin"\necho "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME" >> "{folder}/calls"\n'
            f'[ -e "{folder}/fail.$CNI_COMMAND" ] && {{ cat "{folder}/fail.$CNI_COMMAND"; exit 1; }}\n'
            f'[ "$CNI_COMMAND" = ADD ] && cat "{folder}/answer"\nexit 0\n'
        )
        program.chmod(0o755)
        self.answer(GIVEN)
        monkeypatch.setattr("tests.cnitools.CNI_PATH", f"/nowhere:{folder}")

    def answer(self, result: dict[str, Any]) -> None:
        (self.folder / "answer").write_text(json.dumps(result))

    def fail(self, verb: str, **error: Any) -> None:
        (self.folder / f"fail.{verb}").write_text(json.dumps(error))

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugin:
    return Plugin(tmp_path / "plugins", monkeypatch)


def told(**more: Any) -> dict[str, Any]:
    plain = {"hostPrefix": False, "isDefaultGateway": False, "isGateway": True, "ipam": {"type": "teller", "own": 1}}
    return config("1.1.0", **(plain | more))


def test_another_plugins_addresses_routes_and_servers_are_used(node: Node, place: Spaces, plugin: Plugin) -> None:
    pod = place.name("p1")
    answer = node.call("ADD", "c1", pod, config=told())
    assert answer.status == 0, answer.body
    assert addresses(pod) == ["10.9.0.5/24", "fd00:9::5/64"]
    assert addresses(node.space, "np0") == ["10.9.0.254/24", "fd00:9::1/64"]
    assert {"dst": "192.0.2.0/24", "gw": "10.9.0.99"} in answer.body["routes"]
    assert {"dst": "0.0.0.0/0", "gw": "10.9.0.254"} in answer.body["routes"]
    assert answer.body["dns"] == {"nameservers": ["10.9.0.53"]}
    assert json.loads((plugin.folder / "stdin").read_text())["ipam"] == {"type": "teller", "own": 1}
    assert [str(a) for a in node.engine.leases.all()[0].addresses] == ["10.9.0.5", "fd00:9::5"]
    assert node.call("CHECK", "c1", pod, config=told(prevResult=answer.body)) == (0, {})
    node.restart()
    assert len(node.engine.leases.all()) == 1
    assert node.call("DEL", "c1", pod, config=told()) == (0, {})
    assert plugin.calls() == ["ADD c1 eth0", "CHECK c1 eth0", "DEL c1 eth0"]
    assert (node.links(), node.engine.leases.all()) == ([], [])


def test_another_plugins_refusal_is_passed_on(node: Node, place: Spaces, plugin: Plugin) -> None:
    plugin.fail("ADD", cniVersion="1.0.0", code=555, msg="no more", details="buy some")
    answer = node.call("ADD", "c1", place.name("p1"), config=told())
    assert answer.body == {"cniVersion": "1.1.0", "code": 555, "msg": "ipam teller: no more", "details": "buy some"}
    assert (node.links(), node.engine.leases.all()) == ([], [])
    missing = node.call("ADD", "c1", place.name("p2"), config=told(ipam={"type": "dhcp"}))
    assert (missing.body["code"], "CNI_PATH" in missing.body["msg"]) == (Code.INVALID_CONFIG, True)


def test_what_another_plugin_gave_is_given_back_when_add_fails(node: Node, place: Spaces, plugin: Plugin) -> None:
    plugin.answer(GIVEN | {"routes": [{"dst": "192.0.2.0/24", "gw": "198.51.100.1"}]})
    answer = node.call("ADD", "c1", place.name("p1"), config=told())
    assert answer.body["code"] == Code.KERNEL
    assert plugin.calls() == ["ADD c1 eth0", "DEL c1 eth0"]
    plugin.answer({"cniVersion": "1.0.0", "ips": []})
    assert "gave no address" in node.call("ADD", "c1", place.name("p2"), config=told()).body["msg"]
    assert plugin.calls()[-1] == "DEL c1 eth0"
    assert (node.links(), node.engine.leases.all()) == ([], [])


def test_gc_gives_back_what_another_plugin_gave(node: Node, place: Spaces, plugin: Plugin) -> None:
    node.call("ADD", "c1", place.name("p1"), config=told())
    plugin.answer(GIVEN | {"ips": [{"address": "10.9.0.6/24"}]})
    node.call("ADD", "c2", place.name("p2"), config=told())
    valid = {"cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "eth0"}]}
    assert node.call("GC", config=told(**valid)) == (0, {})
    assert plugin.calls()[2:] == ["DEL c1 eth0", "GC  eth0"]
    assert [lease.key.container for lease in node.engine.leases.all()] == ["c2"]


@pytest.mark.parametrize("code", [1, 4])
def test_a_plugin_too_old_for_a_verb_is_not_asked_too_much(
    node: Node, place: Spaces, plugin: Plugin, code: int
) -> None:
    """A plugin of before 1.1.0 refuses the version or the word; that says nothing about addresses."""
    for verb in ("STATUS", "GC"):
        plugin.fail(verb, cniVersion="1.0.0", code=code, msg="what?")
    assert node.call("STATUS", config=told()) == (0, {})
    assert node.call("GC", config=told(**{"cni.dev/valid-attachments": []})) == (0, {})
    assert [words.split()[0] for words in plugin.calls()] == ["STATUS", "GC"]


@pytest.mark.parametrize(("code", "told_code"), [(50, 50), (51, 51), (999, 50)])
def test_status_and_gc_of_another_plugin_are_told(
    node: Node, place: Spaces, plugin: Plugin, code: int, told_code: int
) -> None:
    for verb in ("STATUS", "GC"):
        plugin.fail(verb, cniVersion="1.1.0", code=code, msg="not now")
    status = node.call("STATUS", config=told())
    assert (status.body["code"], status.body["msg"]) == (told_code, "ipam teller: not now")
    assert node.call("ADD", "c1", place.name("p1"), config=told()).status == 0
    gc = node.call("GC", config=told(**{"cni.dev/valid-attachments": []}))
    assert (gc.body["code"], gc.body["msg"]) == (code, "ipam teller: not now")
    assert node.engine.leases.all() == [], "the rest is collected all the same"


def test_a_vanished_pods_lease_waits_for_the_runtime_to_give_its_address_back(
    node: Node, place: Spaces, plugin: Plugin
) -> None:
    pod = place.name("p1")
    node.call("ADD", "c1", pod, config=told())
    with door(pod) as rtnl:
        rtnl.apply([delete(Link("eth0"))])
    node.restart()
    assert len(node.engine.leases.all()) == 1
    assert node.call("GC", config=told(**{"cni.dev/valid-attachments": []})) == (0, {})
    assert plugin.calls()[1:] == ["DEL c1 eth0", "GC  eth0"]
    assert node.engine.leases.all() == []


def test_wishes_of_the_runtime(node: Node, place: Spaces) -> None:
    wishes = {
        "ips": ["10.7.0.9/24"],
        "mac": "02-AA-00-00-00-01",
        "ipRanges": [[{"subnet": "10.7.0.0/24", "rangeStart": "10.7.0.8"}]],
        "dns": {"servers": ["10.7.0.53"], "searches": ["example.org"], "options": ["ndots:5"]},
        "aliases": ["web"],
    }
    pod = place.name("p1")
    answer = node.call("ADD", "c1", pod, config=config(ipam=RANGES, runtimeConfig=wishes))
    assert answer.status == 0, answer.body
    assert addresses(pod) == ["10.7.0.9/32", "10.244.1.2/32"]
    assert answer.body["interfaces"][2]["mac"] == "02:aa:00:00:00:01"
    assert answer.body["dns"] == {"nameservers": ["10.7.0.53"], "search": ["example.org"], "options": ["ndots:5"]}


def test_name_servers_from_a_file(node: Node, place: Spaces, tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(
        "# made by hand\nnameserver 10.0.0.1\nnameserver fd00::1\nsearch a.example b.example\ndomain example\n"
    )
    ipam = RANGES | {"type": "host-local", "resolvConf": str(file)}
    answer = node.call("ADD", "c1", place.name("p1"), config=config(ipam=ipam))
    servers = {"nameservers": ["10.0.0.1", "fd00::1"], "domain": "example", "search": ["a.example", "b.example"]}
    assert answer.body["dns"] == servers
    mine = node.call("ADD", "c2", place.name("p2"), config=config(ipam=ipam, dns={"nameservers": ["192.0.2.1"]}))
    assert mine.body["dns"] == {"nameservers": ["192.0.2.1"]}
    file.unlink()
    lost = node.call("ADD", "c3", place.name("p3"), config=config(ipam=ipam))
    assert (lost.body["code"], "ipam.resolvConf" in lost.body["msg"]) == (Code.INVALID_CONFIG, True)


def test_what_host_local_reserved_is_respected_and_released(node: Node, place: Spaces, tmp_path: Path) -> None:
    """A network whose type was changed from `bridge`: pods of before still run."""
    folder = tmp_path / "networks" / "net"
    folder.mkdir(parents=True)
    for name, text in {"10.244.1.2": "old\r\neth0", "10.244.1.3": "old", "10.244.1.5": "old\r\neth1"}.items():
        (folder / name).write_text(text)
    (folder / "last_reserved_ip.0").write_text("10.244.1.2")
    moved = config(ipam=RANGES | {"type": "host-local", "dataDir": str(folder.parent)})
    given = [node.call("ADD", f"c{i}", place.name(f"p{i}"), config=moved).body["ips"][0]["address"] for i in range(2)]
    assert given == ["10.244.1.4/32", "10.244.1.6/32"]
    asked = node.call("ADD", "c9", place.name("p9"), config=moved, args="IP=10.244.1.3")
    assert "in use" in asked.body["msg"]
    assert node.call("DEL", "old", config=moved) == (0, {})
    assert sorted(file.name for file in folder.iterdir()) == ["10.244.1.5", "last_reserved_ip.0"]


def test_a_pod_of_the_reference_bridge_is_deleted_and_collected(node: Node, place: Spaces, tmp_path: Path) -> None:
    """The network was moved while it ran: DEL removes its interface, GC the reservations of those that are gone."""
    folder = tmp_path / "networks" / "net"
    folder.mkdir(parents=True)
    for name, text in {"10.244.1.2": "old\r\neth0", "10.244.1.3": "gone\r\neth0", "10.244.1.4": "live\r\neth0"}.items():
        (folder / name).write_text(text)
    pod = place.name("old")
    with door(pod) as rtnl:
        rtnl.apply([add(Link("eth0", Veth("far")))])
    moved = config("1.1.0", ipam=RANGES | {"type": "host-local", "dataDir": str(folder.parent)})
    assert node.call("DEL", "old", pod, config=moved) == (0, {})
    with door(pod) as rtnl:
        assert not rtnl.find("eth0")
    live = {"cni.dev/valid-attachments": [{"containerID": "live", "ifname": "eth0"}]}
    assert node.call("GC", config=moved | live) == (0, {})
    assert [file.name for file in folder.iterdir()] == ["10.244.1.4"]


def reference(node: Node, program: str, variables: dict[str, str], conf: dict[str, Any]) -> None:
    """One of Debian's plugins, called in the node's namespace."""
    call = partial(run_relay, Path(REFERENCE) / program, variables | {"CNI_PATH": REFERENCE}, json.dumps(conf).encode())
    answer = node.inside(call)
    assert answer.status == 0, answer.body


def test_the_reference_plugins_own_files_are_respected(node: Node, place: Spaces, tmp_path: Path) -> None:
    """Debian's `bridge` and `host-local` connect two pods; then the network's type is changed."""
    ipam = RANGES | {"type": "host-local", "dataDir": str(tmp_path / "networks")}
    conf = config(type="bridge", hostPrefix=False, ipam=ipam)
    old = [place.name(f"old{i}") for i in range(2)]
    for i, pod in enumerate(old):
        reference(node, "bridge", environment("ADD", f"old{i}", pod), conf)
    moved = conf | {"type": "netplane"}
    new = place.name("new")
    answer = node.call("ADD", "new", new, config=moved)
    assert answer.body["ips"][0]["address"] == "10.244.1.4/24"
    with echo(new, "10.244.1.4"):
        assert ask(old[0], "10.244.1.4") == "10.244.1.2"
    for i, pod in enumerate(old):
        assert node.call("DEL", f"old{i}", pod, config=moved) == (0, {})
        with door(pod) as rtnl:
            assert not rtnl.find("eth0")
    assert not [f for f in (tmp_path / "networks" / "net").iterdir() if f.name.startswith("10.")]

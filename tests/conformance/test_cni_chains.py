"""Chains of plugins of two houses: Debian's reference plugins after ours, and ours after theirs, in every version.

The caller is a runtime's: a list, results passed on from plugin to plugin, DEL backwards with the last one.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cni import install
from cni.leases import Leases, boot_id
from labs.runtime import Attachment, CniFailed, CniRuntime
from netplane.kernel import netns
from netplane.kernel.nft import Nft
from tests.cnitools import Inside, Spaces, ask, default_route, door, echo, spaces, wire

pytestmark = pytest.mark.privileged

REFERENCE = Path("/usr/lib/cni")  # Debian's containernetworking-plugins, 1.1.1: up to 1.0.0
VERSIONS = ["0.3.1", "0.4.0", "1.0.0"]
OUTSIDE, NODE = "203.0.113.9", "203.0.113.1"
HOST_LOCAL: dict[str, Any] = {"type": "host-local", "ranges": [[{"subnet": "10.244.7.0/24"}]]}
ROUTED = HOST_LOCAL | {"routes": [{"dst": "0.0.0.0/0"}]}
WISHES = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}
RATES = {"ingressRate": 80_000_000, "ingressBurst": 8_000_000, "egressRate": 80_000_000, "egressBurst": 8_000_000}

OURS: dict[str, Any] = {
    "type": "netplane",
    "bridge": "np0",
    "mtu": 1400,
    "isDefaultGateway": True,
    "ipMasq": True,
    "hairpinMode": True,
    "ipam": HOST_LOCAL,
}
MAINS: dict[str, dict[str, Any]] = {
    "bridge": {"type": "bridge", "bridge": "ref0", "isDefaultGateway": True, "ipam": HOST_LOCAL},
    "ptp": {"type": "ptp", "ipam": ROUTED},
    "macvlan": {"type": "macvlan", "master": "up0", "ipam": ROUTED},
}


class Host:
    """A node with both houses' plugins in one folder, and somebody outside."""

    def __init__(self, place: Spaces, folder: Path) -> None:
        self.place, self.folder = place, folder
        self.node, self.outside = place.name("node"), place.name("out")
        wire(self.node, f"{NODE}/24", self.outside, f"{OUTSIDE}/24", "up0")
        default_route(self.outside, NODE)
        self.bin, self.state, self.data = folder / "bin", folder / "state", folder / "networks"
        install.install_standalone(self.bin, self.state)
        for program in REFERENCE.iterdir():
            if not (self.bin / program.name).exists():
                (self.bin / program.name).symlink_to(program)
        self.inside = Inside(self.node)

    def runtime(self, version: str, *plugins: dict[str, Any]) -> CniRuntime:
        conf = self.folder / "net.d"
        conf.mkdir(exist_ok=True)
        text = json.dumps({"cniVersion": version, "name": "net", "plugins": [self._own(plugin) for plugin in plugins]})
        (conf / "10.conflist").write_text(text)
        return CniRuntime(self.node, self.bin, conf, self.folder / "cache")

    def _own(self, plugin: dict[str, Any]) -> dict[str, Any]:
        return plugin | ({"ipam": plugin["ipam"] | {"dataDir": str(self.data)}} if "ipam" in plugin else {})

    def pod(self) -> Attachment:
        return Attachment("c1", str(netns.path(self.place.name("p1"))))

    @property
    def space(self) -> str:
        return self.place.made[-1]

    def links(self) -> set[str]:
        with door(self.node) as rtnl:
            return {link.name for link in rtnl.links()}

    def nothing_left(self) -> None:
        """Of the pod; bridges and the plugins' empty chains stay."""
        assert self.links() <= {"lo", "up0", "np0", "ref0"}
        assert not [file.name for file in self.data.glob("net/*") if file.name.startswith("10.")]
        with closing(Leases(self.state / "leases.db", boot_id())) as leases:
            assert (leases.all(), leases.ports()) == ([], [])
        ruleset = self.inside(lambda: Nft().run_text("list ruleset"))
        assert "10.244.7.2" not in ruleset


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with spaces() as place:
        found = Host(place, tmp_path)
        yield found
        found.inside.close()


# Theirs after ours -----------------------------------------------------------------------------------------------

THEIRS: list[dict[str, Any]] = [
    {"type": "portmap", "capabilities": {"portMappings": True}, "runtimeConfig": WISHES},
    {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.rp_filter": "0"}, "mtu": 1300, "mac": "02:00:00:00:00:55"},
    {"type": "firewall", "backend": "iptables"},
    {"type": "bandwidth", **RATES},
]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_reference_plugins_work_after_ours(host: Host, version: str) -> None:
    """CHECK sees through what they changed: another MAC address, another MTU. Their firewall speaks 0.4.0 and later."""
    theirs = [plugin for plugin in THEIRS if version != "0.3.1" or plugin["type"] != "firewall"]
    runtime, pod = host.runtime(version, OURS, *theirs), host.pod()
    result = runtime.add(pod)
    assert result["cniVersion"] == version
    assert result["interfaces"][2]["mac"] == "02:00:00:00:00:55"
    with door(host.space) as rtnl:
        link = rtnl.link("eth0")
    assert link is not None
    assert (link.mac, link.mtu) == ("02:00:00:00:00:55", 1300)
    with echo(host.space, "10.244.7.2", 80), echo(host.outside, OUTSIDE):
        assert ask(host.outside, NODE, 8080) == OUTSIDE
        assert ask(host.space, OUTSIDE) == NODE
    if version != "0.3.1":
        check_but(runtime, pod, "portmap")  # its CHECK looks for IPv6 rules that its ADD did not make
    runtime.delete(pod)
    runtime.delete(pod)
    host.nothing_left()


def check_but(runtime: CniRuntime, pod: Attachment, left_out: str) -> None:
    """CHECK of a whole list except one plugin."""
    kept = json.loads(runtime._cache(pod).read_text())
    for plugin in kept["conflist"]["plugins"]:
        if plugin["type"] != left_out:
            runtime._execute("CHECK", kept["conflist"], plugin, pod, kept["result"])


# Ours after theirs -----------------------------------------------------------------------------------------------

PORTMAP = {"type": "netplane-portmap", "capabilities": {"portMappings": True}, "runtimeConfig": WISHES}
BANDWIDTH = {"type": "netplane-bandwidth", **RATES}


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", *VERSIONS])
@pytest.mark.parametrize("main", ["bridge", "ptp"])
def test_our_plugins_work_after_the_reference_ones(host: Host, main: str, version: str) -> None:
    """Results of before 0.3.0 name no interfaces, so a rate limit cannot know where to sit; host ports can."""
    old = version in ("0.1.0", "0.2.0")
    chain = [MAINS[main], PORTMAP, *([] if old else [BANDWIDTH])]
    runtime, pod = host.runtime(version, *chain), host.pod()
    assert runtime.add(pod)["cniVersion"] == version
    if not old:
        assert any(name.startswith("ifb") for name in host.links())
    with echo(host.space, "10.244.7.2", 80):
        assert ask(host.outside, NODE, 8080) == OUTSIDE
        assert ask(host.node, "127.0.0.1", 8080)
    if version in ("0.4.0", "1.0.0"):
        runtime.check(pod)
    runtime.delete(pod)
    runtime.delete(pod)
    host.nothing_left()


@pytest.mark.parametrize("version", VERSIONS)
def test_host_ports_after_macvlan(host: Host, version: str) -> None:
    """The pod is on the wire itself, beside the node: what leads to it is the network's business, the mapping ours."""
    runtime, pod = host.runtime(version, MAINS["macvlan"], PORTMAP), host.pod()
    result = runtime.add(pod)
    assert [i["name"] for i in result["interfaces"]] == ["eth0"]
    listing = host.inside(lambda: Nft().run_text("list map inet netplane-cni anyports4"))
    assert "10.244.7.2 . 80" in listing
    if version != "0.3.1":
        runtime.check(pod)
    runtime.delete(pod)
    host.nothing_left()


def test_a_rate_limit_after_macvlan_is_refused_and_leaves_nothing(host: Host) -> None:
    runtime = host.runtime("1.0.0", MAINS["macvlan"], BANDWIDTH)
    with pytest.raises(CniFailed, match="veth pair"):
        runtime.add(host.pod())
    host.nothing_left()


def test_a_plugin_that_fails_after_ours_takes_all_back(host: Host) -> None:
    """The runtime calls DEL for the whole list, ours included."""
    runtime = host.runtime("1.0.0", OURS, {"type": "tuning", "sysctl": {"no.such.thing": "1"}})
    with pytest.raises(CniFailed, match="sysctl key"):
        runtime.add(host.pod())
    host.nothing_left()

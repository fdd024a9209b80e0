"""The CNI reference library's ways as a caller, imitated: cached results, STATUS before ADD, GC with what is alive.

Its GC (libcni 1.2) first deletes cached attachments that are not alive with the configuration and the result they were
added with, then tells every plugin which attachments are.
"""

import json
from typing import Any

import pytest

from cni import install
from labs.runtime import Attachment, CniFailed, CniRuntime
from netplane.kernel import netns
from tests.cnitools import AgentProcess, Spaces, config, door

pytestmark = pytest.mark.privileged


class Caller(CniRuntime):
    """A runtime that collects garbage and asks for STATUS."""

    def attachments(self) -> list[dict[str, str]]:
        """What the cache knows: files are named CONTAINER-INTERFACE.json."""
        pairs = (path.stem.rpartition("-") for path in sorted(self.cache_dir.glob("*.json")))
        return [{"containerID": container, "ifname": ifname} for container, _, ifname in pairs]

    def collect(self, valid: list[dict[str, str]]) -> None:
        for known in self.attachments():
            if known not in valid:
                self.delete(Attachment(known["containerID"], "", known["ifname"]))
        self.verb("GC", {"cni.dev/valid-attachments": valid})

    def verb(self, command: str, more: dict[str, Any] | None = None) -> None:
        """A verb without a container, for each plugin of the list."""
        conflist = self._conflist()
        for plugin in conflist["plugins"]:
            self._execute(command, conflist, {**plugin, **(more or {})}, Attachment("", "", ""), None)


def caller(agent: AgentProcess, version: str, network: str = "net", **extra: Any) -> Caller:
    plugin = config(version, **extra)
    conflist = {"cniVersion": version, "name": network, "plugins": [plugin]}
    conf = agent.folder / network
    install.install_relay(agent.bin, agent.socket)
    conf.mkdir(exist_ok=True)
    (conf / "10.conflist").write_text(json.dumps(conflist))
    return Caller(agent.space, agent.bin, conf, agent.folder / "cache" / network)


def attach(runtime: CniRuntime, place: Spaces, container: str) -> Attachment:
    pod = Attachment(container, str(netns.path(place.name(container))))
    runtime.add(pod)
    return pod


def aliases(agent: AgentProcess) -> set[str]:
    """Containers that have a link on the node."""
    with door(agent.space) as rtnl:
        return {link.alias.split(" ")[2] for link in rtnl.links() if link.alias}


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_add_check_del_with_what_was_kept(version: str, agent: AgentProcess, place: Spaces) -> None:
    runtime = caller(agent, version)
    pod = attach(runtime, place, "a")
    runtime.check(pod)
    with pytest.raises(CniFailed, match="already"):
        runtime._execute("ADD", runtime._conflist(), runtime._conflist()["plugins"][0], pod, None)
    runtime.check(pod)
    (runtime.conf_dir / "10.conflist").unlink()  # DEL works with the configuration of its ADD
    runtime.delete(pod)
    assert aliases(agent) == set()


def test_gc_takes_what_is_not_alive_and_only_of_its_network(agent: AgentProcess, place: Spaces) -> None:
    ours = caller(agent, "1.1.0")
    ranges = {"ranges": [[{"subnet": "10.244.9.0/24"}]]}
    others = caller(agent, "1.1.0", "others", bridge="np1", name="others", ipam=ranges)
    for name in ("a", "b", "c"):
        attach(ours, place, name)
    attach(others, place, "z")
    (ours.cache_dir / "b-eth0.json").unlink()  # the runtime crashed and forgot it
    ours.collect([{"containerID": "a", "ifname": "eth0"}])
    assert aliases(agent) == {"a", "z"}
    assert ours.attachments() == [{"containerID": "a", "ifname": "eth0"}]
    ours.collect([])
    assert aliases(agent) == {"z"}
    others.check(Attachment("z", str(netns.path(place.made[-1]))))


def test_gc_of_an_attachment_with_another_interface_name(agent: AgentProcess, place: Spaces) -> None:
    runtime = caller(agent, "1.1.0")
    attach(runtime, place, "a")
    runtime.verb("GC", {"cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth1"}]})
    assert aliases(agent) == set(), "an attachment is a container and an interface"


def test_status_says_why_a_node_is_not_ready(agent: AgentProcess) -> None:
    runtime = caller(agent, "1.1.0")
    with pytest.raises(CniFailed, match="error 50"):
        runtime.verb("STATUS")  # its apiserver cannot be reached

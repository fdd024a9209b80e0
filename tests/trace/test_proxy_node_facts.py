"""kube-proxy's tables of detect-local and of the node, replayed. Only where the facts lie."""

import asyncio
import ipaddress
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from netplane.api.objects import Node as NodeObject
from netplane.api.objects import NodeAddress, NodeSpec, NodeStatus, ObjectMeta
from netplane.net.addresses import packed
from netplane.nft import types
from netplane.nft.elements import cidr_elements
from proxy import config, node, reload, settings, validation
from proxy.config import Config
from proxy.plan import nodeports, skeleton
from proxy.plan.cidrs import of_node
from proxy.plan.detector import of_family
from proxy.plan.model import Node, Options
from tests.config_facts import FAMILIES, MODES, PROXY_MODES, TABLES, table

if TABLES.is_dir():
    SERVER = table("cmd_kube-proxy_app_server_linux")
    DETECTORS = SERVER["server_linux_test.go:Test_getLocalDetectors#1"]

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("row", DETECTORS, ids=lambda row: row["name"])
    def test_each_family_detects_by_its_own(row: dict[str, Any], family: str) -> None:
        said, wanted = row["config"], row["expected"][family]
        local = said["DetectLocal"]
        made = Config(
            detect_local_mode=MODES.get(said["DetectLocalMode"], said["DetectLocalMode"]),
            cluster_cidr=",".join(local.get("ClusterCIDRs", ())),
            detect_local=settings.DetectLocalConfig(
                bridge_interface=local.get("BridgeInterface", ""),
                interface_name_prefix=local.get("InterfaceNamePrefix", ""),
            ),
        )
        wrong = list(validation.detect_local_mode(made.detect_local_mode, "p"))
        wrong += validation.detect_local(made.detect_local_mode, made.detect_local, made.cluster_cidrs, "p")
        if row["name"] == "unknown LocalMode" or "strange" in row["name"]:
            # Refused in one sentence, where the reference runs on without, or with a name that nft will not take.
            assert len(wrong) == 1
            return
        assert wrong == []
        node_cidrs = tuple(row.get("nodePodCIDRs", ()))
        chosen = config.options(made, FAMILIES[family], node_cidrs)
        if isinstance(wanted, dict):
            assert chosen.detect_local == ""
        elif chosen.local:
            assert chosen.local == wanted
        else:
            of_mode = made.cluster_cidrs if chosen.detect_local == "ClusterCIDR" else node_cidrs
            assert cidr_elements(FAMILIES[family], of_mode) == cidr_elements(FAMILIES[family], [wanted])

    @pytest.mark.parametrize(
        "row", SERVER["server_linux_test.go:Test_platformApplyDefaults#1"], ids=lambda row: row["name"]
    )
    def test_detection_by_default(row: dict[str, Any]) -> None:
        made = Config(
            mode=PROXY_MODES.get(row["mode"], row["mode"]), detect_local_mode=MODES.get(row["detectLocal"], "")
        )
        made = made if row["detectLocal"] != "NodeCIDR" else msgspec.structs.replace(made, detect_local_mode="NodeCIDR")
        assert list(validation.problems(made)) == []
        assert config.detect_local(made) == MODES[row["expectedDetectLocal"]]
        # Whatever mode was asked for, one runs, and /configz says so.
        assert json.loads(config.shown(made))["kubeproxy.config.k8s.io"]["mode"] == "nftables"

    def test_a_changed_file_ends_the_program(tmp_path: Path) -> None:
        row = SERVER["server_linux_test.go:TestConfigChange#1"][0]
        path = tmp_path / "c"
        path.write_text("a")

        async def scenario() -> None:
            task = asyncio.create_task(reload.until_changed(path, every_s=0.001))
            await asyncio.sleep(0.005)
            with path.open("a") as file:
                file.write("b")
            with pytest.raises(reload.ConfigurationChanged, match=row["expectedErr"]):
                await asyncio.wait_for(task, 10)

        asyncio.run(scenario())

    LOCAL = table("pkg_proxy_util_localdetector")

    @pytest.mark.parametrize("test", ["ByBridgeInterface", "ByInterfaceNamePrefix"])
    def test_interfaces_are_matched_as_the_reference_matches(test: str) -> None:
        (row,) = LOCAL[f"localdetector_test.go:TestDetectLocalNFT{test}#1"]
        options = Options(detect_local=test[2:], local=row.get("ifaceName") or row["ifacePrefix"])  # type: ignore[arg-type]  # a literal
        for family in types.FAMILIES:
            text = str(skeleton.skeleton(family, options)).replace('"', "")
            for words in ("expectedJumpIfOutput", "expectedJumpIfNotOutput"):
                assert re.search(rf"(?<!\S){re.escape(' '.join(row[words]))}(?!\S)", text)

    @pytest.mark.parametrize("row", LOCAL["localdetector_test.go:TestDetectLocalByCIDR#1"], ids=lambda row: row["cidr"])
    def test_cidrs_are_matched_by_source(row: dict[str, Any]) -> None:
        family = types.FAMILIES[":" in row["cidr"]]
        text = str(skeleton.skeleton(family, of_family(Options(detect_local="ClusterCIDR"), family, [row["cidr"]])))
        cidr = str(ipaddress.ip_network(row["cidr"]))
        assert f"{family.nft} saddr {cidr} " in text
        assert f"{family.nft} saddr != {cidr} " in text

    # The node ----------------------------------------------------------------------------------------------------

    ADDRESSES = table("pkg_proxy_util_nodeport_addresses")["nodeport_addresses_test.go:TestGetNodeIPs#1"]

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("row", ADDRESSES, ids=lambda row: row["name"])
    def test_node_port_addresses_of_the_node(row: dict[str, Any], family: str) -> None:
        mine = [address["IP"] for pair in row["itfAddrsPairs"] for address in pair["addrs"]]
        here = Node("n", "", (), frozenset(map(packed, mine)))
        options = Options(node_port_addresses=tuple(row["cidrs"]))
        wanted = row["expected"][family]
        ips = wanted["ips"]["args"] if isinstance(wanted["ips"], dict) else [wanted["ips"]] if wanted["ips"] else []
        assert set(nodeports.selected(FAMILIES[family], here, options)) == set(map(packed, ips))
        assert nodeports.matches_all(FAMILIES[family], options) == wanted.get("matchAll", False)
        # The kernel is told of all of them but loopback, which nat cannot serve.
        assert set(nodeports.addresses(FAMILIES[family], here, options)) == {
            packed(ip) for ip in ips if ip != "::1" and not ip.startswith("127.")
        }

    NODES = table("pkg_proxy_node")

    def updates(name: str) -> list[NodeObject | None]:
        """What the node says, time after time, in the rows of the table (they are functions there)."""

        def said(*addresses: str, cidr: str = "") -> NodeObject:
            spec = NodeSpec(pod_cidr=cidr, pod_cidrs=[cidr] if cidr else None)
            listed = [NodeAddress(type="InternalIP", address=address) for address in addresses]
            return NodeObject(metadata=ObjectMeta(name="test-node"), spec=spec, status=NodeStatus(addresses=listed))

        if "doesn't exist" in name:
            return [None]
        address = {"node object exist with NodeIP": ["192.168.1.10"]}.get(name, ["192.168.1.1"])
        address = [] if "without NodeIP" in name else address
        cidr = "10.0.0.0/24" if "PodCIDR" in name and "without PodCIDR" not in name else ""
        return [None, said(), said(*address), said(*address, cidr=cidr)]

    @pytest.mark.parametrize("row", NODES["node_test.go:TestNewNodeManager#1"], ids=lambda row: row["name"])
    def test_what_is_waited_for_of_the_node(row: dict[str, Any]) -> None:
        answers = updates(row["name"])
        described = node.describe("test-node", answers[-1], frozenset(), ())
        if "expectedNodeIPs" in row:
            assert list(described.primary) == [packed(ip) for ip in row["expectedNodeIPs"] or ()]
        if not row.get("watchPodCIDRs"):
            return

        async def read() -> NodeObject | None:
            return answers.pop(0) if len(answers) > 1 else answers[0]

        waiting: Callable[[], Any] = lambda: node.pod_cidrs(read, "test-node", patience_s=0.2, pause_s=0.001)  # noqa: E731 - used twice
        if "expectedError" in row:
            with pytest.raises(node.NodeMissing, match=re.escape(row["expectedError"])):
                asyncio.run(waiting())
        else:
            assert list(asyncio.run(waiting())) == row["expectedPodCIDRs"]

    @pytest.mark.parametrize("row", NODES["node_test.go:TestNodeManagerOnNodeChange#1"], ids=lambda row: row["name"])
    def test_a_changed_node_is_followed_where_the_reference_starts_again(row: dict[str, Any]) -> None:
        def described(ips: list[str], cidrs: list[str]) -> tuple[Node, tuple[str, ...]]:
            listed = [NodeAddress(type="InternalIP", address=ip) for ip in ips]
            said = NodeObject(spec=NodeSpec(pod_cidrs=cidrs), status=NodeStatus(addresses=listed))
            return node.describe("n", said, frozenset(), ()), of_node(said, [])

        before = described(row["initialNodeIPs"], row.get("initialPodCIDRs", []))
        after = described(row["updatedNodeIPs"], row.get("updatedPodCIDRs", []))
        assert (before != after) == ("different" in row["name"])

"""kube-proxy's configuration tables, replayed: validation, defaults, detect-local, node. Only where the facts lie."""

import asyncio
import ipaddress
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from netplane.api.fields import FieldError
from netplane.api.objects import Node as NodeObject
from netplane.api.objects import NodeAddress, NodeSpec, NodeStatus, ObjectMeta
from netplane.net.addresses import packed
from netplane.nft import types
from netplane.nft.elements import cidr_elements
from proxy import config, node, reload, settings, validation
from proxy.config import Config
from proxy.plan import nodeports, skeleton
from proxy.plan.detector import of_family
from proxy.plan.model import Node, Options

TABLES = Path(__file__).parents[2] / ".." / "shared" / "facts" / "tables"
FAMILIES = {f"{family.name}Protocol": family for family in types.FAMILIES}
MODES = {"LocalModeClusterCIDR": "ClusterCIDR", "LocalModeNodeCIDR": "NodeCIDR"}
MODES |= {"LocalModeBridgeInterface": "BridgeInterface", "LocalModeInterfaceNamePrefix": "InterfaceNamePrefix"}
PROXY_MODES = {"ProxyModeIPTables": "iptables", "ProxyModeIPVS": "ipvs", "ProxyModeNFTables": "nftables"}
PROXY_MODES["ProxyModeKernelspace"] = "kernelspace"


def table(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((TABLES / f"{name}.json").read_text())
    return found


def rows(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A table whose rows have names."""
    return {name: row for name, row in found.items() if isinstance(row, dict)}


def duration(said: Any) -> str:
    """`{"Duration": "-5 *Second"}` as users write it."""
    number, unit = re.fullmatch(r"(-?\d+) \*(\w+)", said["Duration"]).groups()  # type: ignore[union-attr]  # or fail
    return f"{number}{ {'Second': 's', 'Minute': 'm', 'Hour': 'h'}[unit] }"


def plain(value: Any) -> Any:
    return duration(value) if isinstance(value, dict) and "Duration" in value else value


def expected(row: dict[str, Any]) -> list[tuple[str, Any, str]]:
    """Field, value and words of each error that must come."""
    return [
        (str(field), plain(value), f"supported values: {', '.join(map(json.dumps, detail))}" if call else detail)
        for error in row.get("expectedErrs") or ()
        for (field, value, detail) in [error["args"]]
        for call in [error["call"] == "NotSupported"]
    ]


def told(problems: Iterable[FieldError], root: str) -> list[tuple[str, Any, str]]:
    return [(problem.field.removeprefix(f"{root}."), problem.value, problem.detail) for problem in problems]


if TABLES.is_dir():
    V = {name.partition(":")[2]: found for name, found in table("pkg_proxy_apis_config_validation_validation").items()}

    def named(test: str) -> Any:
        found = V[test]
        cases = rows(found) if isinstance(found, dict) else {row["name"]: row for row in found}
        return pytest.mark.parametrize("row", list(cases.values()), ids=list(cases))

    @named("TestValidateClientConnectionConfiguration#1")
    def test_client_connection(row: dict[str, Any]) -> None:
        said = Config(client_connection=settings.ClientConnection(burst=row["ccc"]["Burst"]))
        assert told(validation.problems(said), "KubeProxyConfiguration.ClientConnection") == expected(row)

    @named("TestValidateDetectLocalConfiguration#1")
    def test_detect_local(row: dict[str, Any]) -> None:
        said = row["config"]
        chosen = settings.DetectLocalConfig(
            bridge_interface=said.get("BridgeInterface", ""), interface_name_prefix=said.get("InterfaceNamePrefix", "")
        )
        found = validation.detect_local(MODES[row["mode"]], chosen, said.get("ClusterCIDRs", ()), "p")
        # A broken element of a list is named by its index.
        wanted = [(f"ClusterCIDRs[{f}]" if f.isdigit() else f, v, d) for f, v, d in expected(row)]
        assert told(found, "p") == wanted

    @named("TestValidateDualStackCIDRStrings#1")
    def test_dual_stack_cidrs(row: dict[str, Any]) -> None:
        found = validation.dual_stack(row["cidrStrings"], "DualStackCIDRList")
        wanted = [(f"DualStackCIDRList[{f}]" if f.isdigit() else f, v, d) for f, v, d in expected(row)]
        assert told(found, "p") == wanted

    @named("TestValidateHostPort#1")
    def test_host_and_port(row: dict[str, Any]) -> None:
        assert told(validation.host_port(row["ip"], "HealthzBindAddress"), "") == expected(row)

    @named("TestValidateKubeProxyExcludeCIDRs#1")
    def test_exclude_cidrs(row: dict[str, Any]) -> None:
        assert told(validation.exclude_cidrs(row["addresses"], "ExcludeCIDRS"), "") == expected(row)

    @named("TestValidateKubeProxyNodePortAddress#1")
    def test_node_port_addresses(row: dict[str, Any]) -> None:
        said = ["primary" if a == "NodePortAddressesPrimary" else a for a in row["addresses"]]
        assert told(validation.node_port_addresses(said, "NodePortAddresses"), "") == expected(row)

    @named("TestValidateKubeProxyIPTablesConfiguration#1")
    def test_iptables(row: dict[str, Any]) -> None:
        bit = row["config"]["MasqueradeBit"]
        assert told(validation.masquerade_bit(bit, "KubeIPTablesConfiguration"), "") == expected(row)

    @named("TestValidateKubeProxyIPVSConfiguration#1")
    def test_ipvs(row: dict[str, Any]) -> None:
        said = row["config"]
        chosen = settings.IPVS(
            tcp_timeout=duration(said["TCPTimeout"]),
            tcp_fin_timeout=duration(said["TCPFinTimeout"]),
            udp_timeout=duration(said["UDPTimeout"]),
        )
        assert told(validation.ipvs(chosen, "KubeIPVSConfiguration"), "") == expected(row)

    @named("TestValidateKubeProxyLinuxConfiguration#1")
    def test_linux(row: dict[str, Any]) -> None:
        said = row["config"]["Conntrack"]
        tracked = settings.Conntrack(
            max_per_core=said["MaxPerCore"],
            min=said["Min"],
            tcp_established_timeout=duration(said["TCPEstablishedTimeout"]),
            tcp_close_wait_timeout=duration(said["TCPCloseWaitTimeout"]),
            udp_timeout=duration(said["UDPTimeout"]),
            udp_stream_timeout=duration(said["UDPStreamTimeout"]),
        )
        found = validation.linux(tracked, row["config"]["OOMScoreAdj"], "KubeProxyLinuxConfiguration")
        assert told(found, "") == expected(row)

    @named("testValidateProxyModeLinux#1")
    def test_proxy_mode(row: dict[str, Any]) -> None:
        mode = PROXY_MODES.get(row["mode"], row["mode"])
        assert told(validation.mode(mode, "p"), "p") == expected(row)

    # The table changes a good configuration with functions; here they are, by the rows' names.
    CHANGES: dict[str, dict[str, Any]] = {
        "basic config, unspecified Mode": {},
        "Mode specified, extra mode-specific configs": {
            "mode": "ipvs",
            "nftables": settings.NFTables(sync_period="5s"),
        },
        "empty HealthzBindAddress": {"healthz_bind_address": ""},
        "IPv6": {"bind_address": "fd00:192:168:59::103", "healthz_bind_address": "", "cluster_cidr": "fd00:192::/64"},
        "alternate healthz port": {"healthz_bind_address": "0.0.0.0:12345"},
        "ClusterCIDR is wrong IP family": {"cluster_cidr": "fd00:192:168::/64"},
        "ClusterCIDR is dual-stack": {"cluster_cidr": "192.168.59.0/24,fd00:192:168::/64"},
        "LocalModeInterfaceNamePrefix": {
            "detect_local_mode": "InterfaceNamePrefix",
            "detect_local": settings.DetectLocalConfig(interface_name_prefix="vethabcde"),
        },
        "LocalModeBridgeInterface": {
            "detect_local_mode": "BridgeInterface",
            "detect_local": settings.DetectLocalConfig(bridge_interface="avz"),
        },
        "invalid BindAddress": {"bind_address": "10.10.12.11:2000"},
        "ConfigSyncPeriod must be > 0": {"config_sync_period": "-1s"},
        "SyncPeriod must be > 0": {"iptables": settings.IPTables(sync_period="-5s", min_sync_period="2s")},
        "MinSyncPeriod must be > 0": {"iptables": settings.IPTables(sync_period="5s", min_sync_period="-2s")},
        "SyncPeriod must be >= MinSyncPeriod": {"iptables": settings.IPTables(sync_period="1s", min_sync_period="5s")},
        "invalid DetectLocalMode": {"detect_local_mode": "Guess"},
        "invalid logging format": {"logging": settings.Logging(format="unsupported format")},
    }
    # Addresses without a port get the default one here, as in the reference's versioned files.
    PORTLESS = {"invalid HealthzBindAddress": "0.0.0.0", "invalid MetricsBindAddress": "127.0.0.1"}

    @named("TestValidateKubeProxyConfiguration#2")
    def test_whole_configuration(row: dict[str, Any], request: pytest.FixtureRequest) -> None:
        name = request.node.callspec.id
        if name in PORTLESS:
            field = name.split()[1]
            found = told(validation.host_port(PORTLESS[name], field), "")
        else:
            made = msgspec.structs.replace(Config(cluster_cidr="192.168.59.0/24"), **CHANGES[name])
            found = told(validation.problems(made), validation.ROOT)
        assert found == expected(row)

    DEFAULTS = table("pkg_proxy_apis_config_v1alpha1_defaults")["defaults_test.go:TestDefaultsKubeProxyConfiguration#1"]

    @pytest.mark.parametrize("row", DEFAULTS, ids=lambda row: row["name"])
    def test_defaults_that_mean_something_here(row: dict[str, Any]) -> None:
        """All but the client's rates and content type, and the least time between syncs: changes are not held back."""
        said, wanted = row["original"], row["expected"]
        made = Config(
            healthz_bind_address=said.get("HealthzBindAddress"), metrics_bind_address=said.get("MetricsBindAddress")
        )
        assert made.bind_address == wanted["BindAddress"]
        assert made.healthz_address == wanted["HealthzBindAddress"]
        assert made.metrics_address == wanted["MetricsBindAddress"]
        assert f"{made.conntrack.tcp_established_timeout}" == duration(wanted["Conntrack"]["TCPEstablishedTimeout"])
        assert made.conntrack.tcp_close_wait_timeout == duration(wanted["Conntrack"]["TCPCloseWaitTimeout"])
        assert made.config_sync_period == duration(wanted["ConfigSyncPeriod"])
        for section, ours in (("IPTables", made.iptables), ("NFTables", made.nftables)):
            assert ours.sync_period == duration(wanted[section]["SyncPeriod"])
            assert config.options(made).masquerade_bit == 1 << wanted[section]["MasqueradeBit"]
            assert config.options(made).masquerade_all == wanted[section]["MasqueradeAll"]
        assert made.iptables.min_sync_period == duration(wanted["IPTables"]["MinSyncPeriod"])
        assert made.feature_gates == wanted["FeatureGates"]

    # Detect-local ------------------------------------------------------------------------------------------------

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
            return node.describe("n", said, frozenset(), ()), node.cidrs_of(said)

        before = described(row["initialNodeIPs"], row.get("initialPodCIDRs", []))
        after = described(row["updatedNodeIPs"], row.get("updatedPodCIDRs", []))
        assert (before != after) == ("different" in row["name"])

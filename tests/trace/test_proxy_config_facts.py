"""kube-proxy's configuration tables, replayed: validation and defaults. Only where the facts lie."""

import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from netplane.api.fields import FieldError
from proxy import config, settings, validation
from proxy.config import Config
from tests.config_facts import MODES, PROXY_MODES, TABLES, rows, table


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

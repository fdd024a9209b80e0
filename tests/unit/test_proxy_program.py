"""The proxy's configuration: file and flags, what is refused, what is told."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from netplane.errors import UsageError
from netplane.nft.types import FAMILIES
from proxy import config, durations, reload, settings, validation
from proxy.__main__ import command
from proxy.config import Config
from proxy.plan.model import Options

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"


def load(tmp_path: Path, body: str, head: str = HEAD) -> tuple[Config, list[str]]:
    path = tmp_path / "config.yaml"
    path.write_text(head + body)
    return config.load(path)


def test_a_clusters_existing_file_is_taken_and_its_foreign_fields_are_named(tmp_path: Path) -> None:
    made, unsupported = load(
        tmp_path,
        """
mode: ""
bindAddress: 0.0.0.0
clientConnection: {kubeconfig: /var/lib/kube-proxy/kubeconfig.conf, qps: 0, burst: 5}
clusterCIDR: 10.244.0.0/16,fd00:10:244::/56
conntrack: {maxPerCore: null, min: null, tcpEstablishedTimeout: 24h0m0s}
iptables: {masqueradeAll: true, masqueradeBit: null}
nftables: {masqueradeBit: 7, syncPeriod: 1m, minSyncPeriod: 0s}
nodePortAddresses: null
portRange: ""
winkernel: {enableDSR: false}
""",
    )
    assert unsupported == ["clientConnection.burst"]
    assert made.client_connection.kubeconfig == "/var/lib/kube-proxy/kubeconfig.conf"
    assert config.options(made) == Options(masquerade_bit=128, masquerade_all=True, detect_local="ClusterCIDR")
    assert config.sysctls(made, 4)["net/netfilter/nf_conntrack_tcp_timeout_established"] == 86_400


KUBEADMS = """
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection: {acceptContentTypes: "", burst: 0, contentType: "", kubeconfig: /k, qps: 0}
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack: {maxPerCore: null, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null, udpTimeout: 0s}
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
healthzBindAddress: ""
hostnameOverride: ""
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
ipvs: {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", strictARP: false, syncPeriod: 0s, tcpTimeout: 0s}
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}, verbosity: 0}
metricsBindAddress: ""
mode: nftables
nftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
nodePortAddresses: null
oomScoreAdj: null
winkernel: {enableDSR: false, networkName: "", sourceVip: ""}
"""


def test_the_file_that_kubeadm_writes_works_as_it_is(tmp_path: Path) -> None:
    made, unsupported = load(tmp_path, KUBEADMS)
    validation.check(made, "f")
    assert unsupported == []
    assert (made.healthz_address, made.metrics_address) == ("0.0.0.0:10256", "127.0.0.1:10249")
    assert (made.nftables.sync_period, made.config_sync_period, made.oom_score_adj) == ("30s", "15m", -999)
    assert config.options(made) == Options(detect_local="ClusterCIDR")


R = "KubeProxyConfiguration"
PERIODS = f"{R}.KubeProxyNFTablesConfiguration"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("mode: magic", f'{R}.Mode.ProxyMode: Invalid value: "magic": must be iptables, ipvs, nftables or blank'),
        ("detectLocalMode: Magic", f'{R}.DetectLocalMode: Unsupported value: "Magic": supported values: "ClusterCIDR"'),
        (
            "detectLocalMode: BridgeInterface",
            f'{R}.DetectLocalConfiguration.InterfaceName: Invalid value: "": must not',
        ),
        ("detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: 'a b'}", "must be an interface's"),
        ("clusterCIDR: 10.0.0.0/16,10.1.0.0/16", "must be a either a single CIDR or dual-stack pair of CIDRs"),
        ("clusterCIDR: 10.0.0.300/16", f'{R}.DetectLocalConfiguration.ClusterCIDRs[0]: Invalid value: "10.0.0.300/16"'),
        ("clusterCIDR: 10.0.0.0", "must be a valid CIDR block"),
        ("nodePortAddresses: [primary, 10.0.0.0/8]", f'{R}.NodePortAddresses[0]: Invalid value: "primary": can\'t'),
        ("nodePortAddresses: [x]", f'{R}.NodePortAddresses[0]: Invalid value: "x": must be a valid CIDR'),
        ("nodePortAddresses: 5", "nodePortAddresses: Expected `array"),
        ("nftables: {masqueradeBit: 32}", f"{PERIODS}.MasqueradeBit: Invalid value: 32: must be within the range"),
        ("nftables: {syncPeriod: soon}", f"{PERIODS}.SyncPeriod: Invalid value: \"soon\": 'soon' is no duration"),
        ("mode: nftables\nnftables: {minSyncPeriod: -1s}", f'{R}.MinSyncPeriod: Invalid value: "-1s": must be greater'),
        ("conntrack: {min: -1}", "KubeProxyConntrackConfiguration.Min: Invalid value: -1: must be greater"),
        ("conntrack: {maxPerCore: many}", "conntrack.maxPerCore: Expected `int"),
        ("conntrack: {maxPerCore: 9999999999}", "conntrack.maxPerCore: Expected `int` <"),
        ("logging: {verbosity: -1}", f"{R}.logging.verbosity: Invalid value: -1: must be greater"),
        ("configSyncPeriod: -90s", f'{R}.ConfigSyncPeriod: Invalid value: "-1m30s": must be greater than 0'),
        ("clusterCIDR: 'a,b,c'", f'{R}.DetectLocalConfiguration.ClusterCIDRs: Invalid value: ["a","b","c"]: must be a'),
        ("bindAddress: here", f'{R}.BindAddress: Invalid value: "here": not a valid textual representation'),
        ("oomScoreAdj: 2000", f"{R}.KubeProxyLinuxConfiguration.OOMScoreAdj: Invalid value: 2000: must be within"),
    ],
)
def test_a_bad_value_is_an_error_in_the_references_words(tmp_path: Path, body: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        validation.check(load(tmp_path, body)[0], "f")
    assert said in caught.value.message


def test_everything_that_is_wrong_is_told_at_once() -> None:
    wrong = Config(
        bind_address="x", mode="y", oom_score_adj=5000, node_port_addresses=["a", "b"], metrics_bind_address="z"
    )
    assert [str(problem).partition(":")[0] for problem in validation.problems(wrong)] == [
        f"{R}.KubeProxyLinuxConfiguration.OOMScoreAdj",
        f"{R}.Mode.ProxyMode",
        f"{R}.BindAddress",
        f"{R}.MetricsBindAddress",
        f"{R}.NodePortAddresses[0]",
        f"{R}.NodePortAddresses[1]",
    ]


def test_masquerading_follows_the_section_of_the_mode_unless_nftables_says_otherwise(tmp_path: Path) -> None:
    made, unsupported = load(tmp_path, "mode: iptables\niptables: {masqueradeAll: true, masqueradeBit: 5}")
    assert unsupported == ["mode"]
    assert (config.options(made).masquerade_all, config.options(made).masquerade_bit) == (True, 32)
    made, _ = load(tmp_path, "iptables: {masqueradeAll: true}\nnftables: {masqueradeAll: false, masqueradeBit: 0}")
    assert (config.options(made).masquerade_all, config.options(made).masquerade_bit) == (False, 1)


def test_a_family_without_cidrs_has_no_detection() -> None:
    said = Config(cluster_cidr="10.0.0.0/8")
    assert [config.options(said, family).detect_local for family in FAMILIES] == ["ClusterCIDR", ""]
    said = Config(detect_local_mode="NodeCIDR", cluster_cidr="10.0.0.0/8")
    assert [config.options(said, family, ("fd00::/64",)).detect_local for family in FAMILIES] == ["", "NodeCIDR"]


@pytest.mark.parametrize(
    ("said", "healthz", "scraped"),
    [
        (Config(), "0.0.0.0:10256", "127.0.0.1:10249"),
        (Config(bind_address="::"), "[::]:10256", "[::1]:10249"),
        (Config(healthz_bind_address="", metrics_bind_address=""), "", ""),
        (Config(healthz_bind_address="192.0.2.1", metrics_bind_address="::1"), "192.0.2.1:10256", "[::1]:10249"),
        (Config(healthz_bind_address="[fd00::1]:5"), "[fd00::1]:5", "127.0.0.1:10249"),
    ],
)
def test_addresses_get_the_port_they_lack(said: Config, healthz: str, scraped: str) -> None:
    assert (said.healthz_address, said.metrics_address) == (healthz, scraped)


def test_deprecated_port_flags_keep_the_address() -> None:
    made = config.with_flags(Config(), {"healthz_port": 5, "metrics_port": 0})
    assert (made.healthz_address, made.metrics_address) == ("0.0.0.0:5", "")


def test_configz_shows_what_is_in_force() -> None:
    shown = json.loads(config.shown(Config(iptables=settings.IPTables(masquerade_all=True))))["kubeproxy.config.k8s.io"]
    assert shown["mode"] == "nftables"
    assert (shown["nftables"]["masqueradeAll"], shown["nftables"]["masqueradeBit"]) == (True, 14)
    assert (shown["detectLocalMode"], shown["healthzBindAddress"]) == ("ClusterCIDR", "0.0.0.0:10256")
    assert (shown["conntrack"]["tcpEstablishedTimeout"], shown["configSyncPeriod"]) == ("24h0m0s", "15m0s")


def test_configz_shows_sections_without_effect_as_they_are(tmp_path: Path) -> None:
    said = {"winkernel": {"fooTimeout": 5}, "ipvs": {"syncPeriod": "soon", "tcpTimeout": "90s"}}
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"kind": settings.KIND, "apiVersion": settings.API_VERSION, **said}))
    shown = json.loads(config.shown(config.load(path)[0]))["kubeproxy.config.k8s.io"]
    assert shown["winkernel"] == said["winkernel"]
    assert (shown["ipvs"]["syncPeriod"], shown["ipvs"]["tcpTimeout"]) == ("soon", "1m30s")


@pytest.mark.parametrize(
    "text",
    ["0s", "1ns", "2µs", "10ms", "1.5ms", "1s", "1.5s", "1m0s", "1m30s", "1h0m0s", "24h0m0s", "1h0m0.5s", "-1m0s",
     "123.456789ms", "59.123456789s"],
)  # fmt: skip
def test_durations_are_printed_as_they_are_read(text: str) -> None:
    assert durations.text(durations.parse_s(text)) == text


@pytest.mark.parametrize("head", ["", "kind: Pod\n", "kind: KubeProxyConfiguration\napiVersion: v9\n", "- a\n", "{"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, head: str) -> None:
    with pytest.raises(UsageError, match="--config"):
        load(tmp_path, "", head)


def test_flags_go_over_the_file() -> None:
    given = {"cluster_cidr": "10.0.0.0/8", "masquerade_all": True, "nodeport_addresses": ("192.0.2.0/24,::/0",)}
    made = config.with_flags(Config(cluster_cidr="10.9.0.0/16", hostname_override="n"), given)
    assert (made.cluster_cidr, made.hostname_override) == ("10.0.0.0/8", "n")
    assert config.options(made).masquerade_all
    assert made.node_port_addresses == ["192.0.2.0/24", "::/0"]
    with pytest.raises(UsageError, match=r"conntrack\.min: Expected `int"):
        config.with_flags(Config(), {"conntrack_min": "many"})


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        (Config(), ""),
        (Config(cluster_cidr="10.0.0.0/8"), "ClusterCIDR"),
        (Config(detect_local_mode="ClusterCIDR"), ""),
        (Config(detect_local_mode="NodeCIDR"), "NodeCIDR"),
    ],
)
def test_without_cidrs_nothing_tells_pods_from_strangers(said: Config, mode: str) -> None:
    assert config.options(said).detect_local == mode


def test_conntrack_is_configured_as_the_reference_does() -> None:
    prefix = "net/netfilter/nf_conntrack_"
    assert config.sysctls(Config(), 8) == {
        f"{prefix}max": 262_144,
        f"{prefix}tcp_timeout_established": 86_400,
        f"{prefix}tcp_timeout_close_wait": 3600,
    }
    assert config.sysctls(Config(), 1)[f"{prefix}max"] == 131_072
    none = settings.Conntrack(max_per_core=0, tcp_established_timeout="0s", tcp_close_wait_timeout="0")
    assert config.sysctls(Config(conntrack=none), 8) == {}
    tracked = settings.Conntrack(
        max_per_core=1000,
        min=9000,
        tcp_be_liberal=True,
        tcp_established_timeout="0",
        tcp_close_wait_timeout="0",
        udp_timeout="30s",
        udp_stream_timeout="3m",
    )
    assert config.sysctls(Config(conntrack=tracked), 8) == {
        f"{prefix}max": 9000,
        f"{prefix}udp_timeout": 30,
        f"{prefix}udp_timeout_stream": 180,
        f"{prefix}tcp_be_liberal": 1,
    }


@pytest.mark.parametrize(("now", "then"), [(None, None), (65_536, 524_288), (524_287, 524_288), (524_288, None)])
def test_a_larger_conntrack_table_gets_the_buckets_it_needs(now: int | None, then: int | None) -> None:
    written = config.sysctls(Config(), 64, now)
    assert (written["net/netfilter/nf_conntrack_max"], written.get(config.BUCKETS)) == (2_097_152, then)
    untouched = Config(conntrack=settings.Conntrack(max_per_core=0))
    assert config.BUCKETS not in config.sysctls(untouched, 64, now)


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h0m0s", 3600), ("90s", 90), ("1.5m", 90), ("500ms", 0.5), ("0", 0), ("-2s", -2), ("", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert durations.parse_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["1", "h", "1 h", "1d", "--1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        durations.parse_s(text)


def test_help_and_bad_flags_need_no_kernel_and_no_apiserver() -> None:
    runner = CliRunner()
    assert runner.invoke(command, ["--help"]).exit_code == 0
    refused = runner.invoke(command, ["--cluster-cidr", "nonsense"])
    assert isinstance(refused.exception, UsageError)
    assert runner.invoke(command, ["--masquerade-all=perhaps"]).exit_code == 2


def test_a_changed_configuration_file_ends_the_program(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a")

    async def scenario() -> None:
        task = asyncio.create_task(reload.until_changed(path, every_s=0.001))
        await asyncio.sleep(0.01)
        path.unlink()
        await asyncio.sleep(0.01)
        assert not task.done()
        path.write_text("b")
        with pytest.raises(reload.ConfigurationChanged, match="configuration file was updated"):
            await asyncio.wait_for(task, 10)

    asyncio.run(scenario())


def test_the_configuration_in_force_can_be_written_to_a_file(tmp_path: Path) -> None:
    made = tmp_path / "made.yaml"
    assert CliRunner().invoke(command, ["--cluster-cidr", "10.0.0.0/8", "--write-config-to", str(made)]).exit_code == 0
    assert config.load(made)[0].cluster_cidr == "10.0.0.0/8"


# Of kube-proxy 1.36 on Linux; the values are its defaults where it has one.
KUBE_PROXYS_FLAGS = """
--bind-address=0.0.0.0 --bind-address-hard-fail --cleanup=false --cluster-cidr=10.0.0.0/8 --config-sync-period=15m0s
--conntrack-max-per-core=32768 --conntrack-min=131072 --conntrack-tcp-be-liberal=false
--conntrack-tcp-timeout-close-wait=1h0m0s --conntrack-tcp-timeout-established=24h0m0s --conntrack-udp-timeout=0s
--conntrack-udp-timeout-stream=0s --detect-local-mode=ClusterCIDR --feature-gates=AllAlpha=false --healthz-bind-address=
--healthz-port=10256 --hostname-override=n --init-only=false --iptables-localhost-nodeports=true
--iptables-masquerade-bit=14 --iptables-min-sync-period=1s --iptables-sync-period=30s --ipvs-exclude-cidrs=
--ipvs-min-sync-period=1s --ipvs-scheduler=rr --ipvs-strict-arp --ipvs-sync-period=30s --ipvs-tcp-timeout=0s
--ipvs-tcpfin-timeout=0s --ipvs-udp-timeout=0s --kube-api-burst=10 --kube-api-content-type=x --kube-api-qps=5
--kubeconfig=x --log-flush-frequency=5s --log-json-info-buffer-size=0 --log-json-split-stream
--log-text-info-buffer-size=0 --log-text-split-stream --logging-format=text --masquerade-all --master=http://x
--metrics-bind-address=127.0.0.1:10249 --metrics-port=10249 --nodeport-addresses=10.0.0.0/8,192.0.2.0/24
--oom-score-adj=-999 --pod-bridge-interface=br0 --pod-interface-name-prefix=veth --profiling --proxy-mode=iptables
--show-hidden-metrics-for-version=1.35 --v=2 --vmodule=
"""


def test_every_flag_of_kube_proxy_is_taken(tmp_path: Path) -> None:
    made = tmp_path / "made.yaml"
    done = CliRunner().invoke(command, [*KUBE_PROXYS_FLAGS.split(), f"--write-config-to={made}"])
    assert done.exit_code == 0, done.output
    taken = config.load(made)[0]
    assert (taken.oom_score_adj, taken.mode) == (-999, "iptables")
    assert "healthzBindAddress: ''" in made.read_text()
    assert taken.conntrack.max_per_core == 32_768


def test_every_field_of_kube_proxys_file_is_taken(tmp_path: Path) -> None:
    """What a configuration holds when it is written whole is read again as the same."""
    path = tmp_path / "all.yaml"
    assert CliRunner().invoke(command, [f"--write-config-to={path}"]).exit_code == 0
    assert config.load(path)[0] == config.Config()
    body = """
acceptContentTypes: unknown
featureGates: {A: true}
clientConnection: {acceptContentTypes: a, contentType: b, qps: 5, burst: 10}
logging:
  {format: text, flushFrequency: 5s, verbosity: 2, vmodule: [{filePattern: f, verbosity: 1}], options: {json: {a: "1"}}}
bindAddressHardFail: true
enableProfiling: true
showHiddenMetricsForVersion: "1.35"
iptables: {localhostNodePorts: true, syncPeriod: 30s, minSyncPeriod: 1s}
ipvs:
  {syncPeriod: 30s, scheduler: rr, excludeCIDRs: [10.0.0.0/8], strictARP: true, tcpTimeout: 0s, tcpFinTimeout: 0s}
winkernel: {networkName: x, sourceVip: "", enableDSR: true}
configSyncPeriod: 15m
portRange: 1-2
windowsRunAsService: true
oomScoreAdj: -999
"""
    made, unsupported = load(tmp_path, body)
    validation.check(made, "f")
    assert unsupported == [
        "acceptContentTypes", "clientConnection.acceptContentTypes", "clientConnection.burst",
        "clientConnection.contentType", "clientConnection.qps", "configSyncPeriod", "enableProfiling", "featureGates",
        "iptables.localhostNodePorts", "iptables.minSyncPeriod", "iptables.syncPeriod", "ipvs",
        "logging.flushFrequency", "logging.options", "logging.vmodule", "portRange", "showHiddenMetricsForVersion",
        "windowsRunAsService", "winkernel",
    ]  # fmt: skip

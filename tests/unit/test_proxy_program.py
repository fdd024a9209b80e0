"""Configuration, health and metrics of the proxy, without a kernel."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from netplane.api.objects import Node as NodeObject
from netplane.api.objects import NodeAddress, NodeSpec, NodeStatus, ObjectMeta, Taint
from netplane.errors import UsageError
from netplane.net.addresses import packed
from proxy import config, durations, health, metrics, node
from proxy.__main__ import command
from proxy.config import Config
from proxy.plan.model import Health, Options

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
    assert unsupported == ["clientConnection.burst", "iptables", "winkernel"]
    assert made.client_connection.kubeconfig == "/var/lib/kube-proxy/kubeconfig.conf"
    assert config.options(made) == Options(masquerade_bit=128, detect_local="ClusterCIDR")
    assert config.sysctls(made, 4) == {"net/netfilter/nf_conntrack_tcp_timeout_established": 86_400}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("mode: ipvs", "mode: 'ipvs'"),
        ("detectLocalMode: Magic", "detectLocalMode: 'Magic'"),
        ("detectLocalMode: BridgeInterface", "detectLocal.bridgeInterface: must not be empty"),
        ("detectLocal: {interfaceNamePrefix: 'a b'}", "detectLocal.interfaceNamePrefix: 'a b'"),
        ("clusterCIDR: 10.0.0.0/16,10.1.0.0/16", "clusterCIDR: '10.0.0.0/16,10.1.0.0/16' must be one CIDR"),
        ("clusterCIDR: 10.0.0.300/16", "clusterCIDR: '10.0.0.300/16' is no CIDR"),
        ("clusterCIDR: 10.0.0.0", "clusterCIDR: '10.0.0.0' has no prefix length"),
        ("nodePortAddresses: [primary, 10.0.0.0/8]", "nodePortAddresses: primary must stand alone"),
        ("nodePortAddresses: [x]", "nodePortAddresses: 'x' is no CIDR"),
        ("nodePortAddresses: 5", "nodePortAddresses: Expected `array"),
        ("nftables: {masqueradeBit: 32}", "nftables.masqueradeBit: 32 is not within"),
        ("nftables: {syncPeriod: soon}", "nftables.syncPeriod: 'soon' is no duration"),
        ("nftables: {minSyncPeriod: -1s}", "nftables.minSyncPeriod: '-1s' is negative"),
        ("conntrack: {min: -1}", "conntrack.min: -1 is negative"),
        ("conntrack: {maxPerCore: many}", "conntrack.maxPerCore: Expected `int"),
        ("bindAddress: here", "bindAddress: 'here' is no IP address"),
    ],
)
def test_a_bad_value_is_one_error_that_names_its_field(tmp_path: Path, body: str, field: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, body)
    assert field in caught.value.message


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
    with pytest.raises(UsageError, match="clusterCIDR"):
        config.with_flags(Config(), {"cluster_cidr": "nonsense"})


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


def test_conntrack_is_only_touched_where_it_was_configured() -> None:
    assert config.sysctls(Config(), 8) == {}
    tracked = config.Conntrack(max_per_core=1000, min=9000, tcp_be_liberal=True, udp_timeout="30s")
    assert config.sysctls(Config(conntrack=tracked), 8) == {
        "net/netfilter/nf_conntrack_max": 9000,
        "net/netfilter/nf_conntrack_udp_timeout": 30,
        "net/netfilter/nf_conntrack_tcp_be_liberal": 1,
    }


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


# The node -----------------------------------------------------------------------------------------------------------


def node_object(*addresses: tuple[str, str], taint: str = "", deleted: str | None = None) -> NodeObject:
    return NodeObject(
        metadata=ObjectMeta(name="n", labels={node.ZONE: "z"}, deletion_timestamp=deleted),
        spec=NodeSpec(taints=[Taint(key=taint)] if taint else None),
        status=NodeStatus(addresses=[NodeAddress(type=kind, address=text) for kind, text in addresses]),
    )


def test_the_primary_address_is_the_first_internal_one_of_each_family() -> None:
    said = node_object(
        ("Hostname", "n"),
        ("ExternalIP", "198.51.100.1"),
        ("InternalIP", "192.0.2.1"),
        ("InternalIP", "192.0.2.2"),
        ("ExternalIP", "2001:db8::1"),
        ("InternalIP", "nonsense"),
    )
    described = node.describe("n", said, frozenset(), ())
    assert described.primary == (packed("192.0.2.1"), packed("2001:db8::1"))
    assert described.zone == "z"
    assert node.describe("n", None, frozenset(), (packed("192.0.2.7"),)).primary == (packed("192.0.2.7"),)
    assert node.describe("n", node_object(), frozenset(), (packed("192.0.2.7"),)).primary == (packed("192.0.2.7"),)


# Health -------------------------------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_healthy_while_nothing_waits_longer_than_patience() -> None:
    clock = Clock()
    state = health.State(clock, patience_s=60)
    seen = [state.healthy]
    for step, now in ((None, 61), (state.synced, 61), (None, 1000), (state.changed, 1000), (state.changed, 1061)):
        clock.now = now
        if step is not None:
            step()
        seen.append(state.healthy)
    # At first the lists are awaited; in the end it is the oldest change that counts, not the newest.
    assert seen == [True, False, True, True, True, False]


@pytest.mark.parametrize(
    ("said", "eligible"),
    [
        (None, True),
        (node_object(), True),
        (node_object(taint="other"), True),
        (node_object(taint=health.TO_BE_DELETED), False),
        (node_object(deleted="2026-01-01T00:00:00Z"), False),
    ],
)
def test_a_node_that_is_about_to_go_is_alive_but_not_healthy(said: NodeObject | None, eligible: bool) -> None:
    state = health.State(Clock())
    state.node = said
    status, _, body = state.healthz()
    assert status == (200 if eligible else 503)
    assert json.loads(body)["nodeEligible"] is eligible
    assert state.livez()[0] == 200


async def fetch(port: int) -> tuple[int, dict[str, str], Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), json.loads(body)


def test_health_check_node_ports_open_answer_and_close() -> None:
    async def scenario() -> None:
        checks = health.NodePortChecks(health.State(Clock()), "127.0.0.1")
        port = 31_977
        await checks.update({"ns/web": Health("ns/web", port, 2)})
        status, headers, body = await fetch(port)
        assert (status, headers["X-Load-Balancing-Endpoint-Weight"]) == (200, "2")
        assert body == {
            "service": {"namespace": "ns", "name": "web"},
            "localEndpoints": 2,
            "serviceProxyHealthy": True,
        }
        await checks.update({"ns/web": Health("ns/web", port, 0)})
        assert (await fetch(port))[0] == 503
        await checks.close()
        with pytest.raises(ConnectionRefusedError):
            await fetch(port)

    asyncio.run(scenario())


def test_metrics_have_the_references_names() -> None:
    stats = metrics.Stats()
    stats.sync_s.observe(0.002)
    stats.sync_s.observe(5.0)
    stats.elements_written = 7
    status, _, body = metrics.route(stats)()
    text = body.decode()
    assert status == 200
    assert "kubeproxy_sync_proxy_rules_duration_seconds_count 2.0" in text
    assert 'kubeproxy_sync_proxy_rules_duration_seconds_bucket{le="0.0032"} 1.0' in text
    assert "netplane_proxy_elements_written_total 7.0" in text
    assert "kubeproxy_sync_proxy_rules_last_timestamp_seconds" in text

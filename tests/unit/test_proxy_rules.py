"""`netplane-proxy plan`, and the comparison behind `diff`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from netplane.errors import UsageError
from netplane.nft import types
from netplane.nft.objects import ensure_text
from netplane.nft.trace import Ruleset
from netplane.nft.types import IPV4
from proxy.__main__ import command
from proxy.plan import compare
from proxy.tools.planned import Planned
from tests import proxy_objects


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    return proxy_objects.write(tmp_path)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def planned(*files: Path, **changed: object) -> Planned:
    flags = {
        "files": files,
        "kubeconfig": "",
        "master": "",
        "node_name": "n1",
        "node_addresses": (),
        "service_cidrs": (),
        "config_file": None,
        "cluster_cidr": "10.244.0.0/16",
    }
    return Planned.of({**flags, **changed})


def test_the_plan_is_whole_and_names_every_frontend(manifests: Path) -> None:
    result = run("plan", "--objects", manifests, *proxy_objects.FLAGS)
    assert result.exit_code == 0, result.output
    for line in (
        "table ip netplane-proxy {",
        "table ip6 netplane-proxy {",
        "10.96.0.10 . tcp . 80 : goto lb_2",
        "10.96.0.11 . tcp . 80 : goto lb_1",
        "10.96.0.12 . tcp . 80 : goto st_2_10800",
        "10.96.0.13 . tcp . 80 : goto do-reject",
        "192.0.2.1 . tcp . 30080 : goto ext",
        "10.96.0.10 . tcp . 80 . 1 : 10.244.2.9 . 8080",
        "add element ip netplane-proxy service-cidrs {\n\t10.96.0.0/24\n}",
    ):
        assert line in result.output


def test_the_plan_of_one_family_as_json(manifests: Path) -> None:
    result = run("plan", "--objects", manifests, *proxy_objects.FLAGS, "--family", "IPv4", "-o", "json")
    told = json.loads(result.output)
    assert told["node"] == "n1"
    assert [table["table"] for table in told["tables"]] == ["ip netplane-proxy"]
    assert told["tables"][0]["elements"]["services"] == 6
    assert told["tables"][0]["nft"].startswith("table ip netplane-proxy {")


def test_what_is_skipped_is_said_beside_the_plan(tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(
        "{kind: Service, metadata: {name: a}, spec: {clusterIP: 10.96.0.1, ports: [{port: 80}], externalIPs: [nine]}}"
    )
    result = run("plan", "--objects", file)
    assert result.exit_code == 0
    assert "service default/a: externalIPs has 'nine'" in result.stderr
    assert "nine" not in result.stdout


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "{kind: Service, metadata: {name: a}, spec: {clusterIP: 7}}",
            "Service default/a: spec.clusterIP: Expected `str`",
        ),
        ("{kind: List, items: [{metadata: {}}]}", "document 1, item 1: kind is missing"),
        ("7", "document 1: kind is missing"),
        ("a: [", "did not find expected node content (line 2"),
    ],
)
def test_objects_that_cannot_be_read_are_one_error(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(text)
    result = run("plan", "--objects", file)
    assert isinstance(result.exception, UsageError)
    assert f"{file}: " in str(result.exception)
    assert told in str(result.exception)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--node", "n9"), "--node n9: there is no such node"),
        (("--node", "n1", "--cluster-cidr", "10.244/16"), "10.244/16"),
        (("--node", "n1", "--service-cidr", "x"), "--service-cidr 'x' is no CIDR"),
        (("--node", "n1", "--node-address", "x"), "--node-address 'x' is no IP address"),
        (("--node", "n1", "--kubeconfig", "x"), "--objects and --kubeconfig are both given"),
    ],
)
def test_flags_that_cannot_be_used_are_one_error(manifests: Path, flags: tuple[str, ...], told: str) -> None:
    result = run("plan", "--objects", manifests, *flags)
    assert isinstance(result.exception, UsageError)
    assert told in str(result.exception)


def test_no_objects_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert "nothing says what services there are" in str(run("plan").exception)


def test_flags_without_a_verb_are_those_of_kube_proxy(tmp_path: Path) -> None:
    file = tmp_path / "written.yaml"
    assert run("--cluster-cidr", "10.0.0.0/8", "--write-config-to", file).exit_code == 0
    assert "clusterCIDR: 10.0.0.0/8" in file.read_text()


# Compare --------------------------------------------------------------------------------------------------------


@pytest.fixture
def rules(manifests: Path) -> Ruleset:
    plan = planned(manifests)
    return plan.ruleset(plan.ledger(IPV4)[0])


def differences(rules: Ruleset, have: dict[str, dict[bytes, object]]) -> list[tuple[str, str, str]]:
    found = compare.contents(rules.table, have, rules.elements, lambda _: "shop/x")  # type: ignore[arg-type]  # as the kernel gives them
    return [(item.what.split("  ")[-1], item.have, item.want) for item in found]


def copied(rules: Ruleset) -> dict[str, dict[bytes, object]]:
    return {name: dict(held) for name, held in rules.elements.items()}


def element(rules: Ruleset, name: str, *parts: str | int) -> bytes:
    return types.pack(rules.table.set(name).key, *parts)


def test_equal_contents_have_no_difference_in_whatever_order(rules: Ruleset) -> None:
    have = copied(rules)
    assert differences(rules, have) == []
    first, second = (element(rules, "endpoints", "10.96.0.10", "tcp", 80, index) for index in (0, 1))
    have["endpoints"][first], have["endpoints"][second] = have["endpoints"][second], have["endpoints"][first]
    assert differences(rules, have) == []


def test_a_lost_endpoint_and_a_strange_one(rules: Ruleset) -> None:
    have = copied(rules)
    key = element(rules, "endpoints", "10.96.0.10", "tcp", 80, 1)
    have["endpoints"][key] = types.pack((types.IPV4_ADDR, types.INET_SERVICE), "10.9.9.9", 1)
    frontend = "10.96.0.10:80/tcp"
    assert differences(rules, have) == [(frontend, "", "10.244.2.9:8080"), (frontend, "10.9.9.9:1", "")]


def test_an_endpoint_that_no_random_number_reaches_is_lost(rules: Ruleset) -> None:
    have = copied(rules)
    have["services"][element(rules, "services", "10.96.0.10", "tcp", 80)] = "goto lb_1"
    assert differences(rules, have) == [("10.96.0.10:80/tcp", "", "10.244.2.9:8080")]


def test_sticky_endpoints_are_found_through_their_handles(rules: Ruleset) -> None:
    have = copied(rules)
    lost = next(key for key in have["sticky-endpoints"] if key.startswith(bytes((10, 96, 0, 12))))
    del have["sticky-endpoints"][lost]
    assert [what for what, _, _ in differences(rules, have)] == ["10.96.0.12:80/tcp"]


def test_verdicts_frontends_and_plain_sets(rules: Ruleset) -> None:
    have = copied(rules)
    del have["services"][element(rules, "services", "10.96.0.13", "tcp", 80)]
    have["services"][element(rules, "services", "10.96.0.99", "tcp", 80)] = "drop"
    have["services"][element(rules, "services", "192.0.2.1", "tcp", 30080)] = "goto ext-local"
    del have["cluster-ips"][bytes((10, 96, 0, 10))]
    assert differences(rules, have) == [
        ("10.96.0.13:80/tcp", "", "goto do-reject"),
        ("10.96.0.99:80/tcp", "drop", ""),
        ("192.0.2.1:30080/tcp", "goto ext-local", "goto ext"),
        ("set cluster-ips", "", "10.96.0.10"),
    ]


def test_rules_are_compared_chain_by_chain(rules: Ruleset) -> None:
    text = str(rules.table)
    assert list(compare.rules(text, text)) == []
    damaged = text.replace("\t\tip daddr @cluster-ips goto do-reject\n", "\t\taccept\n", 1)
    found = [(item.what, item.have, item.want) for item in compare.rules(damaged, text)]
    assert found == [("chain dispatch", "accept", ""), ("chain dispatch", "", "ip daddr @cluster-ips goto do-reject")]
    spare = text.replace("\tchain lb_1 {", "\tchain lb_999 {\n\t\tdrop\n\t}\n\n\tchain lb_1 {", 1)
    assert list(compare.rules(spare, text)) == [], "a balancer that nobody needs any more"
    assert "add chain" in ensure_text(rules.table)

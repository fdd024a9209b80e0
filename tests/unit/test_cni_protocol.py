"""What a runtime passes, and what it is answered in every version; bad input is named."""

import json
from typing import Any

import pytest

from cni import config, errors, frames, results
from cni.errors import CniError, Code
from cni.plan import vlan
from cni.protocol import Verb, parse, parse_args, version_reply
from cni.results import VERSIONS, AssignedIP, Dns, NetInterface, Result, RouteTo
from netplane.rtnl import Address, Route
from tests.cnitools import config as make
from tests.cnitools import environment

ADDRESS, ROUTE = Address.of, Route.of


def request(command: str, conf: dict[str, Any] | bytes, **more: str) -> frames.Request:
    stdin = conf if isinstance(conf, bytes) else json.dumps(conf).encode()
    return frames.Request("netplane", environment(command, "c1", "/run/netns/x", **more), stdin)


def refused(command: str, conf: dict[str, Any] | bytes, **more: str) -> CniError:
    with pytest.raises(CniError) as caught:
        parse(request(command, conf, **more))
    return caught.value


RESULT = Result(
    (
        NetInterface("br0", "02:00:00:00:00:01", mtu=1400),
        NetInterface("eth0", "0a:58:00:00:00:01", "/run/netns/x", 1400),
    ),
    (
        AssignedIP(ADDRESS("eth0", "10.1.0.5/24").interface, ROUTE("default", via="10.1.0.1").via, 1),
        AssignedIP(ADDRESS("eth0", "fd00::5/64").interface, ROUTE("default", via="fd00::1").via, 1),
    ),
    (RouteTo(ROUTE("0.0.0.0/0").dst, ROUTE("default", via="10.1.0.1").via), RouteTo(ROUTE("fd01::/64").dst)),
    Dns(nameservers=("10.96.0.10",), search=("cluster.local",)),
)


def test_result_in_the_words_of_0_2_0() -> None:
    """Specification 0.2.0, "Result": one address per family, without interfaces."""
    assert json.loads(results.encode(RESULT, "0.2.0")) == {
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.1.0.5/24", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]},
        "ip6": {"ip": "fd00::5/64", "gateway": "fd00::1", "routes": [{"dst": "fd01::/64"}]},
        "dns": {"nameservers": ["10.96.0.10"], "search": ["cluster.local"]},
    }


def test_result_in_the_words_of_0_4_0_and_1_x() -> None:
    """0.3 and 0.4 say each address' version; 1.1.0 says each interface's MTU."""
    old, middle, new = (json.loads(results.encode(RESULT, v)) for v in ("0.4.0", "1.0.0", "1.1.0"))
    assert [ip["version"] for ip in old["ips"]] == ["4", "6"]
    assert all("version" not in ip for ip in middle["ips"] + new["ips"])
    assert [i.get("mtu") for i in middle["interfaces"]] == [None, None]
    assert [i["mtu"] for i in new["interfaces"]] == [1400, 1400]
    assert middle["ips"][0] == {"address": "10.1.0.5/24", "interface": 1, "gateway": "10.1.0.1"}
    assert middle["interfaces"][1] == {"name": "eth0", "mac": "0a:58:00:00:00:01", "sandbox": "/run/netns/x"}
    assert middle["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, {"dst": "fd01::/64"}]


@pytest.mark.parametrize("version", VERSIONS)
def test_results_read_back_as_prev_result(version: str) -> None:
    back = results.decode(results.encode(RESULT, version))
    assert [ip.interface for ip in back.ips] == [ip.interface for ip in RESULT.ips]
    assert back.routes == RESULT.routes
    assert back.dns == RESULT.dns
    assert back.interfaces == () or [i.name for i in back.interfaces] == ["br0", "eth0"]


@pytest.mark.parametrize(
    "raw",
    [b"[]", b'{"ips": [{}]}', b'{"ips": [{"address": 5}]}', b'{"routes": [{"dst": "x"}]}', b'{"ips": 1}'],
)
def test_prev_result_that_cannot_be_read_is_named(raw: bytes) -> None:
    with pytest.raises(CniError, match="prevResult"):
        results.decode(raw)


def test_version_reply_lists_all() -> None:
    assert json.loads(version_reply("1.0.0")) == {"cniVersion": "1.0.0", "supportedVersions": list(VERSIONS)}


@pytest.mark.parametrize(
    ("command", "since", "before"),
    [("CHECK", "0.4.0", "0.3.1"), ("GC", "1.1.0", "1.0.0"), ("STATUS", "1.1.0", "1.0.0")],
)
def test_verbs_belong_to_versions(command: str, since: str, before: str) -> None:
    assert parse(request(command, make(since))).verb == Verb(command)
    error = refused(command, make(before))
    assert (error.code, since in error.message) == (Code.INCOMPATIBLE_VERSION, True)


@pytest.mark.parametrize(
    ("stdin", "version"),
    [(b"", "1.1.0"), (b'{"cniVersion":"0.4.0"}', "0.4.0"), (b'{"cniVersion":"9.0.0"}', "1.1.0"), (b"[]", "1.1.0")],
)
def test_version_is_answered_whatever_comes(stdin: bytes, version: str) -> None:
    """As callers ask it: a version alone, without a network; and nothing of the environment is needed."""
    call = parse(frames.Request("netplane", {"CNI_COMMAND": "VERSION"}, stdin))
    assert (call.verb, call.network.version) == (Verb.VERSION, version)


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_what_is_alive(key: str) -> None:
    """A caller in Go writes an empty list as null; a key that is not there says nothing at all."""
    one = [{"containerID": "c1", "ifname": "eth0"}]
    assert parse(request("GC", make("1.1.0") | {key: one})).network.attachments == frozenset({("c1", "eth0")})
    nothing: tuple[Any, ...] = ([], None)
    for empty in nothing:
        assert parse(request("GC", make("1.1.0") | {key: empty})).network.attachments == frozenset()
    assert parse(request("GC", make("1.1.0") | {key: None, "mtu": None})).network.attachments == frozenset()
    assert parse(request("GC", make("1.1.0"))).network.attachments is None


def test_no_version_is_the_oldest() -> None:
    conf = make()
    del conf["cniVersion"]
    assert parse(request("ADD", conf)).network.version == "0.1.0"


PORT: dict[str, Any] = {"hostPort": 80, "containerPort": 8080}


def ports(*given: Any) -> dict[str, Any]:
    return {"runtimeConfig": {"portMappings": list(given)}}


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"cniVersion": "2.0.0"}, Code.INCOMPATIBLE_VERSION, "cniVersion"),
        ({"name": ""}, Code.INVALID_CONFIG, "name: is missing"),
        ({"name": "a/b"}, Code.INVALID_CONFIG, "name: 'a/b'"),
        ({"name": "x" * 300}, Code.INVALID_CONFIG, "name"),
        ({"bridge": "a b"}, Code.INVALID_CONFIG, "bridge"),
        ({"bridge": "x" * 16}, Code.INVALID_CONFIG, "bridge"),
        ({"mtu": -1}, Code.INVALID_CONFIG, "mtu"),
        ({"mtu": 100_000}, Code.INVALID_CONFIG, "mtu"),
        ({"mtu": True}, Code.INVALID_CONFIG, "mtu"),
        ({"ipMasq": "yes"}, Code.INVALID_CONFIG, "ipMasq"),
        ({"ipam": {}}, Code.INVALID_CONFIG, "ipam.ranges: is missing"),
        ({"ipam": {"type": "../x"}}, Code.INVALID_CONFIG, "ipam.type"),
        ({"runtimeConfig": {"ipRanges": [{"subnet": "10.1.0.0/24"}]}}, Code.INVALID_CONFIG, "runtimeConfig.ipRanges"),
        ({"runtimeConfig": {"ipRanges": [[{"subnet": "x"}]]}}, Code.INVALID_CONFIG, "runtimeConfig.ipRanges[0]"),
        ({"runtimeConfig": {"dns": {"servers": 1}}}, Code.INVALID_CONFIG, "runtimeConfig.dns"),
        ({"ipam": {"ranges": [[]]}}, Code.INVALID_CONFIG, "ipam.ranges[0]: is an empty set"),
        ({"ipam": {"ranges": [[{"subnet": "10.1.0.5/24"}]]}}, Code.INVALID_CONFIG, "host bits"),
        ({"ipam": {"ranges": [[{"subnet": "10.1.0.0/31"}]]}}, Code.INVALID_CONFIG, "too small"),
        ({"ipam": {"ranges": [[{"rangeStart": "10.1.0.5"}]]}}, Code.INVALID_CONFIG, "subnet is missing"),
        ({"ipam": {"subnet": "10.1.0.0/24", "rangeStart": "10.2.0.1"}}, Code.INVALID_CONFIG, "outside"),
        (
            {"ipam": {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"}},
            Code.INVALID_CONFIG,
            "after",
        ),
        ({"ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "fd00::/64"}]]}}, Code.INVALID_CONFIG, "mixes"),
        (
            {"ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.1.0.0/16"}]]}},
            Code.INVALID_CONFIG,
            "overlaps",
        ),
        ({"ipam": {"subnet": "10.1.0.0/24", "routes": [{"dst": "all"}]}}, Code.INVALID_CONFIG, "ipam.routes[0]"),
        ({"ipam": {"subnet": "10.1.0.0/24", "routes": [{}]}}, Code.INVALID_CONFIG, "ipam.routes"),
        (ports({"hostPort": 80}), Code.INVALID_CONFIG, "runtimeConfig.portMappings[0].containerPort: None"),
        (ports({"hostPort": 70000, "containerPort": 1}), Code.INVALID_CONFIG, "[0].hostPort: 70000"),
        (ports(PORT, PORT | {"protocol": "icmp"}), Code.INVALID_CONFIG, "portMappings[1].protocol: 'icmp'"),
        (ports(PORT | {"hostIP": "all"}), Code.INVALID_CONFIG, "portMappings[0].hostIP"),
        (ports(PORT, PORT | {"hostIP": "192.0.2.1"}), Code.INVALID_CONFIG, "portMappings[1]: maps"),
        (ports(7), Code.INVALID_CONFIG, "portMappings[0]: is no object"),
        ({"runtimeConfig": {"portMappings": "80"}}, Code.INVALID_CONFIG, "portMappings: is no list"),
        ({"runtimeConfig": {"ips": ["10.9.0.1"]}}, Code.INVALID_CONFIG, "runtimeConfig.ips"),
        ({"runtimeConfig": {"ips": ["x"]}}, Code.INVALID_CONFIG, "runtimeConfig.ips"),
        ({"runtimeConfig": {"ips": [5]}}, Code.INVALID_CONFIG, "runtimeConfig.ips: '5'"),
        ({"runtimeConfig": {"ipRanges": {}}}, Code.INVALID_CONFIG, "runtimeConfig.ipRanges"),
        ({"runtimeConfig": {"bandwidth": []}}, Code.INVALID_CONFIG, "runtimeConfig.bandwidth"),
        (
            {"ipam": {"subnet": "10.1.0.0/24", "routes": [{"dst": "0.0.0.0/0", "gw": "fd00::1"}]}},
            Code.INVALID_CONFIG,
            "ipam.routes[0]: 0.0.0.0/0 cannot be reached",
        ),
        ({"runtimeConfig": {"mac": "01:00:00:00:00:00"}}, Code.INVALID_CONFIG, "multicast"),
        ({"args": {"cni": {"mac": "zz"}}}, Code.INVALID_CONFIG, "args.cni.mac"),
        ({"mtu": 1200, "ipam": {"subnet": "fd00::/64"}}, Code.INVALID_CONFIG, "1280"),
        ({"vlan": -1}, Code.INVALID_CONFIG, "vlan: -1"),
        ({"vlan": 4095}, Code.INVALID_CONFIG, "vlan: 4095"),
        ({"vlan": "100"}, Code.INVALID_CONFIG, "vlan"),
        ({"vlan": 100, "bridge": "a" * 13}, Code.INVALID_CONFIG, "bridge"),
        ({"vlanTrunk": [{"id": 0}]}, Code.INVALID_CONFIG, "vlanTrunk[0].id"),
        ({"vlanTrunk": [{"id": 5}, {"minID": 5}]}, Code.INVALID_CONFIG, "vlanTrunk[1].maxID: is missing"),
        ({"vlanTrunk": [{"maxID": 5}]}, Code.INVALID_CONFIG, "vlanTrunk[0].minID: is missing"),
        ({"vlanTrunk": [{"minID": 9, "maxID": 5}]}, Code.INVALID_CONFIG, "vlanTrunk[0].minID: 9 is greater"),
        ({"vlanTrunk": 5}, Code.INVALID_CONFIG, "vlanTrunk"),
        ({"vlanTrunk": [{"minID": "1"}]}, Code.INVALID_CONFIG, "vlanTrunk[0].minID: Expected"),
        *((({key: "yes"}), Code.INVALID_CONFIG, key) for key in ("macspoofchk", "enabledad", "preserveDefaultVlan")),
        ({"disableContainerInterface": True}, Code.INVALID_CONFIG, "disableContainerInterface: cannot"),
        ({"ipMasqBackend": "pf"}, Code.INVALID_CONFIG, "ipMasqBackend: 'pf'"),
        ({"backend": "pf"}, Code.INVALID_CONFIG, "backend: 'pf'"),
        ({"markMasqBit": 32}, Code.INVALID_CONFIG, "markMasqBit: 32"),
        ({"markMasqBit": 1, "externalSetMarkChain": "X"}, Code.INVALID_CONFIG, "externalSetMarkChain"),
        ({"ipam": {"subnet": "10.1.0.0/24", "routes": [{"dst": "::/0", "mtu": -1}]}}, Code.INVALID_CONFIG, "[0].mtu"),
        (
            {"ipam": {"subnet": "10.1.0.0/24", "routes": [{"dst": "::/0", "scope": 7}]}},
            Code.INVALID_CONFIG,
            "[0].scope",
        ),
        (
            {"cniVersion": "0.2.0", "ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]]}},
            Code.INVALID_CONFIG,
            "one address of each family",
        ),
        ({"cniVersion": 1.0}, Code.DECODING, "cniVersion"),
        ({"cniVersion": "1.2.0"}, Code.INCOMPATIBLE_VERSION, "1.2.0"),
    ],
)
def test_a_configuration_that_cannot_be_used_names_its_field(change: dict[str, Any], code: Code, words: str) -> None:
    error = refused("ADD", make() | change)
    assert (error.code, words in error.message) == (code, True), error


REFERENCE = {
    "isGateway": True,
    "ipMasqBackend": "iptables",
    "enabledad": True,
    "macspoofchk": True,
    "portIsolation": True,
    "backend": "nftables",
    "markMasqBit": 13,
    "snat": True,
    "conditionsV4": [],
    "vlan": 0,
    "preserveDefaultVlan": True,
}


def test_keys_of_the_reference_plugins_are_taken() -> None:
    network = parse(request("ADD", make() | REFERENCE)).network
    assert (network.guarded, network.dad, network.isolated, bool(network.vlans)) == (True, True, True, False)


def test_a_key_that_is_null_is_one_that_is_not_given() -> None:
    nothing = dict.fromkeys([*REFERENCE, "vlanTrunk", "mtu", "dns", "runtimeConfig", "args", "prevResult"])
    given = parse(request("ADD", make() | nothing | {"ipam": make()["ipam"] | {"routes": None, "gateway": None}}))
    assert given.network.snat
    assert refused("ADD", make() | {"name": None}).message == "name: is missing"


def test_prev_result_survives_a_key_that_is_null() -> None:
    conf = make() | {"mtu": None, "prevResult": {"cniVersion": "1.0.0", "own": None}}
    assert parse(request("ADD", conf)).network.prev_result == b'{"cniVersion":"1.0.0","own":null}'


@pytest.mark.parametrize("stdin", [b"", b"[]", b"7", b'"x"', b"{", b"null", b'{"cniVersion": {}}'])
def test_what_is_no_object_cannot_be_decoded(stdin: bytes) -> None:
    assert refused("ADD", stdin).code == Code.DECODING


def test_what_add_refuses_does_not_stand_in_the_way_of_del() -> None:
    assert parse(request("DEL", make() | {"vlan": 5000, "vlanTrunk": [{"minID": 3}]})).network.vlans == vlan.Vlans()


def test_del_does_not_care_about_ranges() -> None:
    assert parse(request("DEL", make() | {"ipam": {"ranges": [[{"subnet": "nonsense"}]]}})).network.ranges == ()


@pytest.mark.parametrize("way", ["CNI_ARGS", "capability", "args"])
def test_requested_addresses_come_in_three_ways(way: str) -> None:
    """Each with a prefix or without, as host-local takes them."""
    runtime = {"ips": ["10.244.1.9/24"]} if way == "capability" else {}
    args = {"cni": {"ips": ["10.244.1.9"]}} if way == "args" else {}
    conf = make() | {"runtimeConfig": runtime, "args": args}
    asked = parse(request("ADD", conf, args="IP=10.244.1.9/24" if way == "CNI_ARGS" else ""))
    assert [str(ip) for ip in asked.network.wanted] == ["10.244.1.9"]


def test_requested_addresses_are_one_of_each_set() -> None:
    conf = make() | {"runtimeConfig": {"ips": ["10.244.1.9/24"]}, "args": {"cni": {"ips": ["10.244.1.10"]}}}
    assert "10.244.1.9 and 10.244.1.10" in refused("ADD", conf).message
    dual = make(ipam={"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]})
    wanted = parse(request("ADD", dual, args="IP=10.1.0.8,fd00::8")).network.wanted
    assert [str(ip) for ip in wanted] == ["10.1.0.8", "fd00::8"]


def test_default_gateway_adds_a_default_route_once_per_family() -> None:
    ranges = [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]
    network = parse(
        request("ADD", make(ipam={"ranges": ranges, "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.7"}]}))
    ).network
    assert [(str(r.dst), str(r.via)) for r in network.routes] == [("0.0.0.0/0", "10.1.0.7"), ("::/0", "fd00::1")]


def test_garbage_collection_takes_the_old_key_too() -> None:
    attachment = [{"containerID": "c1", "ifname": "eth0"}]
    for key in ("cni.dev/valid-attachments", "cni.dev/attachments"):
        assert parse(request("GC", make("1.1.0") | {key: attachment})).network.attachments == frozenset(
            {("c1", "eth0")}
        )
    assert parse(request("GC", make("1.1.0"))).network.attachments is None


def test_args() -> None:
    assert parse_args("IgnoreUnknown=1;X=2;K8S_POD_NAME=a=b") == {"IgnoreUnknown": "1", "X": "2", "K8S_POD_NAME": "a=b"}
    assert parse_args("") == {}
    call = parse(request("ADD", make(), args="K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web"))
    assert call.pod == "ns/web"
    for bad in ("X=1", "novalue", "=x"):
        with pytest.raises(CniError, match="CNI_ARGS"):
            parse_args(bad)


def test_errors_survive_bytes_that_are_no_text() -> None:
    text = errors.encode(CniError(Code.IO, "odd \udcff name", "try \ud800"), "1.0.0")
    assert json.loads(text) == {"cniVersion": "1.0.0", "code": 5, "msg": "odd \\udcff name", "details": "try \\ud800"}


def test_the_version_of_an_error_is_the_one_asked_for() -> None:
    assert config.version_of(b'{"cniVersion": "0.3.1", "name": 5}') == "0.3.1"
    for odd in (b"", b"[]", b'{"cniVersion": 7}', b'{"cniVersion": "7"}', b"\xff"):
        assert config.version_of(odd) == VERSIONS[-1]


def test_frames_go_there_and_back() -> None:
    asked = frames.Request("/opt/cni/bin/netplane", {"CNI_COMMAND": "ADD", "CNI_ARGS": "A=b\udcff"}, b'{"x": 1}')
    wire = frames.encode_request(asked)
    assert frames.decode_request(wire) == asked
    for cut in (0, 5, 12, len(wire) - 1):
        with pytest.raises(frames.FrameError):
            frames.decode_request(wire[:cut])
    reply = frames.encode_reply(1, b"{}")
    assert frames.decode_reply(reply) == (1, b"{}")
    with pytest.raises(frames.FrameError):
        frames.decode_reply(reply[:-1])


def test_a_runtimes_wishes_are_read_as_containerd_spells_them() -> None:
    given = {"HostPort": 8087, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}
    limits = {"IngressRate": 8000, "IngressBurst": 8000}
    wishes = {"portMappings": [given], "bandwidth": limits}
    found = parse(request("ADD", make(runtimeConfig=wishes))).network
    assert [(port.host_port, port.port) for port in found.ports] == [(8087, 80)]
    assert found.limits.ingress is not None

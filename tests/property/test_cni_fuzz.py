"""Whatever a runtime, or an attacker in its place, passes: an answer in JSON with a code, never an exception."""

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cni import errors, frames, results
from cni.config import version_of
from cni.engine import as_cni_error
from cni.errors import CniError, Code
from cni.frames import FrameError, Request
from cni.protocol import parse
from tests.cnitools import config, environment

TEXT = st.text(st.characters(exclude_categories=()), max_size=300)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
KEYS = (
    *("cniVersion", "name", "type", "bridge", "mtu", "ipam", "ipMasq", "dns", "args", "runtimeConfig", "prevResult"),
    *("ipMasqExceptions", "forceAddress", "ingressRate", "egressBurst", "snat", "conditionsV4", "vlan"),
)
IPAM_KEYS = ("type", "ranges", "subnet", "rangeStart", "rangeEnd", "gateway", "routes", "dataDir", "resolvConf")
CAPABILITIES = ("portMappings", "bandwidth", "ips", "mac", "ipRanges", "dns", "aliases")
PORT_KEYS = ("hostPort", "containerPort", "protocol", "hostIP")
TYPES = st.sampled_from(["netplane", "netplane-portmap", "netplane-bandwidth", "loopback"])
HOSTILE = st.sampled_from(
    ["../..", "a" * 200, "a\x00b", "a\nb", "a b", "-x", ".", "..", "é", "\ud800", "/etc/passwd", ""]
)
COMMANDS = st.sampled_from(["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "", "add"]) | HOSTILE
PORTS = st.lists(
    st.dictionaries(st.sampled_from(PORT_KEYS), JSON | st.integers(1, 9) | HOSTILE, max_size=4), max_size=2
)
RUNTIME = st.dictionaries(st.sampled_from(CAPABILITIES), JSON | HOSTILE | PORTS | st.lists(JSON), max_size=3)
CONFIGS = st.builds(
    lambda base, change, ipam, kind, runtime: (
        base | {"type": kind, "runtimeConfig": runtime} | change | ({"ipam": ipam} if ipam else {})
    ),
    st.just(config("1.1.0")) | st.just({}),
    st.dictionaries(st.sampled_from(KEYS), JSON | HOSTILE, max_size=3),
    st.dictionaries(st.sampled_from(IPAM_KEYS), JSON | st.just([[{"subnet": "10.0.0.0/8"}]]), max_size=3),
    TYPES,
    RUNTIME,
)
STDIN = (
    st.binary(max_size=200)
    | CONFIGS.map(lambda c: json.dumps(c).encode())
    | TEXT.map(lambda t: t.encode(errors="replace"))
)
ENVIRONMENT = st.builds(environment, COMMANDS, HOSTILE | TEXT, HOSTILE | TEXT, HOSTILE | TEXT, HOSTILE | TEXT)


def answer(request: Request) -> dict[str, Any] | None:
    """As the engine does it, without a kernel: None when the call was fine."""
    failure = None
    try:
        parse(request)
    except Exception as error:
        failure = as_cni_error(error)
    if failure is None:
        return None
    assert failure.code != Code.INTERNAL, failure
    found: dict[str, Any] = json.loads(errors.encode(failure, version_of(request.stdin)))
    return found


@settings(max_examples=400, deadline=None)
@given(ENVIRONMENT, STDIN)
@example(environment("ADD", "c", "/x"), b'{"name":"n","ipam":{"ranges":[[{"subnet":"::/0","rangeEnd":"ffff::"}]]}}')
@example(environment("ADD", "c", "/x"), b'{"name":"n","ipam":{"subnet":5}}')
@example(environment("ADD", "c", "/x"), b'{"name":"n","runtimeConfig":{"ips":{"a":1}},"ipam":{"subnet":"10.0.0.0/8"}}')
@example(environment("ADD", "c", "/x"), b'{"name":"n","runtimeConfig":{"ips":5},"ipam":{"subnet":"10.0.0.0/8"}}')
@example(environment("ADD", "c", "/x"), b'{"name":"n","args":{"cni":{"ips":[null]}},"ipam":{"subnet":"10.0.0.0/8"}}')
def test_every_call_is_answered(variables: dict[str, str], stdin: bytes) -> None:
    body = answer(Request("x", variables, stdin))
    if body is not None:
        assert body["code"] in set(Code)
        assert body["msg"]
        assert body["cniVersion"] in results.VERSIONS
        assert "\n" not in body["msg"] or "CNI_" in body["msg"]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100) | JSON.map(lambda j: json.dumps(j).encode()))
@example(b'{"ips": [{"address": "10.0.0.1/24", "interface": "x"}]}')
@example(b'{"interfaces": [null]}')
@example(b'{"dns": 5}')
@example(b'{"ip4": [1]}')
def test_any_prev_result_is_read_or_refused(raw: bytes) -> None:
    refused = None
    try:
        results.decode(raw)
    except CniError as error:
        refused = error.code
    assert refused in (None, Code.INVALID_CONFIG)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=40).map(lambda b: b"NPC1" + b))
def test_any_frame_is_read_or_refused(data: bytes) -> None:
    try:
        request = frames.decode_request(data)
    except FrameError:
        return
    assert frames.decode_request(frames.encode_request(request)).stdin == request.stdin

"""Protobuf: what Go clients write is read, what is read can be written."""

import base64
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from netplane.api import kinds, protobuf
from netplane.api.errors import StatusError
from netplane.api.protobuf import encode

SERVICE = {
    "kind": "Service",
    "apiVersion": "v1",
    "metadata": {"name": "a", "namespace": "b", "resourceVersion": "5", "labels": {"x": "ü\n"}},
    "spec": {"ports": [{"port": 80}]},
}


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: bytes | int | str) -> bytes:
    """One field of a message: a number, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value & (1 << 64) - 1)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def envelope(api_version: str, kind: str, content: bytes) -> bytes:
    return protobuf.MAGIC + field(1, field(1, api_version) + field(2, kind)) + field(2, content)


def test_a_service_as_go_writes_it() -> None:
    port = (
        field(1, "http")
        + field(2, "TCP")
        + field(3, 80)
        + field(4, field(1, 1) + field(2, 0) + field(3, "web"))
        + field(5, 0)
    )
    spec = (
        field(1, port)
        + field(2, field(1, "app") + field(2, "web"))
        + field(3, "")
        + field(4, "ClusterIP")
        + field(13, 0)
    )
    meta = field(1, "a") + field(2, "") + field(3, "b") + field(7, 0) + field(8, b"")
    assert protobuf.decode(envelope("v1", "Service", field(1, meta) + field(2, spec) + field(3, field(1, b"")))) == {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "a", "namespace": "b"},
        "spec": {
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web"}],
            "selector": {"app": "web"},
            "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    }


def test_pointers_tell_false_from_not_said() -> None:
    conditions = field(1, 0) + field(2, 1)
    content = field(1, field(1, "s")) + field(2, field(1, "10.0.0.1") + field(2, conditions)) + field(4, "IPv4")
    found = protobuf.decode(envelope("discovery.k8s.io/v1", "EndpointSlice", content))
    assert found["endpoints"] == [{"addresses": ["10.0.0.1"], "conditions": {"ready": False, "serving": True}}]


def test_special_types() -> None:
    moment = field(1, 1767225600) + field(2, 123456000)
    lease = field(1, field(1, "l") + field(8, field(1, 1767225600))) + field(
        2, field(1, "me") + field(2, 15) + field(4, moment)
    )
    found = protobuf.decode(envelope("coordination.k8s.io/v1", "Lease", lease))
    assert found["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"
    assert found["spec"] == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "renewTime": "2026-01-01T00:00:00.123456Z",
    }
    start = field(2, field(4, field(1, -62135596798)))
    found = protobuf.decode(envelope("coordination.k8s.io/v1", "Lease", start))
    assert found["spec"]["renewTime"] == "0001-01-01T00:00:02.000000Z"
    config = field(1, field(1, "c")) + field(3, field(1, "key") + field(2, b"\x00\xff"))
    found = protobuf.decode(envelope("v1", "ConfigMap", config))
    assert base64.b64decode(found["binaryData"]["key"]) == b"\x00\xff"
    probe = field(1, field(2, field(2, field(2, 8080)))) + field(2, 5)  # ProbeHandler is inlined
    pod = field(
        2, field(2, field(1, "c") + field(10, probe) + field(8, field(1, field(1, "cpu") + field(2, field(1, "1")))))
    )
    container = protobuf.decode(envelope("v1", "Pod", pod))["spec"]["containers"][0]
    assert container["livenessProbe"] == {"httpGet": {"port": 8080}, "initialDelaySeconds": 5}
    assert container["resources"] == {"limits": {"cpu": "1"}}


def test_negative_numbers_and_unknown_fields() -> None:
    content = field(1, field(1, "n") + field(500, "from the future")) + field(2, field(2, -5))
    found = protobuf.decode(envelope("coordination.k8s.io/v1", "Lease", content))
    assert found["spec"] == {"leaseDurationSeconds": -5}
    assert found["metadata"] == {"name": "n"}


def test_options_are_the_same_in_every_group() -> None:
    options = field(1, 5) + field(2, field(1, "uid-1"))
    found = protobuf.decode(envelope("policy/v1", "DeleteOptions", options))
    assert found["gracePeriodSeconds"] == 5
    assert found["preconditions"] == {"uid": "uid-1"}


@given(st.binary(max_size=60))
def test_garbage_is_the_clients_fault(garbage: bytes) -> None:
    for body in (garbage, protobuf.MAGIC + garbage, envelope("v1", "Service", garbage)):
        try:
            code = 200 if isinstance(protobuf.decode(body), dict) else 500
        except StatusError as error:
            code = error.code
        assert code in (200, 400)


# Written --------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_back() -> None:
    """Through every form a field has: maps, lists, times, numbers or strings, quantities, bytes, inlined structs."""
    objects: list[dict[str, Any]] = [
        {**SERVICE, "spec": {"ports": [{"port": 80, "targetPort": "web"}, {"port": 81, "targetPort": 8080}]}},
        {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "data": {"a": "Yg==", "z": ""}},
        {
            "kind": "Lease",
            "apiVersion": "coordination.k8s.io/v1",
            "metadata": {"name": "l", "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": {"renewTime": "2026-01-02T03:04:05.000006Z", "leaseDurationSeconds": 40},
        },
        {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": "p", "labels": {"b": "1", "a": "2"}},
            "spec": {
                "containers": [{"name": "c", "resources": {"limits": {"cpu": "500m"}}}],
                "automountServiceAccountToken": False,
            },
        },
        {
            "kind": "ServiceCIDR",
            "apiVersion": "networking.k8s.io/v1",
            "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": ["10.96.0.0/16"]},
        },
        {
            "kind": "ServiceList",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": "7", "remainingItemCount": 3},
            "items": [{"metadata": {"name": "a"}, "spec": {"clusterIP": "None"}}],
        },
    ]
    for obj in objects:
        back = protobuf.decode(encode.encode(obj))
        for key in ("data", "kind", "apiVersion"):
            assert back.get(key) == obj.get(key)
        assert _within(obj, back), (obj, back)


def _within(part: Any, whole: Any) -> bool:
    """Whether everything in `part` is in `whole`; an empty value may be left out."""
    if isinstance(part, dict):
        return all(key in whole and _within(value, whole[key]) for key, value in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(_within(one, other) for one, other in zip(part, whole, strict=True))
    return bool(part == whole)


def test_a_watch_is_a_row_of_frames() -> None:
    event = {"type": "ADDED", "object": {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}}}
    raw = encode.frame(event)
    assert int.from_bytes(raw[:4], "big") == len(raw) - 4
    inner = raw[raw.index(protobuf.MAGIC) :]
    assert protobuf.decode(inner)["metadata"]["name"] == "c"


def test_a_status_is_written_too() -> None:
    status = StatusError(404, "NotFound", "gone", {"name": "x", "kind": "pods"}).status()
    back = protobuf.decode(encode.encode(status))
    assert (back["code"], back["reason"], back["details"]["name"]) == (404, "NotFound", "x")


def test_every_served_kind_and_its_list_can_be_written() -> None:
    for kind in kinds.KINDS:
        found = protobuf.message_of(kind.api_version, kind.kind)
        assert protobuf.fields_of(found)
        if "list" in kind.verbs:
            assert "items" in {field.name for field in protobuf.fields_of(f"{found}List").values()}

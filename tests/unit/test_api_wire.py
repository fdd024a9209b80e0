"""Objects between store, wire and typed decoders: bytes spliced, types checked."""

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplane.api import codec, kinds, times, typecheck
from netplane.api.errors import StatusError

SERVICE = {
    "kind": "Service",
    "apiVersion": "v1",
    "metadata": {"name": "a", "namespace": "b", "resourceVersion": "5", "labels": {"x": "ü\n"}},
    "spec": {"ports": [{"port": 80}]},
}


def test_stored_bytes_carry_neither_kind_nor_revision() -> None:
    stored = codec.encode(SERVICE)
    assert stored.startswith(b'{"metadata":{"')
    assert "resourceVersion" not in json.loads(stored)["metadata"]
    assert SERVICE["metadata"]["resourceVersion"] == "5", "the object itself is left alone"  # type: ignore[index]


@given(rev=st.integers(1, 2**62), data=st.dictionaries(st.text(), st.text(), max_size=3))
def test_spliced_bytes_say_what_the_decoded_object_says(rev: int, data: dict[str, str]) -> None:
    obj: dict[str, Any] = {**SERVICE, "data": data}
    stored = codec.encode(obj)
    decoded = codec.decode(kinds.SERVICE, stored, rev)
    assert json.loads(codec.object_bytes(kinds.SERVICE, stored, rev)) == decoded
    alone = {key: value for key, value in decoded.items() if key not in ("kind", "apiVersion")}
    assert json.loads(codec.item_bytes(stored, rev)) == alone
    listed = json.loads(codec.list_bytes(kinds.SERVICE, [codec.item_bytes(stored, rev)], rev, "t", 3))
    assert listed["items"] == [alone]
    assert listed["metadata"] == {"resourceVersion": str(rev), "continue": "t", "remainingItemCount": 3}
    event = json.loads(codec.event_bytes("ADDED", codec.object_bytes(kinds.SERVICE, stored, rev)))
    assert event == {"type": "ADDED", "object": decoded}
    assert codec.encode(decoded) == stored


# Types ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("x", "json: cannot unmarshal string into Go struct field Service.spec of type v1.ServiceSpec"),
        (
            {"ports": {}},
            "json: cannot unmarshal object into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort",
        ),
        (
            {"ports": [{"port": "80"}]},
            "json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        ({"ports": [{"port": 1.5}]}, "json: cannot unmarshal number 1.5 into Go struct field"),
        ({"publishNotReadyAddresses": "yes"}, "of type bool"),
        (
            {"selector": {"a": 1}},
            "json: cannot unmarshal number into Go struct field ServiceSpec.spec.selector of type string",
        ),
        (
            {"clusterIP": True},
            "json: cannot unmarshal bool into Go struct field ServiceSpec.spec.clusterIP of type string",
        ),
        (
            {"ports": [{"port": 1, "targetPort": []}]},
            "cannot unmarshal array into Go struct field ServicePort.spec.ports.targetPort of type int32",
        ),
        ({"type": 5}, "cannot unmarshal number into Go struct field ServiceSpec.spec.type of type v1.ServiceType"),
        (
            {"ports": [{"port": 2**31}]},
            "json: cannot unmarshal number 2147483648 into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        ({"healthCheckNodePort": -(2**31) - 1}, "number -2147483649 into"),
    ],
)
def test_wrong_types_are_refused_in_words_users_know(spec: Any, message: str) -> None:
    with pytest.raises(typecheck.WrongType) as caught:
        typecheck.clean(kinds.SERVICE, {"metadata": {"name": "a"}, "spec": spec})
    assert message in str(caught.value)


def test_unknown_fields_are_dropped_and_named_in_order() -> None:
    obj: dict[str, Any] = {
        "metadata": {"name": "a", "colour": 1},
        "spec": {"bogus": 1, "ports": [{"port": 80, "x": 2}, {"port": 81}]},
        "extra": {},
    }
    assert typecheck.clean(kinds.SERVICE, obj) == ["metadata.colour", "spec.bogus", "spec.ports[0].x", "extra"]
    assert obj == {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}, {"port": 81}]}}
    assert typecheck.clean(kinds.SERVICE, obj) == []


def test_empty_optional_lists_and_nulls_are_as_a_typed_decoder_sees_them() -> None:
    obj: dict[str, Any] = {"metadata": {"name": "a", "labels": {}, "finalizers": []}, "spec": {"ports": [None]}}
    assert typecheck.clean(kinds.SERVICE, obj) == []
    assert obj == {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 0}]}}


def test_what_go_always_writes_is_put_in_where_it_is_missing() -> None:
    status = {"conditions": [{"type": "Ready"}], "containerStatuses": [{"name": "c", "state": {"running": {}}}]}
    pod = {"metadata": {"name": "a"}, "spec": {}, "status": status}
    said = copy.deepcopy(pod)
    assert typecheck.clean(kinds.POD, said, whole=False) == []
    assert said == pod
    assert typecheck.clean(kinds.POD, pod) == []
    never: dict[str, Any] = {"lastProbeTime": None, "lastTransitionTime": None}
    assert status["conditions"] == [{"type": "Ready", "status": "", **never}]
    told = {"name": "c", "ready": False, "restartCount": 0, "image": "", "imageID": ""}
    assert status["containerStatuses"] == [{**told, "state": {"running": {"startedAt": None}}}]


def test_wrong_types_are_named_as_go_names_what_it_inlines() -> None:
    pod = {"metadata": {"name": "a"}, "spec": {"volumes": [{"name": "v", "secret": {"items": [{"mode": "x"}]}}]}}
    with pytest.raises(typecheck.WrongType) as failure:
        typecheck.clean(kinds.POD, pod)
    where = "KeyToPath.spec.volumes.VolumeSource.secret.items.mode"
    assert str(failure.value) == f"json: cannot unmarshal string into Go struct field {where} of type int32"
    odd = {"metadata": {"name": "a"}, "spec": {"volumes": [{"name": "v", "secret": {"odd": 1}}]}}
    assert typecheck.clean(kinds.POD, odd) == ["spec.volumes[0].secret.odd"]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (None, ""), ("", ""), ("eA==", "eA=="), ("e\nA==", "eA=="), ("eB==", "eA=="), ("x", 0), ("!!!", 0), ("eA=", 3),
        ("eA===", 4), ("eA==x", 4), ("eA=x", 2), ("e===", 1), ("eAA==", 4), ("aaaa!", 4), ("a\nb", 1),
    ],
)  # fmt: skip
def test_base64_has_one_form_and_goes_wrong_where_go_says(given: str | None, stored: str | int) -> None:
    obj: dict[str, Any] = {"metadata": {"name": "a"}, "data": {"k": given}}
    if isinstance(stored, int):
        with pytest.raises(typecheck.WrongType, match=f"^illegal base64 data at input byte {stored}$"):
            typecheck.clean(kinds.SECRET, obj)
    else:
        assert typecheck.clean(kinds.SECRET, obj) == []
        assert obj["data"] == {"k": stored}


SECONDS, MICRO = "2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05.000000Z07:00"


@pytest.mark.parametrize(
    ("given", "seconds", "micro"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", 'as "{}": cannot parse "Z" as ".000000"'),
        ("2026-01-01T00:00:00.123456Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123456Z"),
        ("2026-01-01T01:30:00.5000009+01:30", "2026-01-01T00:00:00Z", 'cannot parse "9+01:30" as "Z07:00"'),
        ("2024-02-29T23:59:59.000001-00:30", "2024-03-01T00:29:59Z", "2024-03-01T00:29:59.000001Z"),
        ("", 'as "{}": cannot parse "" as "2006"', 'as "{}": cannot parse "" as "2006"'),
        ("2026-01-01 00:00:00Z", 'cannot parse " 00:00:00Z" as "T"', 'cannot parse " 00:00:00Z" as "T"'),
        ("2026-13-01T00:00:00Z", ": month out of range", ": month out of range"),
        ("2026-02-30T24:00:00Z", ": hour out of range", ": hour out of range"),
        ("2026-02-29T00:00:00.000000Z", ": day out of range", ": day out of range"),
        ("2026-01-01T00:00:00.000000Zx", ': extra text: "x"', ': extra text: "x"'),
        ("2026-01-02T00:00:00.000000+24:00", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000Z"),
        ("2026-01-01T00:00:00.000000+25:00", *[": time zone offset hour out of range"] * 2),
        ("2026-01-01T00:00:00.000000-99:61", *[": time zone offset minute out of range"] * 2),
        ("0001-01-01T00:00:00.000000+01:00", ": year out of range", ": year out of range"),
        ("9999-12-31T23:59:59.000000-01:00", ": year out of range", ": year out of range"),
    ],
)
def test_times_are_read_and_written_as_go_does(given: str, seconds: str, micro: str) -> None:
    for part, field, stored in (("metadata", "deletionTimestamp", seconds), ("spec", "renewTime", micro)):
        obj: dict[str, Any] = {"metadata": {"name": "a"}, "spec": {}}
        obj[part][field] = given
        if stored[:1].isdigit():
            assert typecheck.clean(kinds.LEASE, obj) == []
            assert obj[part][field] == stored
        else:
            with pytest.raises(typecheck.WrongType) as caught:
                typecheck.clean(kinds.LEASE, obj)
            assert str(caught.value).startswith(f'parsing time "{given}"')
            assert str(caught.value).endswith(stored.format(SECONDS if part == "metadata" else MICRO))


def test_what_cannot_be_written_is_the_clients_fault() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = {"a": deep}
    for data, why in ((deep, "Recursion limit reached"), (2**70, "Integer exceeds 64-bit range")):
        with pytest.raises(StatusError, match=f"^the object cannot be stored: {why}$") as failure:
            codec.encode({"metadata": {"name": "r"}, "data": data})
        assert failure.value.code == 400


def test_a_time_is_ascii() -> None:
    with pytest.raises(ValueError, match=re.escape(r'cannot parse ".\xd9\xa3Z" as "Z07:00"')):
        times.canonical("2026-01-01T00:00:00.\u0663Z")
    for time in ("2026-01-01T00:00:0\u0663.000000Z", "2026-01-01T00:00:00." + "\u0663" * 6 + "Z"):
        with pytest.raises(typecheck.WrongType, match="cannot parse"):
            typecheck.clean(kinds.LEASE, {"metadata": {"name": "a"}, "spec": {"renewTime": time}})


def test_zeros_of_fields_that_are_no_pointers_are_as_good_as_absent() -> None:
    spec = {"type": "", "healthCheckNodePort": 0, "publishNotReadyAddresses": False, "loadBalancerClass": ""}
    obj: dict[str, Any] = {"metadata": {"name": "a", "generation": 0}, "spec": {**spec, "ports": [{"port": 0}]}}
    assert typecheck.clean(kinds.SERVICE, obj) == []
    assert obj == {"metadata": {"name": "a"}, "spec": {"loadBalancerClass": "", "ports": [{"port": 0}]}}
    assert typecheck.clean(kinds.SERVICE, obj) == []


def test_times_quantities_and_numbers_or_strings() -> None:
    good: dict[str, Any] = {
        "metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
                    "livenessProbe": {"httpGet": {"port": "http"}},
                }
            ]
        },
    }
    assert typecheck.clean(kinds.POD, good) == []
    good["metadata"]["deletionTimestamp"] = "yesterday"
    with pytest.raises(typecheck.WrongType, match='parsing time "yesterday"'):
        typecheck.clean(kinds.POD, good)

"""What a filter sees in an object's bytes is what it would find in the object."""

from typing import Any

import orjson
import pytest

from netplane.api import kinds
from netplane.api.kinds import Kind
from netplane.apiserver.verbs import filtering
from netplane.apiserver.wire.options import list_options
from netplane.store.protocol import KV

POD: dict[str, Any] = {
    "metadata": {"name": "a", "namespace": "default", "labels": {"app": "web", "tier": "7"}},
    "spec": {"nodeName": "n1", "hostNetwork": True, "schedulerName": "1"},
    "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
}
OTHER: dict[str, Any] = {
    "metadata": {"name": "n1", "namespace": "default"},
    "spec": {"nodeName": "a", "schedulerName": "n1"},
    "status": {"phase": "Pending"},
}
EVENT: dict[str, Any] = {
    "metadata": {"name": "e"},
    "involvedObject": {"kind": "Pod", "name": "a", "resourceVersion": "5"},
    "reportingComponent": "kubelet",
    "type": "Warning",
}
SELECTORS = [
    (kinds.POD, "fieldSelector", "spec.nodeName=n1", [True, False]),
    (kinds.POD, "fieldSelector", "spec.nodeName=n1,status.phase=Pending", [False, False]),
    (kinds.POD, "fieldSelector", "spec.nodeName!=n1", [False, True]),
    (kinds.POD, "fieldSelector", "spec.nodeName=", [False, False]),
    (kinds.POD, "fieldSelector", "spec.hostNetwork=true", [True, False]),
    (kinds.POD, "fieldSelector", "status.podIPs=10.0.0.1", [False, False]),
    (kinds.POD, "fieldSelector", "spec.schedulerName=1", [True, False]),
    (kinds.POD, "labelSelector", "app=web,tier in (7)", [True, False]),
    (kinds.POD, "labelSelector", "app!=web", [False, True]),
    (kinds.EVENT, "fieldSelector", "involvedObject.name=a,involvedObject.resourceVersion=5", [True]),
    (kinds.EVENT, "fieldSelector", "source=kubelet", [True]),
    (kinds.NEW_EVENT, "fieldSelector", "reportingController=kubelet,regarding.kind=Pod", [True]),
    (kinds.NEW_EVENT, "fieldSelector", "regarding.kind=Node", [False]),
]


@pytest.mark.parametrize(("kind", "how", "selector", "wanted"), SELECTORS, ids=lambda one: str(one)[:60])
def test_filters(kind: Kind, how: str, selector: str, wanted: list[bool]) -> None:
    found = filtering.of(kind, list_options({how: selector}, watch=False))
    kvs = [KV(str(i), orjson.dumps(obj), 1, 1) for i, obj in enumerate([POD, OTHER] if kind is kinds.POD else [EVENT])]
    assert [found.wants(kv.value) for kv in kvs] == wanted
    assert [found.matches(orjson.loads(kv.value)) for kv in kvs] == wanted
    assert [kv for kv in found.perhaps(kvs) if found.wants(kv.value)] == [
        kv for kv, one in zip(kvs, wanted, strict=True) if one
    ]


def test_what_cannot_be_wanted_is_not_looked_at() -> None:
    found = filtering.of(kinds.POD, list_options({"fieldSelector": "spec.nodeName=n2"}, watch=False))
    assert found.perhaps([KV("a", orjson.dumps(POD), 1, 1)]) == []
    assert found.glance(orjson.dumps(POD)) is False

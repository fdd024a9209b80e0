"""What is accepted at a glance is what a walk finds nothing to say about."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from netplane.api import accept, kinds, shapes, typecheck
from netplane.api.kinds import Kind

META = {"name": "a", "labels": {"app": "a"}, "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1}
SERVICE = {
    "kind": "Service",
    "apiVersion": "v1",
    "metadata": META,
    "spec": {
        "ports": [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 8081}],
        "clusterIPs": ["10.0.0.1"],
    },
    "status": {"loadBalancer": {}},
}
SLICE = {
    "kind": "EndpointSlice",
    "apiVersion": "discovery.k8s.io/v1",
    "metadata": META,
    "addressType": "IPv4",
    "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
    "ports": [{"name": "", "port": 80}],
}
POD = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {**META, "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}]},
    "spec": {
        "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}],
        "nodeSelector": {"a": "b"},
    },
}
SAMPLES: list[tuple[Kind, dict[str, Any]]] = [
    (kinds.SERVICE, SERVICE),
    (next(kind for kind in kinds.KINDS if kind.kind == "EndpointSlice"), SLICE),
    (kinds.POD, POD),
]
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", "x", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z\n", 0, 7, 1.0, 1.5, 1 << 70, True, [], {}, [None],
     [[]], [{}], ["a"], [1], {"x": "y"}, {"x": None}, {"x": {}}]
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below a value."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, one in list(below) for place in ((value, key), *places(one))]


@given(st.data(), st.sampled_from(SAMPLES), st.integers(0, 2))
def test_what_is_plainly_right_needs_no_walk(
    data: st.DataObject, sample: tuple[Kind, dict[str, Any]], odd: int
) -> None:
    kind, obj = sample[0], copy.deepcopy(sample[1])
    shape = shapes.of_kind(kind)
    assert accept.plainly(shape, obj)
    for _ in range(odd):
        found = places(obj)
        container, key = found[data.draw(st.integers(0, len(found) - 1))]
        if isinstance(container, dict) and data.draw(st.booleans()):
            key = data.draw(st.sampled_from([key, "unknown", "annotations", "finalizers", "protocol"]))
        container[key] = copy.deepcopy(data.draw(ODD))
    accepted, before = accept.plainly(shape, obj), copy.deepcopy(obj)
    parts = [accept.part(shape, name, value) for name, value in obj.items()]
    assert all(parts) or not accepted
    try:
        unknown = typecheck.walk(shape, obj)
    except typecheck.WrongType:
        assert not all(parts)
        return
    if all(parts):
        assert (unknown, obj) == ([], before)


def test_a_definition_that_refers_to_itself_is_walked() -> None:
    shape = shapes.Shape("object", "v1.Endless")
    shape.members["again"] = shape
    assert not accept.plainly(shape, {})
    assert typecheck.clean_as(shape, {"again": {"again": {}, "other": 1}}) == ["again.other"]

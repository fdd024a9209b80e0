"""The three patch types, case by case."""

from typing import Any

import pytest

from netplane.api import kinds, patch, schema
from netplane.api.errors import StatusError

Json = dict[str, Any]
POD = schema.for_kind(kinds.POD)
SERVICE = schema.for_kind(kinds.SERVICE)


@pytest.mark.parametrize(
    ("doc", "change", "out"),
    [  # the table of RFC 7386, appendix A, where the target is an object
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(doc: Json, change: Json, out: Json) -> None:
    assert patch.merge(doc, change) == out


def test_json_patch() -> None:
    doc = {"a": [1, 2], "b": {"c/d": 1}}
    ops = [
        {"op": "add", "path": "/a/-", "value": 3},
        {"op": "replace", "path": "/b/c~1d", "value": 2},
        {"op": "test", "path": "/a/0", "value": 1},
        {"op": "move", "from": "/b", "path": "/e"},
        {"op": "remove", "path": "/a/0"},
    ]
    assert patch.json_patch(doc, ops) == {"a": [2, 3], "e": {"c/d": 2}}
    assert doc == {"a": [1, 2], "b": {"c/d": 1}}


@pytest.mark.parametrize(
    ("ops", "code"),
    [
        ({"a": 1}, 400),
        ([1], 400),
        ([{"op": "zap", "path": "/a"}], 422),
        ([{"op": "add", "path": "/a/b", "value": 1}], 422),
        ([{"op": "add", "path": "", "value": {}}], 422),
        ([{"op": "remove", "path": ""}], 422),
        ([{"op": "test", "path": "/a", "value": True}], 422),
        ([{"op": "test", "path": "/a"}], 422),
        ([{"op": "add", "path": "/l/-2", "value": 2}], 422),
        ([{"op": "remove", "path": "/l/-"}], 422),
        ([{"op": "replace", "path": "/l/-", "value": 1}], 422),
        ([{"op": "move", "from": "/o", "path": "/o/p/q"}], 422),
        ([{"op": "move", "from": "/zz", "path": "/a"}], 422),
        ([{"op": "copy", "path": "/a"}], 422),
        ([{"path": "/a"}], 422),
        ([{"op": "remove", "path": "/zz"}], 422),
        ([{"op": "replace", "path": "/zz/y", "value": 1}], 422),
        ([{"op": "test", "path": "/a", "value": 2}], 422),
        ([{"op": "add", "path": "/l/9", "value": 2}], 422),
        ([{"op": "replace", "path": "", "value": 3}], 422),
        ([{"op": "remove", "path": "/a"}] * (patch.MAX_OPERATIONS + 1), 413),
    ],
)
def test_json_patch_refusals(ops: Any, code: int) -> None:
    with pytest.raises(StatusError) as failure:
        patch.json_patch({"a": 1, "l": [], "o": {"p": {}}}, ops)
    assert failure.value.code == code


@pytest.mark.parametrize(
    ("op", "out"),
    [
        ({"op": "add", "path": "/l/-", "value": 3}, {"l": [1, 2, 3]}),
        ({"op": "add", "path": "/l/2", "value": 3}, {"l": [1, 2, 3]}),
        ({"op": "add", "path": "/l/-1", "value": 3}, {"l": [1, 2, 3]}),
        ({"op": "add", "path": "/l/00", "value": 3}, {"l": [3, 1, 2]}),
        ({"op": "remove", "path": "/l/-1"}, {"l": [1]}),
        ({"op": "add", "path": "/m"}, {"l": [1, 2], "m": None}),
        ({"op": "copy", "from": "/m", "path": "/n"}, {"l": [1, 2], "n": None}),
        ({"op": "test", "path": "/m"}, {"l": [1, 2]}),
        ({"op": "test", "path": "", "value": {"l": [1, 2]}}, {"l": [1, 2]}),
        ({"op": "replace", "path": "", "value": {"a": 1}}, {"a": 1}),
        ({"op": "move", "from": "/l/0", "path": "/l/1"}, {"l": [2, 1]}),
        ({"op": "move", "from": "/l", "path": "/l"}, {"l": [1, 2]}),
        ({"op": "add", "path": "/~01", "value": 1}, {"l": [1, 2], "~1": 1}),
    ],
)
def test_json_patch_is_as_lax_as_the_real_server(op: Json, out: Json) -> None:
    assert patch.json_patch({"l": [1, 2]}, [op]) == out


def test_patches_must_be_objects() -> None:
    for apply in (lambda: patch.merge({}, [1]), lambda: patch.strategic({}, [1], POD)):
        with pytest.raises(StatusError) as failure:
            apply()
        assert failure.value.code == 400


def containers(*names: str) -> Json:
    return {"spec": {"containers": [{"name": name, "image": f"{name}:1"} for name in names]}}


STRATEGIC: list[tuple[str, Json, Json, Json]] = [
    (
        "containers merge by name, the patch's first",
        containers("a", "b"),
        {"spec": {"containers": [{"name": "b", "image": "b:2"}, {"name": "c", "image": "c:1"}]}},
        {
            "spec": {
                "containers": [
                    {"name": "a", "image": "a:1"},
                    {"name": "b", "image": "b:2"},
                    {"name": "c", "image": "c:1"},
                ]
            }
        },
    ),
    (
        "a new element without an order goes first",
        containers("a"),
        {"spec": {"containers": [{"name": "z", "image": "z:1"}]}},
        containers("z", "a"),
    ),
    (
        "$patch: delete drops an element",
        containers("a", "b"),
        {"spec": {"containers": [{"name": "a", "$patch": "delete"}]}},
        containers("b"),
    ),
    (
        "a directive about what is not there leaves nothing",
        {"spec": {}},
        {"spec": {"nodeSelector": {"$patch": "replace", "a": "b"}, "tolerations": [{"$patch": "delete", "key": "x"}]}},
        {"spec": {"tolerations": []}},
    ),
    (
        "$patch: replace in a list takes the patch's list",
        containers("a", "b"),
        {"spec": {"containers": [{"name": "c", "image": "c:1"}, {"$patch": "replace"}]}},
        containers("c"),
    ),
    (
        "$setElementOrder orders what is named; x stood before b and stays so",
        containers("a", "x", "b"),
        {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}},
        containers("x", "b", "a"),
    ),
    (
        "$setElementOrder with a new element",
        containers("a", "b"),
        {
            "spec": {
                "$setElementOrder/containers": [{"name": "a"}, {"name": "n"}, {"name": "b"}],
                "containers": [{"name": "n", "image": "n:1"}],
            }
        },
        containers("a", "n", "b"),
    ),
    (
        "$patch: replace in an object",
        {"metadata": {"labels": {"a": "1", "b": "2"}}},
        {"metadata": {"labels": {"$patch": "replace", "c": "3"}}},
        {"metadata": {"labels": {"c": "3"}}},
    ),
    (
        "$patch: delete of an object",
        {"metadata": {"labels": {"a": "1"}, "name": "p"}},
        {"metadata": {"labels": {"$patch": "delete"}}},
        {"metadata": {"name": "p"}},
    ),
    (
        "finalizers are a set",
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"finalizers": ["b", "c"], "$deleteFromPrimitiveList/finalizers": ["a"]}},
        {"metadata": {"finalizers": ["b", "c"]}},
    ),
    (
        "$setElementOrder of a set",
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"$setElementOrder/finalizers": ["b", "a"]}},
        {"metadata": {"finalizers": ["b", "a"]}},
    ),
    (
        "$retainKeys changes the member of a union",
        {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}},
        {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}, "$retainKeys": ["name", "hostPath"]}]}},
        {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}},
    ),
    (
        "tolerations are atomic",
        {"spec": {"tolerations": [{"key": "a"}]}},
        {"spec": {"tolerations": [{"key": "b"}]}},
        {"spec": {"tolerations": [{"key": "b"}]}},
    ),
    (
        "null deletes a field and a whole list",
        {"spec": {"nodeName": "n", "containers": [{"name": "a"}]}},
        {"spec": {"nodeName": None, "containers": None}},
        {"spec": {}},
    ),
    (
        "owner references merge by uid, conditions by type",
        {
            "metadata": {"ownerReferences": [{"uid": "1", "name": "x"}]},
            "status": {"conditions": [{"type": "R", "status": "0"}]},
        },
        {
            "metadata": {"ownerReferences": [{"uid": "1", "name": "y"}]},
            "status": {"conditions": [{"type": "R", "status": "1"}]},
        },
        {
            "metadata": {"ownerReferences": [{"uid": "1", "name": "y"}]},
            "status": {"conditions": [{"type": "R", "status": "1"}]},
        },
    ),
    (
        "nested merge keys: env by name inside a container",
        {"spec": {"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]}]}},
        {
            "spec": {
                "containers": [{"name": "a", "env": [{"name": "Y", "value": "3"}, {"name": "X", "$patch": "delete"}]}]
            }
        },
        {"spec": {"containers": [{"name": "a", "env": [{"name": "Y", "value": "3"}]}]}},
    ),
    (
        "a null inside a new element is dropped",
        {"spec": {}},
        {"spec": {"containers": [{"name": "a", "image": None}]}},
        {"spec": {"containers": [{"name": "a"}]}},
    ),
]


@pytest.mark.parametrize(("doc", "change", "out"), [row[1:] for row in STRATEGIC], ids=[row[0] for row in STRATEGIC])
def test_strategic_merge(doc: Json, change: Json, out: Json) -> None:
    before = repr(doc)
    assert patch.strategic(doc, change, POD) == out
    assert repr(doc) == before


def test_service_ports_merge_by_port() -> None:
    doc = {"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "https"}]}}
    out = patch.strategic(doc, {"spec": {"ports": [{"port": 443, "nodePort": 30443}]}}, SERVICE)
    assert out["spec"]["ports"] == [{"port": 80, "name": "http"}, {"port": 443, "name": "https", "nodePort": 30443}]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"spec": {"containers": [{"image": "x"}]}}, 500, "does not contain declared merge key: name"),
        ({"spec": {"$patch": "zap"}}, 500, "unknown patch type: zap in map: map[$patch:zap]"),
        ({"spec": {"$retainKeys": ["a"], "nodeName": "b"}}, 400, "invalid patch format of retainKeys"),
        (
            {"spec": {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "c"}]}},
            500,
            "doesn't match $setElementOrder list",
        ),
    ],
)
def test_strategic_refusals(change: Json, code: int, message: str) -> None:
    with pytest.raises(StatusError) as failure:
        patch.strategic(containers("a"), change, POD)
    assert failure.value.code == code
    assert message in failure.value.message


def test_a_list_of_words_gets_no_objects() -> None:
    with pytest.raises(StatusError) as failure:
        patch.strategic({"metadata": {"finalizers": ["a"]}}, {"metadata": {"finalizers": [{"a": 1}]}}, POD)
    assert failure.value.message == "invalid patch format of primitive list"


@pytest.mark.parametrize(
    ("change", "out"),
    [
        ({"metadata": {"finalizers": [{"a": 1}]}}, {"metadata": {"finalizers": [{"a": 1}]}}),
        ({"spec": {"tolerations": [{"a": None}]}}, {"spec": {"tolerations": [{}]}}),
        (
            {"spec": {"volumes": [{"name": "a"}, {"name": "a"}, {}]}},
            {"spec": {"volumes": [{"name": "a"}, {"name": "a"}, {}]}},
        ),
        ({"spec": {"volumes": [{"$patch": "delete", "name": "a"}]}}, {"spec": {"volumes": []}}),
        ({"spec": {"affinity": {"a": {"$patch": "replace"}, "b": None}}}, {"spec": {"affinity": {}}}),
    ],
)
def test_what_was_not_there_is_as_the_patch_says(change: Json, out: Json) -> None:
    assert patch.strategic({"metadata": {}, "spec": {}}, change, POD) == {"metadata": {}, "spec": {}, **out}


def test_what_cannot_be_merged_is_replaced_by_all_that_is_said() -> None:
    change = {"spec": {"tolerations": [{"$patch": "delete"}]}}
    assert patch.strategic({"spec": {"tolerations": [{"key": "a"}]}}, change, POD) == change

"""What is wrong with Nodes: as a new one, as a change, and in their status alone."""

from typing import Any

import pytest

from netplane.api import defaults, kinds, validation, warnings
from netplane.apiserver.admission.strategies import STRATEGIES

Json = dict[str, Any]
Found = list[tuple[str, str]]

AVOID = "scheduler.alpha.kubernetes.io/preferAvoidPods"
ONE_EACH = "may specify no more than one CIDR for each IP family"
NO_FEATURE = (
    "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or "
    "MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
)
TAINT = {"key": "k", "effect": "NoSchedule"}


def node(spec: Json | None = None, status: Json | None = None, annotations: Json | None = None) -> Json:
    return {"metadata": {"name": "n", "annotations": annotations or {}}, "spec": spec or {}, "status": status or {}}


def found(obj: Json, old: Json | None = None, part: str = "") -> Found:
    return [(e.field, e.detail) for e in validation.validate(kinds.NODE, obj, old, part)]


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (node(), []),
        (node({"podCIDRs": ["10.0.0.0/24", "fd00::/64"]}), []),
        (node({"podCIDRs": ["10.0.0.0/24", "10.1.0.0/24"]}), [("spec.podCIDRs", ONE_EACH)]),
        (node({"taints": [TAINT, TAINT]}), [("metadata.taints[1]", "taints must be unique by key and effect pair")]),
        (node(status={"capacity": {"pods": "1500m"}}), [("status.capacity.pods", "must be an integer")]),
        (
            node(status={"nodeInfo": {"swap": {"capacity": 0}}}),
            [("metadata.nodeSwapStatus.capacity", "must be greater than zero")],
        ),
        (node(status={"declaredFeatures": ["A", "B/c"]}), []),
        (
            node(status={"declaredFeatures": ["B", "A", "A", "a"]}),
            [
                ("status.declaredFeatures[1]", "list must be sorted alphabetically"),
                ("status.declaredFeatures[2]", ""),
                ("status.declaredFeatures[3]", f'invalid feature name "a": {NO_FEATURE}'),
            ],
        ),
        (
            node(annotations={AVOID: "x"}),
            [("metadata.annotations.AvoidPods", "invalid character 'x' looking for beginning of value")],
        ),
        (
            node(annotations={AVOID: '{"preferAvoidPods":[{"podSignature":{}}]}'}),
            [(f"metadata.annotations.{AVOID}[0].PodSignature", "")],
        ),
    ],
)
def test_new_nodes(obj: Json, expected: Found) -> None:
    assert found(obj) == expected


WRONG, TAINTS = "json: cannot unmarshal {} into Go {} of type {}", "scheduler.alpha.kubernetes.io/taints"
POD_SIGNATURE = "preferAvoidPods.podSignature"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (TAINTS, "[1]", ("number", "value", "core.Taint")),
        (TAINTS, "{}", ("object", "value", "[]core.Taint")),
        (TAINTS, '[{"key":5}]', ("number", "struct field Taint.Key", "string")),
        (TAINTS, '[{"effect":[]}]', ("array", "struct field Taint.Effect", "core.TaintEffect")),
        (TAINTS, '[{"timeAdded":5}]', ("number", "struct field Taint.TimeAdded", "string")),
        (AVOID, "[]", ("array", "value", "v1.AvoidPods")),
        (AVOID, '{"preferAvoidPods":5}',
         ("number", "struct field AvoidPods.preferAvoidPods", "[]v1.PreferAvoidPodsEntry")),
        (AVOID, '{"preferAvoidPods":[5]}',
         ("number", "struct field AvoidPods.preferAvoidPods", "v1.PreferAvoidPodsEntry")),
        (AVOID, '{"preferAvoidPods":[{"podSignature":5}]}',
         ("number", f"struct field PreferAvoidPodsEntry.{POD_SIGNATURE}", "v1.PodSignature")),
        (AVOID, '{"preferAvoidPods":[{"podSignature":{"podController":{"controller":"true"}}}]}',
         ("string", f"struct field OwnerReference.{POD_SIGNATURE}.podController.controller", "bool")),
    ],
)  # fmt: skip
def test_former_annotations_of_another_type(name: str, text: str, said: tuple[str, str, str]) -> None:
    path = "metadata.annotations" + (".AvoidPods" if name == AVOID else "")
    assert found(node(annotations={name: text})) == [(path, WRONG.format(*said))]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (TAINTS, "null", []),
        (TAINTS, '[{"KEY":"a","Effect":"NoExecute","x":1}]', []),
        (TAINTS, '[{"key":"a","effect":null}]', [(f"metadata.annotations.{TAINTS}[0].effect", "")]),
        (TAINTS, '[{"timeAdded":"x"}]',
         [("metadata.annotations",
           'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"')]),
        (AVOID, '{"preferAvoidPods":[null]}', [(f"metadata.annotations.{AVOID}[0].PodSignature", "")]),
    ],
)  # fmt: skip
def test_former_annotations_are_read_as_go_reads_them(name: str, text: str, expected: Found) -> None:
    assert found(node(annotations={name: text})) == expected


def test_networks_that_cannot_be_read_are_told_thrice() -> None:
    why = (
        "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[1]: <nil> (invalid CIDR address: x)"
    )
    told = found(node({"podCIDRs": ["10.0.0.0/24", "x"]}))
    assert [field for field, _ in told] == ["spec.podCIDRs[1]", "spec.podCIDRs", "spec.podCIDRs"]
    assert [detail for _, detail in told][1:] == [why, ONE_EACH]


OLD = node({"podCIDRs": ["10.0.0.0/24"], "providerID": "p"})


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"podCIDRs": ["10.0.0.0/24"], "providerID": "p", "unschedulable": True}, []),
        (
            {"podCIDRs": ["10.1.0.0/24"], "providerID": "q", "externalID": "e"},
            [
                ("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'),
                ("spec.providerID", 'node updates may not change providerID except from "" to valid'),
                ("spec.externalID", "may not be updated"),
            ],
        ),
    ],
)
def test_changes(spec: Json, expected: Found) -> None:
    assert found(node(spec), OLD) == expected


def test_a_change_is_looked_at_twice_and_one_of_the_status_once() -> None:
    status = {"capacity": {"cpu": "-1"}}
    assert len(found(node({}, status), node())) == 2
    assert len(found(node({}, status), node(), "status")) == 1


def test_what_is_removed_is_dropped_and_what_is_no_more_used_is_told_of() -> None:
    strategy = STRATEGIES[kinds.NODE]
    obj = node({"configSource": {}, "externalID": "e"}, {"config": {"error": "e"}})
    told = ["spec.configSource: the feature is removed"]
    told.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
    written = node({"configSource": {"a": 1}, "externalID": "e"})
    assert warnings.of(kinds.NODE, written, created=True, status=False, respecified=True) == told
    strategy.prepare_create(obj)
    strategy.after_defaults(obj)
    assert ("configSource" in obj["spec"], "config" in obj["status"]) == (False, False)


def test_amounts_are_whole_thousandths() -> None:
    obj = node({}, {"capacity": {"cpu": "0.0001"}})
    defaults.apply(kinds.NODE, obj)
    assert (obj["status"]["capacity"], obj["status"]["allocatable"]) == ({"cpu": "1m"}, {"cpu": "1m"})


def test_a_finalizer_that_comes_too_late_is_told_of_by_both_that_see_the_old() -> None:
    old: Json = {"metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.io/b"]}}
    new: Json = {"metadata": {**old["metadata"], "finalizers": ["a.io/b", "c.io/d"]}}
    assert [field for field, _ in found(new, old)] == ["metadata.finalizers"] * 2

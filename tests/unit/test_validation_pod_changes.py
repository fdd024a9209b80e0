"""What a change of a pod may not do."""

import pytest

from netplane.api import kinds
from tests.field_errors import Json, pod, problems

CHANGES: list[tuple[Json, Json, list[str]]] = [
    (pod(activeDeadlineSeconds=5), pod(activeDeadlineSeconds=4), []),
    (
        pod(activeDeadlineSeconds=5),
        pod(activeDeadlineSeconds=6),
        ["spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"],
    ),
    (
        pod(activeDeadlineSeconds=5),
        pod(),
        ["spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"],
    ),
    (
        pod(),
        pod(containers=[{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]),
        ["spec.containers: Forbidden: pod updates may not add or remove containers"],
    ),
    (pod(schedulingGates=[{"name": "a"}]), pod(), []),
    (
        pod(schedulingGates=[{"name": "a"}]),
        pod(schedulingGates=[{"name": "b"}]),
        ["spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'b'"],
    ),
    (pod(terminationGracePeriodSeconds=-1), pod(terminationGracePeriodSeconds=1), []),
    (
        pod(schedulingGates=[{"name": "a"}], nodeSelector={"a": "b"}),
        pod(schedulingGates=[{"name": "a"}], nodeSelector={"a": "c"}),
        ["spec.nodeSelector: Invalid value: {\"a\":\"c\"}: only additions to spec.nodeSelector are allowed (no "
         "mutations or deletions)"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), CHANGES)
def test_changes_of_pods(old: Json, new: Json, expected: list[str]) -> None:
    assert problems(kinds.POD, new, old) == expected

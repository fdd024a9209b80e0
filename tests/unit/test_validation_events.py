"""Events in their two forms: what is refused, and in which words."""

import pytest

from netplane.api import kinds
from tests.field_errors import Json, problems

NEW: Json = {
    "involvedObject": {"namespace": "n"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "action": "A",
    "reason": "R", "message": "m", "reportingComponent": "c", "reportingInstance": "c-1",
}  # fmt: skip
NAME = "name part must"
EVENTS: list[tuple[Json, list[str], list[str]]] = [
    (NEW, [], []),
    (
        {"involvedObject": {"namespace": "other"}},
        ['involvedObject.namespace: Invalid value: "other": does not match event.namespace'],
        ['involvedObject.namespace: Invalid value: "other": does not match event.namespace',
         "eventTime: Required value", 'type: Invalid value: "": has invalid value: '],
    ),
    (
        {"involvedObject": {}, "eventTime": NEW["eventTime"], "message": "x" * 1025, "type": "Normal"},
        ['involvedObject.namespace: Invalid value: "": does not match event.namespace',
         "reportingComponent: Required value", f'reportingComponent: Invalid value: "": {NAME} be non-empty',
         f'reportingComponent: Invalid value: "": {NAME} consist', "reportingInstance: Required value",
         "action: Required value", "reason: Required value",
         'message: Invalid value: "": can have at most 1024 characters'],
        ['involvedObject.namespace: Invalid value: "": does not match event.namespace',
         "reportingController: Required value", f'reportingController: Invalid value: "": {NAME} be non-empty',
         f'reportingController: Invalid value: "": {NAME} consist', "reportingInstance: Required value",
         "action: Required value", "reason: Required value",
         'message: Invalid value: "": can have at most 1024 characters'],
    ),
    (
        {**NEW, "involvedObject": {"namespace": "other"}, "count": 1, "source": {"component": "c"}, "series": {}},
        [],
        ['series.count: Invalid value: "": should be at least 2', "series.lastObservedTime: Required value",
         'count: Invalid value: "": needs to be unset', 'source: Invalid value: "": needs to be unset'],
    ),
    ({**NEW, "metadata": {"name": "A_b"}}, [], ['metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain']),
]  # fmt: skip


@pytest.mark.parametrize(("event", "core", "new"), EVENTS)
def test_events_in_their_two_forms(event: Json, core: list[str], new: list[str]) -> None:
    for kind, expected in ((kinds.EVENT, core), (kinds.NEW_EVENT, new)):
        found = problems(kind, event)
        assert len(found) == len(expected)
        assert [one.startswith(wanted) for one, wanted in zip(found, expected, strict=True)] == [True] * len(found)


def test_what_of_an_event_may_change() -> None:
    series = {"count": 2, "lastObservedTime": NEW["eventTime"]}
    other = {**NEW, "series": series, "message": "n", "involvedObject": {"namespace": "n", "uid": "1"}}
    assert problems(kinds.EVENT, other, NEW) == []
    assert problems(kinds.NEW_EVENT, {**NEW, "series": series}, NEW) == []
    assert problems(kinds.NEW_EVENT, other, NEW) == [
        'involvedObject: Invalid value: {"Kind":"","Namespace":"n","Name":"","UID":"1","APIVersion":"",'
        '"ResourceVersion":"","FieldPath":""}: field is immutable',
        'message: Invalid value: "n": field is immutable',
    ]

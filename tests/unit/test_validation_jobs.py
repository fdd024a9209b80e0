"""Jobs: which pods count as failed, when enough of them have succeeded, and what a change may not do."""

import re
from typing import Any

import pytest

from netplane.api import cron, kinds
from netplane.api.validation import indexes
from tests.field_errors import problems

Json = dict[str, Any]


def job(**spec: Any) -> Json:
    inside = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": inside}
    return {"spec": {"manualSelector": True, "selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}}


def rule(**given: Any) -> Json:
    return job(podFailurePolicy={"rules": [{"action": "FailJob", **given}]})


def success(*rules: Json) -> Json:
    return job(completionMode="Indexed", completions=3, successPolicy={"rules": list(rules)})


def placed(of: Json, spec: Json) -> Json:
    """The job with so much more in its pods' spec."""
    template = of["spec"]["template"]
    return {"spec": {**of["spec"], "template": {**template, "spec": {**template["spec"], **spec}}}}


CONTAINER: Json = {"name": "c", "image": "i"}
LIMITS = {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}
RULE, CODES, DONE = "spec.podFailurePolicy.rules[0]", "spec.podFailurePolicy.rules[0].onExitCodes", "spec.successPolicy"
TABLE: list[tuple[Json, list[str]]] = [
    (rule(onExitCodes={"operator": "In", "values": [1, 2]}), []),
    (rule(), [f"{RULE}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"]),
    (
        rule(onExitCodes={"operator": "In", "values": [2, 0, 2]}),
        [f"{CODES}.values[1]: Invalid value: 0: must not be 0 for the In operator",
         f"{CODES}.values[2]: Duplicate value: 2", f"{CODES}.values: Invalid value: [2,0,2]: must be ordered"],
    ),
    (
        rule(onExitCodes={"containerName": "d", "operator": "Is", "values": [1]}, action="Stop"),
        [f'{RULE}.action: Unsupported value: "Stop": supported values: "Count", "FailIndex", "FailJob", "Ignore"',
         f'{CODES}.operator: Unsupported value: "Is": supported values: "In", "NotIn"',
         f'{CODES}.containerName: Invalid value: "d": must be one of the container or initContainer names in the pod '
         "template"],
    ),
    (
        rule(onPodConditions=[{"type": "a", "status": "Maybe"}], action="FailIndex"),
        [f'{RULE}.action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set',
         f'{RULE}.onPodConditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"'],
    ),
    (
        success(),
        [f"{DONE}.rules: Required value: at least one rules must be specified when the successPolicy is specified"],
    ),
    (
        success({}),
        [f"{DONE}.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified"],
    ),
    (success({"succeededCount": 2, "succeededIndexes": "0,1-2"}), []),
    (
        success({"succeededCount": 4, "succeededIndexes": "0-3"}),
        [f'{DONE}.rules[0].succeededIndexes: Invalid value: "0-3": error parsing succeededIndexes: too large index: '
         '"3"',
         f"{DONE}.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of specified "
         "completions)",
         f"{DONE}.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 0 (the number of indexes in "
         "the specified succeededIndexes field)"],
    ),
    (
        job(successPolicy={"rules": [{"succeededCount": 1}]}),
        [f'{DONE}: Invalid value: {{"Rules":[{{"SucceededIndexes":null,"SucceededCount":1}}]}}: requires indexed '
         "completion mode"],
    ),
    (
        job(podReplacementPolicy="Maybe"),
        ['spec.podReplacementPolicy: Unsupported value: "Maybe": supported values: "Failed", "TerminatingOrFailed"'],
    ),
    (
        job(maxFailedIndexes=4),
        ["spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
         "spec.maxFailedIndexes: Invalid value: 4: requires indexed completion mode"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "expected"), TABLE)
def test_new_jobs(obj: Json, expected: list[str]) -> None:
    assert sorted(problems(kinds.JOB, obj)) == sorted(expected)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1,0", "non-increasing order, previous: 1, current: 0"),
        ("2-1", "non-increasing order, previous: 2, current: 1"),
        ("a", 'cannot convert string to integer for index: "a"'),
        ("1-2-3", "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts "
                  "separated by '-'"),
    ],
)  # fmt: skip
def test_lists_of_indexes(text: str, why: str) -> None:
    assert indexes.count("0,2-4,6", 7) == 5
    assert indexes.count("", 1) == 0
    with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
        indexes.count(text, 9)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (job(parallelism=1), job(parallelism=2), []),
        (job(completions=1), job(completions=2), ["spec.completions: Invalid value: 2: field is immutable"]),
        (
            rule(onExitCodes={"operator": "In", "values": [1]}),
            rule(onPodConditions=[{"type": "a", "status": "True"}]),
            ['spec.podFailurePolicy: Invalid value: {"Rules":[{"Action":"FailJob","OnExitCodes":null,"OnPodConditions":'
             '[{"Type":"a","Status":"True"}]}]}: field is immutable'],
        ),
        (
            job(completionMode="Indexed", completions=1),
            job(completionMode="Indexed", completions=2),
            ["spec.completions: Invalid value: 2: can only be modified in tandem with spec.parallelism"],
        ),
        (
            job(completionMode="Indexed", completions=1),
            job(completionMode="Indexed", completions=2, parallelism=2),
            [],
        ),
        (job(backoffLimit=1), job(backoffLimit=2), []),
        (job(suspend=True), placed(job(), {"nodeSelector": {"a": "b"}, "schedulingGates": [{"name": "g/h"}]}), []),
        (job(suspend=True), placed(job(), {"containers": [{**CONTAINER, "resources": LIMITS}]}), []),
    ],
)  # fmt: skip
def test_changes_of_jobs(old: Json, new: Json, expected: list[str]) -> None:
    assert problems(kinds.JOB, new, old) == expected


def status(*conditions: str, **given: Any) -> Json:
    """A job that says so of itself; `+` before a condition: it is True, `-`: it is False."""
    said = [{"type": one[1:], "status": "True" if one[0] == "+" else "False"} for one in conditions]
    return {**job(), "status": {**given, **({"conditions": said} if said else {})}}


def indexed(**given: Any) -> Json:
    spec = job(completionMode="Indexed", completions=5, parallelism=2, backoffLimitPerIndex=1)["spec"]
    return {"spec": spec, "status": given}


BEGUN, ENDED = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
OVER = status("+Complete", "+SuccessCriteriaMet", startTime=BEGUN, completionTime=ENDED)
CONDITIONS = "status.conditions: Invalid value: cannot"
STATUSES: list[tuple[Json, Json, list[str]]] = [
    (status(), OVER, []),
    (status(), status(active=-1, ready=2), [
        "status.active: Invalid value: -1: must be greater than or equal to 0",
        "status.ready: Invalid value: 2: cannot set more ready pods than active",
    ]),
    (status(), status("+Complete"), [
        "status.completionTime: Required value: completionTime is required for Complete jobs",
        f"{CONDITIONS} set Complete=True condition without the SuccessCriteriaMet=true condition",
        "status.startTime: Required value: startTime is required for finished job",
    ]),
    (status(), status("+Failed", startTime=BEGUN, active=1, terminating=1), [
        f"{CONDITIONS} set Failed=True condition without the FailureTarget=true condition",
        "status.active: Invalid value: 1: active>0 is invalid for finished job",
        "status.terminating: Invalid value: 1: terminating>0 is invalid for finished job",
    ]),
    (status(), status("+Failed", "+Complete", "+FailureTarget", startTime=ENDED, completionTime=BEGUN), [
        f"{CONDITIONS} set Complete=True and Failed=true conditions",
        f"{CONDITIONS} set Complete=True and FailureTarget=true conditions",
        f'status.completionTime: Invalid value: "{BEGUN}": must be equal to or after `startTime`',
        f"{CONDITIONS} set Complete=True condition without the SuccessCriteriaMet=true condition",
    ]),
    (status(), status(completedIndexes="0", failedIndexes="1"), [
        'status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when non-indexed '
        "completion mode",
        'status.failedIndexes: Invalid value: "1": cannot set non-null failedIndexes when backoffLimitPerIndex is null',
    ]),
    (indexed(), indexed(completedIndexes="0-2,7", failedIndexes="2,x"), [
        'status.completedIndexes: Invalid value: "0-2,7": error parsing completedIndexes: too large index: "7"',
        'status.failedIndexes: Invalid value: "2,x": error parsing failedIndexes: cannot convert string to integer for '
        'index: "x"',
        'status.failedIndexes: Invalid value: "2,x": failedIndexes and completedIndexes overlap at index: 2',
    ]),
    (status(), status(uncountedTerminatedPods={"succeeded": ["a", ""], "failed": ["a"]}), [
        'status.uncountedTerminatedPods.succeeded[1]: Invalid value: "": must not be empty',
        'status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"',
    ]),
    (OVER, status(startTime=ENDED), [
        f"{CONDITIONS} disable the terminal Complete=True condition",
        f'status.startTime: Invalid value: "{ENDED}": field is immutable for unsuspended job once set',
        f"{CONDITIONS} disable the SuccessCriteriaMet=True condition",
    ]),
    (status(failed=2, succeeded=2), status(failed=1, succeeded=1), [
        "status.failed: Invalid value: 1: cannot decrease the failed counter",
        "status.succeeded: Invalid value: 1: cannot decrease the succeeded counter",
    ]),
    (status("+SuccessCriteriaMet"), status("+SuccessCriteriaMet", "+FailureTarget"), [
        f"{CONDITIONS} set SuccessCriteriaMet=True and FailureTarget=true conditions",
    ]),
    (status("+Suspended", startTime=BEGUN), status("-Suspended", startTime=ENDED), []),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), STATUSES)
def test_what_a_job_may_say_of_itself(old: Json, new: Json, expected: list[str]) -> None:
    assert problems(kinds.JOB, new, old, "status") == expected


def test_a_template_that_may_not_change_is_shown_by_its_internal_names() -> None:
    changed = placed(job(), {"containers": [{**CONTAINER, "image": "j"}]})
    (told,) = problems(kinds.JOB, changed, job())
    assert told.startswith('spec.template: Invalid value: {"labels":{"a":"b"},"Spec":{"Volumes":null,')
    assert '"Containers":[{"Name":"c","Image":"j",' in told
    assert told.endswith(": field is immutable")
    running = {**job(suspend=True), "status": {"active": 1, "startTime": BEGUN}}
    moved = placed(job(suspend=True), {"nodeSelector": {"a": "b"}})
    assert [one.split(":")[0] for one in problems(kinds.JOB, moved, running)] == ["spec.template"]
    idle = job(suspend=True)
    tied: Json = {"affinity": {"nodeAffinity": {}, "podAffinity": {}}}
    assert [one.split(":")[0] for one in problems(kinds.JOB, placed(idle, tied), idle)] == ["spec.template.spec"]
    assert problems(kinds.JOB, placed(idle, {"affinity": {"nodeAffinity": {}}}), idle) == []


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Etc/GMT+1", "America/Argentina/Ushuaia"])
def test_time_zones_by_their_names(zone: str) -> None:
    def given(name: str) -> Json:
        return {"spec": {"schedule": "@daily", "timeZone": name, "jobTemplate": {"spec": placed(job(), {})["spec"]}}}

    def told(name: str) -> list[str]:
        return [one for one in problems(kinds.CRON_JOB, given(name)) if one.startswith("spec.timeZone")]

    assert told(zone) == []
    assert told(f"{zone}x") == [f'spec.timeZone: Invalid value: "{zone}x": unknown time zone {zone}x']


HUGE, LONG = 10**20, "9" * 5000


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ("@every 1h30m", ""), ("@every .5s", ""), ("TZ=Europe/Berlin @daily", ""), ("CRON_TZ= 0 0 * * *", ""),
        ("@every x", 'failed to parse duration @every x: time: invalid duration "x"'),
        ("@every 1", 'failed to parse duration @every 1: time: missing unit in duration "1"'),
        ("@every \u0663s", 'failed to parse duration @every \u0663s: time: invalid duration "\\xd9\\xa3s"'),
        ("@every 1d", 'failed to parse duration @every 1d: time: unknown unit "d" in duration "1d"'),
        ("TZ=Foo/Bar * * * * *", "provided bad location Foo/Bar: unknown time zone Foo/Bar"),
        ("TZ=../etc * * * * *", "provided bad location ../etc: time: invalid location name"),
        ("TZ=UTC", "invalid schedule format: runtime error: slice bounds out of range [:-1]"),
        (f"{'0' * 5000}5 * * * *", ""),
        (f"{LONG} * * * *", f'failed to parse int from {LONG}: strconv.Atoi: parsing "{LONG}": value out of range'),
        (f"{HUGE} * * * *", f'failed to parse int from {HUGE}: strconv.Atoi: parsing "{HUGE}": value out of range'),
    ],
)  # fmt: skip
def test_schedules(schedule: str, why: str) -> None:
    assert cron.problem(schedule) == why

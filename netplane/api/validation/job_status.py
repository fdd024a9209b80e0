"""The status of a Job: what its controller, ours or another, may say, and may not take back.

A rule looks only at what has changed: what was wrong before may stay. Source: batch/v1 validation of Kubernetes 1.36.
"""

from collections.abc import Iterator
from typing import Any

from netplane.api import prints
from netplane.api.fields import FieldError, duplicate, invalid, invalid_as_such, required
from netplane.api.validation import indexes, meta

Json = dict[str, Any]

_COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
_ENDS = ("Failed", "Complete", "FailureTarget")


class _Status:
    """A Job's status, and what it says."""

    def __init__(self, job: Json) -> None:
        self.spec: Json = job.get("spec") or {}
        self.given: Json = job.get("status") or {}
        self.conditions = self.given.get("conditions") or []
        self.complete, self.failed = self.is_("Complete"), self.is_("Failed")
        self.target, self.met = self.is_("FailureTarget"), self.is_("SuccessCriteriaMet")
        self.finished = self.complete or self.failed
        self.indexed = self.spec.get("completionMode") == "Indexed"
        self.completed: str = self.given.get("completedIndexes") or ""

    def is_(self, condition: str, status: str = "True") -> bool:
        return any(one.get("type") == condition and one.get("status") == status for one in self.conditions)

    def count(self, field: str) -> int:
        return self.given.get(field) or 0


def job_status(obj: Json, old: Json | None) -> list[FieldError]:
    """batch/v1 JobStatus."""
    now, was = _Status(obj), _Status(old or {})
    errors = meta.not_negative(now.given, *_COUNTS, path="status") + _uncounted(now.given)
    errors += [*_ended(now, was), *_running(now, was), *_indexes(now, was), *_pods(now, was)]
    return [*errors, *_success(now), *_back(now, was)]


def _uncounted(status: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for field in ("succeeded", "failed"):
        for i, uid in enumerate((status.get("uncountedTerminatedPods") or {}).get(field) or ()):
            path = f"status.uncountedTerminatedPods.{field}[{i}]"
            if not uid:
                errors.append(invalid(path, uid, "must not be empty"))
            elif uid in seen:
                errors.append(duplicate(path, uid))
            seen.add(uid)
    return errors


def _conditions(why: str) -> FieldError:
    return invalid_as_such("status.conditions", why)


def _ended(now: _Status, was: _Status) -> Iterator[FieldError]:
    """How it ended: in one way, and at some time."""
    path, done, began = "status.completionTime", now.given.get("completionTime"), now.given.get("startTime")
    complete, failed = now.complete != was.complete, now.failed != was.failed
    ended = complete or done != was.given.get("completionTime")
    if (complete or failed) and now.complete and now.failed:
        yield _conditions("cannot set Complete=True and Failed=true conditions")
    if (complete or now.target != was.target) and now.complete and now.target:
        yield _conditions("cannot set Complete=True and FailureTarget=true conditions")
    if ended and done and not now.complete:
        yield invalid(path, done, "cannot set completionTime when there is no Complete=True condition")
    if ended and not done and now.complete:
        yield required(path, "completionTime is required for Complete jobs")
    moved = began != was.given.get("startTime") or done != was.given.get("completionTime")
    if moved and began and done and done < began:
        yield invalid(path, done, "must be equal to or after `startTime`")
    if (failed or _other(now, was, "failedIndexes")) and now.failed and not now.target:
        yield _conditions("cannot set Failed=True condition without the FailureTarget=true condition")
    if (complete or now.met != was.met) and now.complete and not now.met:
        yield _conditions("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")


def _other(now: _Status, was: _Status, field: str) -> bool:
    return bool(now.given.get(field) != was.given.get(field))


def _running(now: _Status, was: _Status) -> Iterator[FieldError]:
    """What is finished has begun, and runs no pods."""
    finished, spec, active = now.finished != was.finished, now.spec, now.count("active")
    if (finished or active != was.count("active")) and active > 0 and now.finished:
        yield invalid("status.active", active, "active>0 is invalid for finished job")
    nothing_to_do = spec.get("suspend") and spec.get("completions") == 0
    unstarted = now.finished and not now.given.get("startTime") and not nothing_to_do
    if (finished or _other(now, was, "startTime")) and unstarted:
        yield required("status.startTime", "startTime is required for finished job")
    pods: Json = now.given.get("uncountedTerminatedPods") or {}
    left = pods.get("failed") or pods.get("succeeded")
    if (finished or _other(now, was, "uncountedTerminatedPods")) and now.finished and left:
        shown = prints.internal("UncountedTerminatedPods", pods)
        yield invalid("status.uncountedTerminatedPods", shown, "must be empty for finished job")


def _indexes(now: _Status, was: _Status) -> Iterator[FieldError]:
    """Which indexes are done and which have failed: each one or the other."""
    total, failed = now.spec.get("completions"), now.given.get("failedIndexes")
    done_anew, failed_anew = now.completed != was.completed, _other(now, was, "failedIndexes")
    per_index = now.spec.get("backoffLimitPerIndex") is not None
    if done_anew and total is not None:
        yield from _readable("completedIndexes", now.completed, total)
    if failed_anew and total is not None and per_index and failed is not None:
        yield from _readable("failedIndexes", failed, total)
    if done_anew and now.completed and not now.indexed:
        why = "cannot set non-empty completedIndexes when non-indexed completion mode"
        yield invalid("status.completedIndexes", now.completed, why)
    if failed_anew and not per_index and failed is not None:
        why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        yield invalid("status.failedIndexes", failed, why)
    if (failed_anew or done_anew) and total is not None and failed is not None:
        both = indexes.first_in_both(now.completed, failed, total)
        if both is not None:
            why = f"failedIndexes and completedIndexes overlap at index: {both}"
            yield invalid("status.failedIndexes", failed, why)


def _readable(field: str, text: str, total: int) -> list[FieldError]:
    try:
        indexes.count(text, total)
    except ValueError as error:
        return [invalid(f"status.{field}", text, f"error parsing {field}: {error}")]
    return []


def _pods(now: _Status, was: _Status) -> Iterator[FieldError]:
    """Pods that end, and pods that are ready."""
    terminating, ready = now.count("terminating"), now.count("ready")
    ends = now.finished != was.finished or _other(now, was, "terminating")
    if ends and terminating > 0 and now.finished:
        yield invalid("status.terminating", terminating, "terminating>0 is invalid for finished job")
    if (_other(now, was, "ready") or now.count("active") != was.count("active")) and ready > now.count("active"):
        yield invalid("status.ready", ready, "cannot set more ready pods than active")


def _success(now: _Status) -> Iterator[FieldError]:
    """Enough has succeeded, or too much failed, or neither."""
    if now.met and now.failed:
        yield _conditions("cannot set SuccessCriteriaMet=True and Failed=true conditions")
    if now.met and now.target:
        yield _conditions("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
    if now.spec.get("successPolicy") is not None and not now.met and now.complete:
        yield _conditions("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")


def _back(now: _Status, was: _Status) -> Iterator[FieldError]:
    """What cannot be taken back."""
    for condition in _ENDS:
        if was.is_(condition) and not now.is_(condition):
            yield _conditions(f"cannot disable the terminal {condition}=True condition")
    if now.count("failed") < was.count("failed"):
        yield invalid("status.failed", now.count("failed"), "cannot decrease the failed counter")
    scalable = now.indexed and now.spec.get("completions") == now.spec.get("parallelism")
    if not scalable and now.count("succeeded") < was.count("succeeded"):
        yield invalid("status.succeeded", now.count("succeeded"), "cannot decrease the succeeded counter")
    done, had = now.given.get("completionTime"), was.given.get("completionTime")
    if done and had and done != had:
        yield invalid("status.completionTime", done, meta.IMMUTABLE)
    resumes = was.is_("Suspended") and now.is_("Suspended", "False")
    if was.given.get("startTime") and _other(now, was, "startTime") and not resumes and not now.spec.get("suspend"):
        why = "field is immutable for unsuspended job once set"
        yield invalid("status.startTime", now.given.get("startTime"), why)
    if was.met and not now.met:
        yield _conditions("cannot disable the SuccessCriteriaMet=True condition")
    if was.complete and not was.met and now.met:
        yield _conditions("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")

"""CronJob: when it runs, and which jobs. Source: batch/v1 validation of Kubernetes 1.36."""

import re
from typing import Any

from netplane.api import cron
from netplane.api.fields import FieldError, invalid, not_supported, required
from netplane.api.validation import meta
from netplane.api.validation.jobs import job_spec
from netplane.api.validation.workloads import shown_selector

Json = dict[str, Any]

_MAX_NAME = 52
_NO_ZONE = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
_ZONE_PART = re.compile(r"[A-Za-z._0-9+-]{1,14}")


def cron_job(obj: Json, old: Json | None) -> list[FieldError]:
    """batch/v1 CronJob. Its name leaves room for that of its jobs (11 characters)."""
    spec, name = obj["spec"], obj["metadata"].get("name") or ""
    before = (old or {}).get("spec")
    errors: list[FieldError] = _schedule(spec, before)
    errors += meta.not_negative(spec, "startingDeadlineSeconds", path="spec")
    if before is None or before.get("timeZone") != spec.get("timeZone"):
        errors += _zone(spec.get("timeZone"))
    policies = ("Allow", "Forbid", "Replace")
    errors += meta.one_of("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), policies)
    errors += _job_template(spec["jobTemplate"].get("spec") or {}, "spec.jobTemplate.spec")
    errors += meta.not_negative(spec, "successfulJobsHistoryLimit", "failedJobsHistoryLimit", path="spec")
    if old is None and len(name) > _MAX_NAME:
        errors.append(invalid("metadata.name", name, f"must be no more than {_MAX_NAME} characters"))
    return errors


def cron_job_status(obj: Json, old: Json | None) -> list[FieldError]:
    """The status of a CronJob: its controller may say what it will."""
    del obj, old
    return []


def _schedule(spec: Json, before: Json | None) -> list[FieldError]:
    schedule, had = spec.get("schedule") or "", "TZ" in ((before or {}).get("schedule") or "")
    if not schedule:
        return [required("spec.schedule")]
    errors = [invalid("spec.schedule", schedule, why)] if (why := cron.problem(schedule)) else []
    if "TZ" not in schedule or (had and spec.get("timeZone") is None):
        return errors
    why = "cannot use both timeZone field and TZ or CRON_TZ in schedule" if had else _NO_ZONE
    return [*errors, invalid("spec.schedule", schedule, why)]


def _zone(zone: str | None) -> list[FieldError]:
    path = "spec.timeZone"
    if zone is None:
        return []
    if not zone:
        return [invalid(path, "", "timeZone must be nil or non-empty string")]
    parts = zone.split("/")
    if any(one in (".", "..") or one.startswith("-") or not _ZONE_PART.fullmatch(one) for one in parts):
        return [invalid(path, zone, f"unknown time zone {zone}")]
    errors: list[FieldError] = []
    if zone.lower() == "local":
        why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        errors.append(invalid(path, zone, why))
    known = zone == "Local" or zone in cron.zones()
    return errors if known else [*errors, invalid(path, zone, f"unknown time zone {zone}")]


def _job_template(spec: Json, path: str) -> list[FieldError]:
    errors = job_spec(spec, path)
    if spec.get("selector") is not None:
        errors.append(
            invalid(f"{path}.selector", shown_selector(spec["selector"]), "`selector` will be auto-generated")
        )
    if spec.get("manualSelector"):
        errors.append(not_supported(f"{path}.manualSelector", True, ("nil", "false")))
    return errors

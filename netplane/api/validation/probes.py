"""Hooks and probes of a container. Source: core/v1 validation of Kubernetes 1.36."""

from typing import Any

from netplane.api import names
from netplane.api.fields import FieldError, all_invalid, forbidden, invalid, required
from netplane.api.validation import meta

Json = dict[str, Any]

HOOKS, PROBES = ("postStart", "preStop"), ("livenessProbe", "readinessProbe", "startupProbe")
_SCHEMES = frozenset({"HTTP", "HTTPS"})
_PROBE_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOK_HANDLERS = ("exec", "httpGet", "tcpSocket", "sleep")
_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")


def port_or_name(path: str, value: Any) -> list[FieldError]:
    """A port by number, or by a container port's name."""
    value = 0 if value is None else value
    return all_invalid(path, value, names.port(value) if isinstance(value, int) else names.port_name(value))


def life(container: Json, path: str, grace_s: int | None) -> list[FieldError]:
    """Hooks and probes of a container that has `grace_s` seconds to end in."""
    errors: list[FieldError] = []
    for hook in HOOKS:
        if (given := (container.get("lifecycle") or {}).get(hook)) is not None:
            errors += _handler(given, f"{path}.lifecycle.{hook}", _HOOK_HANDLERS, grace_s)
    for name in PROBES:
        if (probe := container.get(name)) is not None:
            errors += _probe(probe, f"{path}.{name}", once=name != "readinessProbe")
    return errors


def _probe(probe: Json, path: str, *, once: bool) -> list[FieldError]:
    errors = _handler(probe, path, _PROBE_HANDLERS, None) + meta.not_negative(probe, *_NUMBERS, path=path)
    grace_s, where = probe.get("terminationGracePeriodSeconds"), f"{path}.terminationGracePeriodSeconds"
    if grace_s is not None and grace_s <= 0:
        errors.append(invalid(where, grace_s, "must be greater than 0"))
    if once and (probe.get("successThreshold") or 1) != 1:
        errors.append(invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    elif not once and grace_s is not None:
        errors.append(invalid(where, grace_s, "must not be set for readinessProbes"))
    return errors


def _handler(handler: Json, path: str, known: tuple[str, ...], grace_s: int | None) -> list[FieldError]:
    given = [one for one in known if handler.get(one) is not None]
    if not given:
        return [required(path, "must specify a handler type")]
    errors = _one_handler(given[0], handler[given[0]], f"{path}.{given[0]}", grace_s)
    return errors + [forbidden(f"{path}.{one}", "may not specify more than 1 handler type") for one in given[1:]]


def _one_handler(kind: str, given: Json, path: str, grace_s: int | None) -> list[FieldError]:
    if kind == "exec":
        return [] if given.get("command") else [required(f"{path}.command")]
    if kind == "sleep":
        seconds = given.get("seconds") or 0
        why = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_s})"
        return [] if grace_s is None or 0 <= seconds <= grace_s else [invalid(path, seconds, why)]
    if kind != "httpGet":
        return port_or_name(f"{path}.port", given.get("port"))
    errors = [] if given.get("path") else [required(f"{path}.path")]
    errors += port_or_name(f"{path}.port", given.get("port"))
    errors += meta.one_of(f"{path}.scheme", given.get("scheme"), _SCHEMES)
    for one in given.get("httpHeaders") or ():
        errors += all_invalid(f"{path}.httpHeaders", one.get("name") or "", names.header(one.get("name") or ""))
    return errors

"""Devices: classes, slices, claims. Source: resource/v1 validation of Kubernetes 1.36.

CEL expressions are taken as they are: who allocates devices compiles them.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson

from netplane.api import names
from netplane.api.fields import (
    FieldError,
    all_invalid,
    duplicate,
    invalid,
    invalid_as_such,
    not_supported,
    repeated,
    required,
    too_long,
    too_many,
)
from netplane.api.validation import meta
from netplane.api.validation.rare_volumes import csi_driver
from netplane.api.validation.selecting import node_selector

Json = dict[str, Any]
Check = Callable[[Any, str], list[FieldError]]

_MOST, _EXPRESSION_BYTES, _PARAMETERS_BYTES, _POOL_BYTES = 32, 10 * 1024, 10 * 1024, 253
_MOST_SUBREQUESTS, _MOST_DEVICES, _MOST_TAINTED, _MOST_CONSUMERS = 8, 128, 64, 256
_ONE_OF = "exactly one of `exactly` or `firstAvailable` is required"
_PLACES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
_ONE_PLACE = f"exactly one of {', '.join(f'`{one}`' for one in _PLACES)} is required"
_REQUEST = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
_C_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_C_PATTERN = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "


def claim(obj: Json, old: Json | None) -> list[FieldError]:
    """resource.k8s.io/v1 ResourceClaim: given once."""
    return _spec(obj["spec"], "spec") if old is None else _fixed(obj, old)


def claim_template(obj: Json, old: Json | None) -> list[FieldError]:
    """resource.k8s.io/v1 ResourceClaimTemplate: given once."""
    return _spec(obj["spec"].get("spec") or {}, "spec.spec") if old is None else _fixed(obj, old)


def _fixed(obj: Json, old: Json) -> list[FieldError]:
    """The spec itself is too large to be shown."""
    return [] if obj["spec"] == old.get("spec") else [invalid_as_such("spec", meta.IMMUTABLE)]


def claim_status(obj: Json, old: Json | None) -> list[FieldError]:
    """Who uses a claim: at most 256, and only while it has devices, which stay the same."""
    status, before = obj.get("status") or {}, (old or {}).get("status") or {}
    users = status.get("reservedFor") or []
    errors: list[FieldError] = []
    if len(users) > _MOST_CONSUMERS:
        errors.append(too_many("status.reservedFor", len(users), _MOST_CONSUMERS))
    again = repeated(one.get("uid") for one in users)
    for i, one in enumerate(users):
        path = f"status.reservedFor[{i}]"
        errors += [required(f"{path}.{field}") for field in ("resource", "name", "uid") if not one.get(field)]
        errors += [duplicate(path, one.get("uid"))] if again[i] else []
    if before.get("allocation") is not None and status.get("allocation") not in (None, before["allocation"]):
        errors.append(invalid_as_such("status.allocation", meta.IMMUTABLE))
    return errors


def _several(given: list[Any], path: str, most: int, check: Check) -> list[FieldError]:
    errors = [error for i, one in enumerate(given) for error in check(one, f"{path}[{i}]")]
    return errors + ([too_many(path, len(given), most)] if len(given) > most else [])


def _unique(given: list[str], path: str, field: str = "") -> list[FieldError]:
    again = repeated(given)
    return [duplicate(f"{path}[{i}]{field}", one) for i, one in enumerate(given) if again[i]]


def _spec(spec: Json, path: str) -> list[FieldError]:
    devices, path = spec.get("devices") or {}, f"{path}.devices"
    requests = devices.get("requests") or []
    known = {one.get("name") or "": {sub.get("name") for sub in one.get("firstAvailable") or ()} for one in requests}
    errors = _several(requests, f"{path}.requests", _MOST, _request)
    errors += _unique([one.get("name") or "" for one in requests], f"{path}.requests", ".name")
    for field, check in (("constraints", _constraint), ("config", _configuration)):
        errors += _several(devices.get(field) or [], f"{path}.{field}", _MOST, partial(check, known))
    return errors


def _request(one: Json, path: str) -> list[FieldError]:
    errors = _label(one.get("name") or "", f"{path}.name")
    exact, first = one.get("exactly"), one.get("firstAvailable") or []
    if exact is None and not first:
        return [*errors, required(path, _ONE_OF)]
    if exact is not None and first:
        return [*errors, invalid(path, None, f"{_ONE_OF}, but multiple fields are set")]
    if exact is not None:
        return errors + _wanted(exact, f"{path}.exactly")
    path = f"{path}.firstAvailable"
    errors += _several(first, path, _MOST_SUBREQUESTS, _subrequest)
    return errors + _unique([sub.get("name") or "" for sub in first], path, ".name")


def _label(name: str, path: str) -> list[FieldError]:
    return meta.named(path, name, names.dns_label)


def _subrequest(one: Json, path: str) -> list[FieldError]:
    return _label(one.get("name") or "", f"{path}.name") + _wanted(one, path)


def _wanted(one: Json, path: str) -> list[FieldError]:
    name, mode, count = one.get("deviceClassName") or "", one.get("allocationMode") or "", one.get("count") or 0
    errors = meta.named(f"{path}.deviceClassName", name, names.dns_subdomain)
    errors += _several(one.get("selectors") or [], f"{path}.selectors", _MOST, _selector)
    if mode == "All" and count:
        errors.append(invalid(f"{path}.count", count, "must not be specified when allocationMode is 'All'"))
    elif mode == "ExactCount" and count <= 0:
        errors.append(invalid(f"{path}.count", count, "must be greater than zero"))
    elif mode not in ("All", "ExactCount"):
        errors.append(not_supported(f"{path}.allocationMode", mode, ("All", "ExactCount")))
    return errors


def _selector(one: Json, path: str) -> list[FieldError]:
    if one.get("cel") is None:
        return [required(f"{path}.cel")]
    too_much = len((one["cel"].get("expression") or "").encode()) > _EXPRESSION_BYTES
    return [too_long(f"{path}.cel.expression", _EXPRESSION_BYTES)] if too_much else []


Known = Mapping[str, set[Any]]


def _named_requests(given: list[str], path: str, known: Known) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, name in enumerate(given):
        head, slash, rest = name.partition("/")
        if "/" in rest:
            errors.append(invalid(f"{path}[{i}]", name, _REQUEST))
            continue
        errors += [e for part in name.split("/") for e in _label(part, f"{path}[{i}]")]
        if head not in known or (slash and rest not in known[head]):
            errors.append(invalid(f"{path}[{i}]", name, _REQUEST))
    return errors + _unique(given, path)


def _constraint(known: Known, one: Json, path: str) -> list[FieldError]:
    errors = _named_requests(one.get("requests") or [], f"{path}.requests", known)
    for field in ("matchAttribute", "distinctAttribute"):
        if one.get(field) is not None:
            return errors + _qualified(one[field], f"{path}.{field}")
    return [*errors, required(f"{path}.matchAttribute")]


def _qualified(name: str, path: str) -> list[FieldError]:
    """A domain and a C identifier."""
    if not name:
        return [required(path)]
    domain, slash, rest = name.partition("/")
    if not slash:
        return [invalid(path, name, "must include a domain")]
    errors = meta.named(path, domain, names.dns_subdomain)
    return errors + ([] if _C_NAME.fullmatch(rest) else [invalid(path, rest, _C_WANTED)])


_C_WANTED = (
    f"{_C_PATTERN}characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is "
    f"'{_C_NAME.pattern}')"
)


def _configuration(known: Known, one: Json, path: str) -> list[FieldError]:
    errors = _named_requests(one.get("requests") or [], f"{path}.requests", known)
    return errors + _opaque(one, path)


def _opaque(one: Json, path: str, *, stored: bool = False) -> list[FieldError]:
    """What is for the driver alone; `stored`: it was there before, and may be as long as it was."""
    given, path = one.get("opaque"), f"{path}.opaque"
    if given is None:
        return [required(path)]
    errors = csi_driver(given.get("driver") or "", f"{path}.driver")
    parameters = given.get("parameters")
    if parameters is None:
        return [*errors, required(f"{path}.parameters")]
    if not stored and len(orjson.dumps(parameters)) > _PARAMETERS_BYTES:
        return [*errors, too_long(f"{path}.parameters", _PARAMETERS_BYTES)]
    if not isinstance(parameters, dict):
        return [*errors, invalid(f"{path}.parameters", "<value omitted>", "must be a valid JSON object")]
    return errors


def device_class(obj: Json, old: Json | None) -> list[FieldError]:
    """resource.k8s.io/v1 DeviceClass."""
    spec, had = obj["spec"], ((old or {}).get("spec") or {}).get("config") or []
    errors = _several(spec.get("selectors") or [], "spec.selectors", _MOST, _selector)
    given = spec.get("config") or []
    return errors + _several(given, "spec.config", _MOST, partial(_opaque, stored=given == had))


def resource_slice(obj: Json, old: Json | None) -> list[FieldError]:
    """resource.k8s.io/v1 ResourceSlice: devices of one driver, and which nodes reach them."""
    spec = obj["spec"]
    errors = csi_driver(spec.get("driver") or "", "spec.driver") + _pool(spec.get("pool") or {}, "spec.pool")
    if old is not None:
        before = old.get("spec") or {}
        pool, was = (spec.get("pool") or {}).get("name"), (before.get("pool") or {}).get("name")
        errors += meta.immutable("spec.pool.name", pool, was)
        for field in ("driver", "nodeName"):
            errors += meta.immutable(f"spec.{field}", spec.get(field), before.get(field))
    return errors + _place(spec) + _devices(spec)


def _pool(pool: Json, path: str) -> list[FieldError]:
    name = pool.get("name") or ""
    errors = [] if name else [required(f"{path}.name")]
    if len(name.encode()) > _POOL_BYTES:
        errors.append(too_long(f"{path}.name", _POOL_BYTES))
    for part in name.split("/") if name else ():
        errors += all_invalid(f"{path}.name", part, names.dns_subdomain(part))
    if (pool.get("resourceSliceCount") or 0) <= 0:
        errors.append(invalid(f"{path}.resourceSliceCount", pool.get("resourceSliceCount") or 0, _ABOVE_ZERO))
    return errors + meta.not_negative(pool, "generation", path=path)


_ABOVE_ZERO = "must be greater than zero"


def _place(spec: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    name, selector = spec.get("nodeName"), spec.get("nodeSelector")
    told = []
    if name == "":
        errors.append(invalid("spec.nodeName", name, "must be either unset or set to a non-empty string"))
    elif name is not None:
        told.append("`nodeName`")
        errors += all_invalid("spec.nodeName", name, names.dns_subdomain(name))
    if selector is not None:
        told.append("`nodeSelector`")
        errors += node_selector(selector, "spec.nodeSelector")
    for field in ("allNodes", "perDeviceNodeSelection"):
        if spec.get(field):
            told.append(f"`{field}`")
        elif spec.get(field) is not None:
            errors.append(invalid(f"spec.{field}", False, "must be either unset or set to true"))
    if not told:
        errors.append(required("spec", _ONE_PLACE))
    elif len(told) > 1:
        errors.append(invalid("spec", f"{{{', '.join(told)}}}", f"{_ONE_PLACE}, but multiple fields are set"))
    return errors


def _devices(spec: Json) -> list[FieldError]:
    given = spec.get("devices") or []
    advanced = any(one.get("taints") or one.get("consumesCounters") for one in given)
    most = _MOST_TAINTED if advanced else _MOST_DEVICES
    errors = _several(given, "spec.devices", most, lambda one, path: _label(one.get("name") or "", f"{path}.name"))
    return errors + _unique([one.get("name") or "" for one in given], "spec.devices", ".name")

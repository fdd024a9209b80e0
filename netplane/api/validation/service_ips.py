"""clusterIPs, ipFamilies and ipFamilyPolicy of a Service: right in themselves, and unchanged once set.

Source: ValidateServiceClusterIPsRelatedFields and the upgrade and downgrade rules of KEP-563 (dual stack).
"""

from typing import Any

from netplane.api import addresses
from netplane.api.fields import FieldError, all_invalid, duplicate, invalid, not_supported, repeated, required

Json = dict[str, Any]

FAMILIES = frozenset({"IPv4", "IPv6"})
POLICIES = frozenset({"SingleStack", "PreferDualStack", "RequireDualStack"})
MOST = 2
_UNCHANGED = "may not change once set"


def headless(spec: Json) -> bool:
    """Whether it asked for no address."""
    return (spec.get("clusterIPs") or [spec.get("clusterIP")]) == ["None"]


def family(ip: str) -> str:
    """IPv4 or IPv6."""
    return "IPv6" if ":" in ip else "IPv4"


def validate(spec: Json) -> list[FieldError]:
    """All that is wrong with addresses and families, empty ones being allocated later."""
    if spec.get("type") == "ExternalName":
        return []
    ips: list[str] = spec.get("clusterIPs") or []
    bad = _addresses(ips)
    errors = [*_first(spec, ips), *_families(spec), *bad]
    if len(ips) > MOST:
        errors.append(invalid("spec.clusterIPs", ips, f"may only hold up to {MOST} values"))
    if bad:
        return errors
    if len(ips) > 1 and {family(ip) for ip in ips} != FAMILIES:
        errors.append(invalid("spec.clusterIPs", ips, "may specify no more than one IP for each IP family"))
    return errors + _matching(spec, ips)


def _first(spec: Json, ips: list[str]) -> list[FieldError]:
    single = spec.get("clusterIP") or ""
    if single and not ips:
        return [required("spec.clusterIPs")]
    if single and ips[0] != single:
        return [invalid("spec.clusterIPs", ips, "first value must match `clusterIP`")]
    if ips and not single:
        return [invalid("spec.clusterIPs", ips, "must be empty when `clusterIP` is not specified")]
    return []


def _families(spec: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    families = spec.get("ipFamilies") or []
    for i, (one, again) in enumerate(zip(families, repeated(families), strict=True)):
        if one not in FAMILIES:
            errors.append(not_supported(f"spec.ipFamilies[{i}]", one, FAMILIES))
        if again:
            errors.append(duplicate(f"spec.ipFamilies[{i}]", one))
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in POLICIES:
        errors.append(not_supported("spec.ipFamilyPolicy", policy, POLICIES))
    return errors


def _addresses(ips: list[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, ip in enumerate(ips):
        if (i, ip) != (0, "None"):
            errors += all_invalid(f"spec.clusterIPs[{i}]", ip, addresses.ip(ip))
        elif len(ips) > 1:
            errors.append(invalid("spec.clusterIPs", ips, "'None' must be the first and only value"))
    return errors


def _matching(spec: Json, ips: list[str]) -> list[FieldError]:
    if headless(spec):
        return []
    return [
        invalid(f"spec.clusterIPs[{i}]", ip, f"expected an {want} value as indicated by `ipFamilies[{i}]`")
        for i, (ip, want) in enumerate(zip(ips, spec.get("ipFamilies") or (), strict=False))
        if want in FAMILIES and family(ip) != want
    ]


def changes(spec: Json, old: Json) -> list[FieldError]:
    """A second address or family may come and go, nothing else may change, except from and to ExternalName."""
    if "ExternalName" in (spec.get("type"), old.get("type")):
        return []
    was, now = headless(old), headless(spec)
    errors = [] if was and now else _changed(spec, old, "clusterIPs", "clusterIP")
    return errors if was or now else errors + _changed(spec, old, "ipFamilies", "ipFamily")


def _changed(spec: Json, old: Json, field: str, word: str) -> list[FieldError]:
    """What is wrong with the new list. The real server shows the addresses when the number of families changed."""
    now, was, ips = spec.get(field) or [], old.get(field) or [], spec.get("clusterIPs") or []
    path = f"spec.{field}"
    if len(now) == len(was):
        at = [i for i, (a, b) in enumerate(zip(now, was, strict=True)) if a != b]
        return [invalid(f"{path}[{i if field == 'clusterIPs' else 0}]", now, _UNCHANGED) for i in at]
    errors: list[FieldError] = []
    if len(now) < len(was) and not ips:
        errors.append(invalid(f"{path}[0]", now, f"primary {word} can not be unset"))
    if now and was and now[0] != was[0]:
        errors.append(invalid(f"{path}[0]", ips, _UNCHANGED))
    policy = spec.get("ipFamilyPolicy")
    if len(was) > len(now) == 1 and policy != "SingleStack":
        why = f"must be set to 'SingleStack' when releasing the secondary {word}"
        errors.append(invalid("spec.ipFamilyPolicy", policy, why))
    return errors

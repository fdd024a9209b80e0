"""metadata: names, labels, annotations, finalizers, owners; and the checks that many kinds share.

Source: k8s.io/apimachinery/pkg/api/validation (release 1.36).
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from netplane.api import addresses, names
from netplane.api.fields import FieldError, all_invalid, forbidden, invalid, not_supported, required, too_long

Json = dict[str, Any]
NameCheck = Callable[[str, bool], list[str]]

ANNOTATIONS_BYTES = 256 * 1024
IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
"""What a taint does, and a toleration lets be."""
_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})


def _masked(check: Callable[[str], list[str]]) -> NameCheck:
    """A check of names; of a prefix (generateName) a trailing dash is fine, since letters follow."""

    def masked(name: str, prefix: bool) -> list[str]:
        return check(name[:-2] + "a" if prefix and len(name) > 1 and name.endswith("-") else name)

    return masked


subdomain = _masked(names.dns_subdomain)
label = _masked(names.dns_label)
segment = _masked(names.path_segment)


def create(metadata: Json, namespaced: bool, name_check: NameCheck) -> list[FieldError]:
    """All that is wrong with the metadata of a new object."""
    errors: list[FieldError] = []
    if prefix := metadata.get("generateName"):
        errors += all_invalid("metadata.generateName", prefix, name_check(prefix, True))
    if name := metadata.get("name"):
        errors += all_invalid("metadata.name", name, name_check(name, False))
    else:
        errors.append(required("metadata.name", "name or generateName is required"))
    errors += _namespace(metadata.get("namespace") or "", namespaced)
    errors += not_negative(metadata, "generation", path="metadata") + _common(metadata)
    given = metadata.get("finalizers")
    return errors + _finalizers(given) + standard_finalizers(given) if given else errors


def _namespace(namespace: str, namespaced: bool) -> list[FieldError]:
    if not namespaced:
        return [forbidden("metadata.namespace", "not allowed on this type")] if namespace else []
    if not namespace:
        return [required("metadata.namespace")]
    return all_invalid("metadata.namespace", namespace, names.dns_label(namespace))


def _common(metadata: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    if given := metadata.get("labels"):
        errors += labels(given, "metadata.labels")
    if given := metadata.get("annotations"):
        errors += annotations(given)
    if given := metadata.get("ownerReferences"):
        errors += _owners(given)
    return errors


def update(metadata: Json, old: Json) -> list[FieldError]:
    """All that is wrong with changed metadata."""
    errors: list[FieldError] = []
    if old.get("deletionTimestamp"):
        added = sorted(set(metadata.get("finalizers") or ()) - set(old.get("finalizers") or ()))
        if added:
            listed = ", ".join(f'"{one}"' for one in added)
            why = "no new finalizers can be added if the object is being deleted, found new finalizers"
            errors.append(forbidden("metadata.finalizers", f"{why} []string{{{listed}}}"))
    for field in ("name", "namespace", "uid", "creationTimestamp"):
        errors += immutable(f"metadata.{field}", metadata.get(field), old.get(field))
    if (metadata.get("generation") or 0) < (old.get("generation") or 0):
        errors.append(invalid("metadata.generation", metadata.get("generation") or 0, "must not be decremented"))
    return errors + _common(metadata) + standard_finalizers(metadata.get("finalizers") or [])


def labels(given: Mapping[str, str] | None, path: str) -> list[FieldError]:
    """Keys and values of labels, or of a map that selects by them."""
    errors: list[FieldError] = []
    for key, value in sorted((given or {}).items()):
        if bad := names.qualified_name(key):
            errors += all_invalid(path, key, bad)
        if bad := names.label_value(value):
            errors += all_invalid(path, value, bad)
    return errors


def annotations(given: Mapping[str, str], path: str = "metadata.annotations") -> list[FieldError]:
    """Keys are qualified names in any case; all of it together is bounded."""
    errors = [error for key in sorted(given) for error in all_invalid(path, key, names.qualified_name(key.lower()))]
    if sum(len(key.encode()) + len(value.encode()) for key, value in given.items()) > ANNOTATIONS_BYTES:
        errors.append(too_long(path, ANNOTATIONS_BYTES))
    return errors


def _finalizers(given: list[str]) -> list[FieldError]:
    path = "metadata.finalizers"
    errors = [error for one in given for error in all_invalid(path, one, names.qualified_name(one))]
    if "orphan" in given and "foregroundDeletion" in given:
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        errors.append(invalid(path, given, why))
    return errors


def standard_finalizers(given: list[str]) -> list[FieldError]:
    """Which of them are neither Kubernetes' own nor somebody's by name."""
    return [e for i, one in enumerate(given) for e in standard_finalizer(one, f"metadata.finalizers[{i}]")]


def standard_finalizer(name: str, path: str) -> list[FieldError]:
    """The same for one."""
    why = "name is neither a standard finalizer name nor is it fully qualified"
    return [invalid(path, name, why)] if "/" not in name and name not in _STANDARD_FINALIZERS else []


def _owners(given: list[Json]) -> list[FieldError]:
    path = "metadata.ownerReferences"
    errors: list[FieldError] = []
    controllers: list[str] = []
    for owner in given:
        version = (owner.get("apiVersion") or "").rpartition("/")[2]
        if not version:
            errors.append(invalid(f"{path}.apiVersion", owner.get("apiVersion", ""), "version must not be empty"))
        missing = [field for field in ("kind", "name", "uid") if not owner.get(field)]
        errors += [invalid(f"{path}.{field}", "", "must not be empty") for field in missing]
        if (owner.get("apiVersion"), owner.get("kind")) == ("v1", "Event"):
            errors.append(invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner"))
        if owner.get("controller"):
            controllers.append(f"{owner.get('kind', '')}/{owner.get('name', '')}")
    if len(controllers) > 1:
        why = 'Only one reference can have Controller set to true. Found "true" in references for'
        errors.append(invalid(path, given, f"{why} {controllers[0]} and {controllers[1]}"))
    return errors


def not_negative(given: Json, *fields: str, path: str) -> list[FieldError]:
    """Numbers that may be absent or zero."""
    return [invalid(_join(path, one), given[one], NOT_NEGATIVE) for one in fields if (given.get(one) or 0) < 0]


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field


def immutable(path: str, value: Any, old: Any) -> list[FieldError]:
    """A field that may not change; absent and empty are the same."""
    return [] if (value or None) == (old or None) else [invalid(path, value, IMMUTABLE)]


def sealed(obj: Json, old: Json, *fields: str) -> list[FieldError]:
    """What of a ConfigMap or Secret that was `immutable` changed all the same; absent and empty are the same."""
    if not old.get("immutable"):
        return []
    why = "field is immutable when `immutable` is set"
    errors = [] if obj.get("immutable") else [forbidden("immutable", why)]
    return errors + [forbidden(one, why) for one in fields if (obj.get(one) or {}) != (old.get(one) or {})]


def domain_prefixed_path(value: str, path: str) -> list[FieldError]:
    """example.com/what: who gives a name, and the name."""
    if not value:
        return [required(path)]
    domain, _, rest = value.partition("/")
    if not domain or not rest:
        return [invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    errors = all_invalid(path, domain, names.dns_subdomain(domain))
    return errors + all_invalid(path, rest, names.http_path(rest))


def path_segment(value: str, path: str) -> list[FieldError]:
    """A required name that can be a part of a URL."""
    return named(path, value, names.path_segment)


def named(path: str, value: str, check: Callable[[str], list[str]]) -> list[FieldError]:
    """A required name, as `check` wants it."""
    return all_invalid(path, value, check(value)) if value else [required(path)]


def one_of(path: str, value: str | None, supported: Collection[str]) -> list[FieldError]:
    """A required field with a fixed set of values."""
    if not value:
        return [required(path)]
    return [] if value in supported else [not_supported(path, value, supported)]


PROTOCOLS = frozenset({"TCP", "UDP", "SCTP"})


def endpoint_ip(path: str, value: str) -> list[FieldError]:
    """An address that can be an endpoint: not one that means this host, this link or nothing."""
    if addresses.is_ordinary_ipv4(value):
        return []
    ip = addresses.lenient(value)
    if ip is None:
        return [invalid(path, value, "must be a valid IP address")]
    if ip.is_unspecified:
        return [invalid(path, value, f"may not be unspecified ({value})")]
    if ip.is_loopback:
        return [invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)")]
    if ip.is_link_local:
        return [invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")]
    if ip.is_multicast and (ip.packed[:3] == b"\xe0\x00\x00" or ip.packed[:2] == b"\xff\x02"):
        return [invalid(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")]
    return []

"""Ingress and IngressClass. Source: networking/v1 validation of Kubernetes 1.36."""

from typing import Any

from netplane.api import addresses, names
from netplane.api.fields import FieldError, all_invalid, forbidden, invalid, not_supported, required, too_long
from netplane.api.validation import meta

Json = dict[str, Any]

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_NOT_AT_END = ("/..", "/.")
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_MAX_CONTROLLER = 250
_NO_IP = "must be a DNS name, not an IP address"


def ingress(obj: Json, old: Json | None) -> list[FieldError]:
    """Rules, paths, backends; and the status that a balancer writes."""
    spec = obj.get("spec") or {}
    errors: list[FieldError] = []
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        errors.append(invalid("spec", spec.get("rules"), "either `defaultBackend` or `rules` must be specified"))
    if spec.get("defaultBackend") is not None:
        errors += _backend(spec["defaultBackend"], "spec.defaultBackend")
    for i, rule in enumerate(spec.get("rules") or ()):
        errors += _rule(rule, f"spec.rules[{i}]")
    for i, one in enumerate(spec.get("tls") or ()):
        errors += _tls(one, f"spec.tls[{i}]")
    name = spec.get("ingressClassName")
    errors += [] if name is None else all_invalid("spec.ingressClassName", name, names.dns_subdomain(name))
    errors += _class_twice(obj["metadata"], name) if old is None else []
    return errors + _status(obj, old)


def _class_twice(metadata: Json, name: str | None) -> list[FieldError]:
    given = (metadata.get("annotations") or {}).get(CLASS_ANNOTATION)
    if given is None or name is None or given == name:
        return []
    why = "must match `ingressClassName` when both are specified"
    return [invalid(f"annotations.{CLASS_ANNOTATION}", given, why)]


def _tls(one: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for j, host in enumerate(one.get("hosts") or ()):
        errors += all_invalid(f"{path}.hosts[{j}]", host, names.host(host))
    secret = one.get("secretName") or ""
    return errors + all_invalid(f"{path}.secretName", secret, names.dns_subdomain(secret) if secret else [])


def _rule(rule: Json, path: str) -> list[FieldError]:
    host, http = rule.get("host") or "", rule.get("http")
    errors: list[FieldError] = []
    if host:
        errors += [invalid(f"{path}.host", host, _NO_IP)] if addresses.parse(host) else []
        errors += all_invalid(f"{path}.host", host, names.host(host))
    if http is not None and not http.get("paths"):
        errors.append(required(f"{path}.http.paths"))
    for j, one in enumerate((http or {}).get("paths") or ()):
        errors += _path(one, f"{path}.http.paths[{j}]")
    return errors


def _path(one: Json, path: str) -> list[FieldError]:
    kind, text = one.get("pathType"), one.get("path") or ""
    if kind is None:
        return [required(f"{path}.pathType", "pathType must be specified")]
    errors: list[FieldError] = []
    if kind not in _PATH_TYPES:
        errors.append(not_supported(f"{path}.pathType", kind, _PATH_TYPES))
    elif not text.startswith("/") and (text or kind != "ImplementationSpecific"):
        errors.append(invalid(f"{path}.path", text, "must be an absolute path"))
    if kind in ("Exact", "Prefix"):
        bad = [one for one in _NOT_IN_PATHS if one in text]
        errors += [invalid(f"{path}.path", text, f"must not contain '{one}'") for one in bad]
        ends = [one for one in _NOT_AT_END if text.endswith(one)]
        errors += [invalid(f"{path}.path", text, f"cannot end with '{one}'") for one in ends]
    return errors + _backend(one.get("backend") or {}, f"{path}.backend")


def _backend(backend: Json, path: str) -> list[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return _reference(resource, f"{path}.resource")
    if service is None:
        return [invalid(path, "", "resource or service backend is required")]
    name = service.get("name") or ""
    where = f"{path}.service.name"
    errors = meta.named(where, name, names.dns_label)
    return errors + _backend_port(service.get("port") or {}, path)


def _backend_port(port: Json, path: str) -> list[FieldError]:
    name, number = port.get("name"), port.get("number")
    if name and number:
        return [invalid(path, "", "cannot set both port name & port number")]
    if name:
        return all_invalid(f"{path}.service.port.name", name, names.port_name(name))
    if number:
        return all_invalid(f"{path}.service.port.number", number, names.port(number))
    return [required(path, "port name or number is required")]


def _reference(to: Json, path: str) -> list[FieldError]:
    """An object in the same namespace or none, by group, kind and name."""
    group = to.get("apiGroup")
    errors = [] if group is None else all_invalid(f"{path}.apiGroup", group, names.dns_subdomain(group))
    for field in ("kind", "name"):
        errors += meta.path_segment(to.get(field) or "", f"{path}.{field}")
    return errors


def _status(obj: Json, old: Json | None) -> list[FieldError]:
    """Where it is reached; an address that was there before may stay."""
    known = {one.get("ip") for one in _balanced(old or {})}
    errors: list[FieldError] = []
    for i, one in enumerate(_balanced(obj)):
        path, ip, host = f"status.loadBalancer.ingress[{i}]", one.get("ip") or "", one.get("hostname") or ""
        errors += all_invalid(f"{path}.ip", ip, addresses.ip(ip)) if ip and ip not in known else []
        if host:
            errors += all_invalid(f"{path}.hostname", host, names.dns_subdomain(host))
            errors += [invalid(f"{path}.hostname", host, _NO_IP)] if addresses.parse(host) else []
    return errors


def _balanced(obj: Json) -> list[Json]:
    return ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []


def ingress_class(obj: Json, old: Json | None) -> list[FieldError]:
    """Its controller is given once."""
    spec = obj.get("spec") or {}
    controller = spec.get("controller") or ""
    errors: list[FieldError] = []
    if old is not None:
        errors += meta.immutable("spec.controller", controller, (old.get("spec") or {}).get("controller"))
    if len(controller.encode()) > _MAX_CONTROLLER:
        errors.append(too_long("spec.controller", _MAX_CONTROLLER))
    errors += meta.domain_prefixed_path(controller, "spec.controller")
    parameters = spec.get("parameters")
    return errors if parameters is None else errors + _parameters(parameters, "spec.parameters")


def _parameters(given: Json, path: str) -> list[FieldError]:
    errors = _reference(given, path)
    scope, namespace = given.get("scope"), given.get("namespace")
    if scope is None:
        return [*errors, required(f"{path}.scope")]
    if scope not in ("Cluster", "Namespace"):
        return [*errors, not_supported(f"{path}.scope", scope, ("Cluster", "Namespace"))]
    where = f"{path}.namespace"
    if scope == "Cluster":
        return errors + ([] if namespace is None else [forbidden(where, "`parameters.scope` is set to 'Cluster'")])
    if namespace is None:
        return [*errors, required(where, "`parameters.scope` is set to 'Namespace'")]
    return errors + all_invalid(where, namespace, names.dns_label(namespace))

"""What requests that are nearly right are made of: paths, bodies, and a row for a request with its refusal."""

from typing import Any, NamedTuple

NS = "/api/v1/namespaces/default"
CM, PODS, SERVICES = f"{NS}/configmaps", f"{NS}/pods", f"{NS}/services"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
JSON, YAML = "application/json", "application/yaml"
MERGE, STRATEGIC, JSON_PATCH = (
    f"application/{kind}+json" for kind in ("merge-patch", "strategic-merge-patch", "json-patch")
)
APPLY = "application/apply-patch+yaml"
TYPES = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
NO_METHOD = "the server does not allow this method on the requested resource"
NO_RESOURCE = "the server could not find the requested resource"
REJECTED = "the server rejected our request due to an error in our request"
META = (
    'Go value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; '
    'Kind string "json:\\"kind,omitempty\\"" }'
)
SPEC = {"containers": [{"name": "c", "image": "i"}]}


def config_map(name: str = "x", **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}


def binding(of: str = "p", **target: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": of}, "target": target}


def scale(name: str, replicas: Any) -> dict[str, Any]:
    head = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": name, "namespace": "default"}}
    return {**head, "spec": {"replicas": replicas}}


def options(**given: Any) -> dict[str, Any]:
    return {"kind": "DeleteOptions", "apiVersion": "v1", **given}


MADE: list[tuple[str, dict[str, Any]]] = [
    (CM, config_map()),
    (PODS, {"metadata": {"name": "p"}, "spec": SPEC}),
    (PODS, {"metadata": {"name": "bound"}, "spec": {**SPEC, "nodeName": "n"}}),
    (
        DEPLOYMENTS,
        {
            "metadata": {"name": "d"},
            "spec": {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": SPEC},
            },
        },
    ),
]


class Row(NamedTuple):
    """A request, and what must come back. `body` is bytes as they are, or JSON."""

    method: str
    path: str
    body: Any
    media: str
    code: int
    reason: str
    message: str


def get(path: str, code: int, reason: str, message: str) -> Row:
    return Row("GET", path, None, "", code, reason, message)


def bad(path: str, message: str) -> Row:
    return get(path, 400, "BadRequest", message)


def list_invalid(path: str, message: str) -> Row:
    return get(path, 422, "Invalid", f'ListOptions.meta.k8s.io "" is invalid: {message}')


def post(path: str, body: Any, code: int, reason: str, message: str, media: str = JSON) -> Row:
    return Row("POST", path, body, media, code, reason, message)


def patch(body: Any, media: str, code: int, reason: str, message: str, path: str = f"{CM}/x") -> Row:
    return Row("PATCH", path, body, media, code, reason, message)


def delete(path: str, body: Any, code: int, reason: str, message: str) -> Row:
    return Row("DELETE", path, body, JSON if body is not None else "", code, reason, message)


def put(path: str, body: Any, code: int, reason: str, message: str) -> Row:
    return Row("PUT", path, body, JSON, code, reason, message)


LABEL_SYNTAX = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with"

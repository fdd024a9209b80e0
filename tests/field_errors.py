"""What validation says of an object, once it is defaulted: the lines of a 422."""

import copy
from typing import Any

from netplane.api import defaults, validation
from netplane.api.kinds import Kind

Json = dict[str, Any]


def pod(**spec: Any) -> Json:
    """The least that a pod is, and so much more of its spec."""
    return {"spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


def container(**fields: Any) -> Json:
    return pod(containers=[{"name": "c", "image": "i", **fields}])


def volume(**source: Any) -> Json:
    return pod(volumes=[{"name": "v", **source}])


def made(kind: Kind, obj: Json) -> Json:
    """The object under the name x, defaulted."""
    obj = copy.deepcopy(obj)
    namespace = {"namespace": "n"} if kind.namespaced else {}
    obj["metadata"] = {"name": "x", **namespace, **obj.get("metadata", {})}
    defaults.apply(kind, obj)
    return obj


def problems(kind: Kind, obj: Json, old: Json | None = None, part: str = "") -> list[str]:
    """All that is wrong with an object, or with what it, or a part of it, would make of `old`."""
    found = validation.validate(kind, made(kind, obj), made(kind, old) if old is not None else None, part)
    return [str(error) for error in found]

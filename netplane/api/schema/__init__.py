"""OpenAPI v3 schemas of everything the apiserver serves, loaded when first asked for (about 10 ms).

The table is the API of Kubernetes 1.36, extracted by `build.py` when Netplane is built. Beside types it carries what
patches need: `x-kubernetes-patch-merge-key`, `x-kubernetes-patch-strategy`, `x-kubernetes-list-type`,
`x-kubernetes-list-map-keys`.
"""

import gzip
from functools import cache
from importlib.resources import files
from typing import Any

import orjson

from netplane.api.kinds import Kind

Json = dict[str, Any]

RELEASE = "v1.36"
_REF = "#/components/schemas/"


@cache
def definitions() -> dict[str, Json]:
    """Every schema by its name, for example `io.k8s.api.core.v1.Service`. Shared: do not change it."""
    packed = files(__package__).joinpath(f"{RELEASE}.json.gz").read_bytes()
    table: dict[str, Json] = orjson.loads(gzip.decompress(packed))
    return table


@cache
def _by_kind() -> dict[tuple[str, str, str], str]:
    return {
        (gvk["group"], gvk["version"], gvk["kind"]): name
        for name, schema in definitions().items()
        for gvk in schema.get("x-kubernetes-group-version-kind", ())
    }


def name_for(group: str, version: str, kind: str) -> str:
    """The name of the schema of a group, version and kind (also `ServiceList`). Raises KeyError."""
    return _by_kind()[group, version, kind]


def for_kind(kind: Kind) -> Json:
    """The schema of a served kind. Raises KeyError when the table does not carry it."""
    return definitions()[name_for(kind.group, kind.version, kind.kind)]


def reference(schema: Json) -> str:
    """The name of the definition that a schema refers to, plainly or inside allOf; "" for none."""
    ref = schema.get("$ref") or next((one["$ref"] for one in schema.get("allOf", ()) if "$ref" in one), "")
    return str(ref).removeprefix(_REF)


def resolve(schema: Json) -> Json:
    """The schema itself, or the definition it refers to."""
    name = reference(schema)
    return definitions()[name] if name else schema

"""Which form of an answer a client wants (Accept), and what it sends (Content-Type). Pure.

JSON is answered wherever it is accepted: it is at hand, and every client that prefers protobuf takes it too.
"""

from enum import Enum
from functools import lru_cache

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"


SPOKEN = (JSON, YAML, PROTOBUF)
_ANYTHING = frozenset({"*/*", "application/*", JSON})


@lru_cache(maxsize=256)
def output(accept: str) -> str:
    """The media type to answer in; "" when the client accepts none that is spoken."""
    found = ""
    for media in accept.split(",") if accept.strip() else (JSON,):
        base, parameters = split(media)
        if not (_transforms(parameters) if "as" in parameters else True):
            continue
        if base in _ANYTHING:
            return found if found == YAML else JSON
        if base in SPOKEN and not found and "as" not in parameters:
            found = base
    return found


def _transforms(parameters: dict[str, str]) -> bool:
    known = parameters["as"] in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
    return known and parameters.get("g") == "meta.k8s.io" and parameters.get("v") == "v1"


class Form(Enum):
    """How objects are shown."""

    OBJECT = "object"
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"


@lru_cache(maxsize=256)
def form(accept: str) -> Form:
    """The first form of the Accept header that is spoken; plain objects when none is named."""
    for media in accept.split(","):
        base, parameters = split(media)
        wanted = parameters.get("as", "")
        known = parameters.get("g") == "meta.k8s.io" and parameters.get("v") == "v1" and base == JSON
        if known and wanted == "Table":
            return Form.TABLE
        if known and wanted in ("PartialObjectMetadata", "PartialObjectMetadataList"):
            return Form.PARTIAL
        if not wanted and base in (JSON, "*/*", "application/*", PROTOBUF, YAML):
            return Form.OBJECT
    return Form.OBJECT


@lru_cache(maxsize=256)
def split(media: str) -> tuple[str, dict[str, str]]:
    """`application/json;as=Table` → (`application/json`, {"as": "Table"})."""
    base, *rest = (part.strip() for part in media.split(";"))
    parameters = dict(part.split("=", 1) for part in rest if "=" in part)
    return base.lower(), parameters

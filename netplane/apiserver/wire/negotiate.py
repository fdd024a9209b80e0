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
def output(accept: bytes) -> str:
    """The media type to answer in; "" when the client accepts none that is spoken."""
    found = ""
    for media in accept.decode("latin-1").split(",") if accept.strip() else (JSON,):
        base, parameters = split(media)
        if "as" in parameters and _transformed(parameters) is None:
            continue
        if base in _ANYTHING:
            return found if found == YAML else JSON
        if base in SPOKEN and not found and "as" not in parameters:
            found = base
    return found


class Form(Enum):
    """How objects are shown: the kind and the version of meta.k8s.io that they are put into."""

    OBJECT = ("", "")
    TABLE = ("Table", "v1")
    TABLE_BETA = ("Table", "v1beta1")
    PARTIAL = ("PartialObjectMetadata", "v1")
    PARTIAL_BETA = ("PartialObjectMetadata", "v1beta1")
    PARTIAL_LIST = ("PartialObjectMetadataList", "v1")
    PARTIAL_LIST_BETA = ("PartialObjectMetadataList", "v1beta1")

    def __init__(self, kind: str, version: str) -> None:
        self.kind = kind
        self.api_version = f"meta.k8s.io/{version}"
        self.is_table = kind == "Table"


def _transformed(parameters: dict[str, str]) -> Form | None:
    """The form that a media type's parameters ask for; None when it is not spoken."""
    wanted = (parameters.get("as", ""), parameters.get("v", ""))
    return _FORMS.get(wanted) if parameters.get("g") == "meta.k8s.io" else None


_FORMS = {one.value: one for one in Form if one is not Form.OBJECT}


@lru_cache(maxsize=256)
def form(accept: bytes) -> Form:
    """The first form of the Accept header that is spoken; plain objects when none is named."""
    for media in accept.decode("latin-1").split(","):
        base, parameters = split(media)
        if not parameters.get("as") and base in (JSON, "*/*", "application/*", PROTOBUF, YAML):
            return Form.OBJECT
        if base == JSON and (found := _transformed(parameters)) is not None:
            return found
    return Form.OBJECT


PEOPLE = (b"curl", b"Wget", b"Mozilla/5.0")
"""User agents of people, who read what they get."""


def pretty(wish: str | None, agent: bytes) -> bool:
    """Whether JSON is to be indented: as ?pretty says, or because people ask."""
    return wish.lower() in ("1", "t", "true") if wish else agent.startswith(PEOPLE)


@lru_cache(maxsize=256)
def base(media: bytes) -> str:
    """A media type without its parameters."""
    return split(media.decode("latin-1"))[0]


@lru_cache(maxsize=256)
def program(agent: bytes) -> str:
    """The first product of a user agent, without its version."""
    return agent.decode("latin-1").partition("/")[0]


@lru_cache(maxsize=256)
def split(media: str) -> tuple[str, dict[str, str]]:
    """`application/json;as=Table` → (`application/json`, {"as": "Table"})."""
    base, *rest = (part.strip() for part in media.split(";"))
    parameters = dict(part.split("=", 1) for part in rest if "=" in part)
    return base.lower(), parameters

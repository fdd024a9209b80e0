"""Which form of an answer a client wants (Accept), and what it sends (Content-Type). Pure.

JSON is answered wherever it is accepted: it is at hand, and every client that prefers protobuf takes it too.
"""

from enum import Enum
from typing import NamedTuple

from netplane.api import errors, remembering
from netplane.api.errors import StatusError

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
LONGEST = 1024
"""Header fields of any length come from who is not known yet."""


SPOKEN = (JSON, YAML, PROTOBUF)
_WATCHED = (f"{JSON};stream=watch", f"{PROTOBUF};stream=watch")


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


class Choice(NamedTuple):
    """What a client is answered in: the media type ("": it accepts none that is spoken) and the form of objects."""

    media: str
    form: Form


@remembering.short(256, LONGEST)
def choose(accept: bytes, *, tables: bool = True) -> Choice:
    """The best clause of an Accept header that can be served; of several that are equal the first.

    JSON is answered to who likes protobuf best, if JSON is accepted, too. `tables`: there are any of what is asked for.
    """
    found = Choice("", Form.OBJECT)
    if not _routed(accept):
        return found
    for wanted, parameters in _clauses(accept.decode("latin-1")):
        media = JSON if wanted in ("*/*", "application/*") else wanted
        shown = _shown(parameters)
        if media not in SPOKEN or shown is None or (shown.is_table and not tables):
            continue
        if media != PROTOBUF:
            return Choice(media, shown)
        if not found.media and shown is Form.OBJECT:
            found = Choice(media, shown)
    return found


def _routed(accept: bytes) -> bool:
    """Whether any clause names a media type as it is spelled, or all of them: no other pattern, no capitals."""
    clauses = accept.decode("latin-1").split(",")
    return not accept.strip() or any(one.partition(";")[0].strip() in _ROUTED for one in clauses)


_ROUTED = frozenset({"*/*", *SPOKEN})


def _clauses(accept: str) -> list[tuple[str, dict[str, str]]]:
    """Media types with their parameters, the most wanted first."""
    clauses = [split(one) for one in accept.split(",")] if accept.strip() else [(JSON, {})]
    return sorted(clauses, key=lambda clause: -_quality(clause[1].get("q", "1")))


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0


def _shown(parameters: dict[str, str]) -> Form | None:
    """The form that parameters ask for; None when it is not spoken."""
    if not any(parameters.get(name) for name in ("as", "g", "v")):
        return Form.OBJECT
    return _transformed(parameters)


def output(accept: bytes, *, tables: bool = True) -> str:
    """The media type to answer in; "" when the client accepts none that is spoken."""
    return choose(accept, tables=tables).media


def form(accept: bytes) -> Form:
    """The form of objects that the client wants."""
    return choose(accept).form


def refusal(accept: bytes, *, of_list: bool) -> StatusError:
    """406: of two parts of the real server, the first looks at media types alone, the second at their parameters."""
    if _routed(accept):
        return errors.not_acceptable(SPOKEN)
    listed = ", ".join((*SPOKEN, *(_WATCHED if of_list else ())))
    return StatusError(406, "NotAcceptable", f"406: Not Acceptable\n\nAvailable representations: {listed}", {})


PEOPLE = (b"curl", b"Wget", b"Mozilla/5.0")
"""User agents of people, who read what they get."""


def pretty(wish: str | None, agent: bytes) -> bool:
    """Whether JSON is to be indented: as ?pretty says, or because people ask."""
    return wish.lower() in ("1", "t", "true") if wish else agent.startswith(PEOPLE)


@remembering.short(256, LONGEST)
def base(media: bytes) -> str:
    """A media type without its parameters."""
    return split(media.decode("latin-1"))[0]


@remembering.short(256, LONGEST)
def program(agent: bytes) -> str:
    """The first product of a user agent, without its version."""
    return agent.decode("latin-1").partition("/")[0]


@remembering.short(256, LONGEST)
def split(media: str) -> tuple[str, dict[str, str]]:
    """`application/json;as=Table` → (`application/json`, {"as": "Table"})."""
    base, *rest = (part.strip() for part in media.split(";"))
    parameters = dict(part.split("=", 1) for part in rest if "=" in part)
    return base.lower(), parameters

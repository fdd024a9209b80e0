"""Field errors: which field of an object is wrong, how, and in which words.

Source: k8s.io/apimachinery/pkg/util/validation/field, whose message forms these are.
"""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from enum import Enum
from typing import Any, NamedTuple


class Problem(Enum):
    """(reason of the Status cause, words in the message)."""

    REQUIRED = ("FieldValueRequired", "Required value")
    INVALID = ("FieldValueInvalid", "Invalid value")
    NOT_SUPPORTED = ("FieldValueNotSupported", "Unsupported value")
    DUPLICATE = ("FieldValueDuplicate", "Duplicate value")
    FORBIDDEN = ("FieldValueForbidden", "Forbidden")
    NOT_FOUND = ("FieldValueNotFound", "Not found")
    TOO_LONG = ("FieldValueTooLong", "Too long")
    TOO_MANY = ("FieldValueTooMany", "Too many")
    TYPE_INVALID = ("FieldValueTypeInvalid", "Invalid value")
    INTERNAL = ("InternalError", "Internal error")


class FieldError(NamedTuple):
    """One thing wrong with one field. `field` is a path as users write it: `spec.ports[0].nodePort`."""

    problem: Problem
    field: str
    value: Any = None
    detail: str = ""

    def body(self) -> str:
        """The message without the field: `Invalid value: 80: provided port is …`."""
        words = self.problem.value[1]
        if self.problem not in _WITHOUT_VALUE and self.value is not OMITTED:
            words = f"{words}: {go_value(self.value)}"
        return f"{words}: {self.detail}" if self.detail else words

    def __str__(self) -> str:
        return f"{self.field}: {self.body()}"

    def cause(self) -> dict[str, str]:
        """As an entry of Status.details.causes."""
        return {"reason": self.problem.value[0], "message": self.body(), "field": self.field}


_WITHOUT_VALUE = frozenset({Problem.REQUIRED, Problem.FORBIDDEN, Problem.TOO_LONG, Problem.INTERNAL})


def go_value(value: Any) -> str:
    """A value as messages show it: strings quoted, the rest as compact JSON (Go escapes <, > and & in JSON)."""
    if isinstance(value, str):
        return go_quote(value)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


_ESCAPES = {
    '"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
}  # fmt: skip


def go_quote(text: str) -> str:
    """A string as Go's %q writes it: what cannot be seen is escaped."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def go_struct(given: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """An object under the names of Go's fields, as messages show it: Name=("name", "") is field and zero value."""
    return {name: given.get(field, zero) for name, (field, zero) in fields.items()}


def required(field: str, detail: str = "") -> FieldError:
    """`Required value[: detail]`."""
    return FieldError(Problem.REQUIRED, field, "", detail)


def invalid(field: str, value: Any, detail: str) -> FieldError:
    """`Invalid value: value: detail`."""
    return FieldError(Problem.INVALID, field, value, detail)


def invalid_as_such(field: str, detail: str) -> FieldError:
    """`Invalid value: detail`, about a part that is too large to be shown."""
    return FieldError(Problem.INVALID, field, OMITTED, detail)


OMITTED = object()
"""The value of an error that shows none."""


def not_supported(field: str, value: Any, supported: Iterable[str]) -> FieldError:
    """`Unsupported value: "x": supported values: "a", "b"`; sets are listed in order, sequences as given."""
    ordered = sorted(supported) if isinstance(supported, Set) else supported
    listed = ", ".join(go_value(one) for one in ordered)
    return FieldError(Problem.NOT_SUPPORTED, field, value, f"supported values: {listed}" if listed else "")


def duplicate(field: str, value: Any) -> FieldError:
    """`Duplicate value: value`."""
    return FieldError(Problem.DUPLICATE, field, value)


def forbidden(field: str, detail: str) -> FieldError:
    """`Forbidden: detail`."""
    return FieldError(Problem.FORBIDDEN, field, "", detail)


def not_found(field: str, value: Any) -> FieldError:
    """`Not found: value`."""
    return FieldError(Problem.NOT_FOUND, field, value)


def too_long(field: str, limit: int) -> FieldError:
    """`Too long: may not be more than N bytes`."""
    return FieldError(Problem.TOO_LONG, field, "", f"may not be more than {limit} bytes")


def too_many(field: str, have: int, limit: int) -> FieldError:
    """`Too many: N: must have at most M items`."""
    return FieldError(Problem.TOO_MANY, field, have, f"must have at most {limit} item{'' if limit == 1 else 's'}")


def internal(field: str, detail: str) -> FieldError:
    """`Internal error: detail`."""
    return FieldError(Problem.INTERNAL, field, "", detail)


def repeated(given: Iterable[Hashable]) -> list[bool]:
    """Of each entry whether it was there before; in one pass, for lists are as long as clients like."""
    seen: set[Hashable] = set()
    again: list[bool] = []
    for one in given:
        again.append(one in seen)
        seen.add(one)
    return again


def all_invalid(field: str, value: Any, details: Sequence[str]) -> list[FieldError]:
    """One error per message of a check such as `names.dns_label`."""
    return [invalid(field, value, detail) for detail in details]

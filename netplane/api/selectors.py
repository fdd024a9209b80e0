"""Label and field selectors: text to a predicate.

    labels    a=b  a==b  a!=b  a in (x,y)  a notin (x,y)  a  !a  a>1  a<1     all comma-separated, all must hold
    fields    metadata.name=x  status.phase!=Running

A requirement about a missing label holds for `!=`, `notin` and `!key` only. Syntax errors carry Kubernetes' words and
are answered with 400. Source: k8s.io/apimachinery/pkg/labels and pkg/fields.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from netplane.api import fields, names, remembering
from netplane.api.errors import StatusError, bad_request

Operator = Literal["=", "!=", "in", "notin", "exists", "!", "gt", "lt"]


class Requirement(NamedTuple):
    """One term of a selector. `values` are sorted and without repetition."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether it holds for these labels."""
        value = labels.get(self.key)
        if self.operator in ("=", "in"):
            return value in self.values
        if self.operator in ("!=", "notin"):
            return value not in self.values
        if self.operator in ("exists", "!"):
            return (value is not None) == (self.operator == "exists")
        if value is None or not _INTEGER.fullmatch(value):
            return False
        bound = int(self.values[0])
        return int(value) > bound if self.operator == "gt" else int(value) < bound


class Labels(NamedTuple):
    """A parsed label selector; without requirements it matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """Whether all requirements hold; an object without labels may be given as None."""
        return all(requirement.matches(labels or {}) for requirement in self.requirements)


class Fields(NamedTuple):
    """A parsed field selector: (field, equal?, value) terms; without terms it matches everything."""

    terms: tuple[tuple[str, bool, str], ...] = ()

    def matches(self, values: Mapping[str, str]) -> bool:
        """Whether all terms hold; a field that is absent counts as the empty string."""
        return all((values.get(field, "") == value) is equal for field, equal, value in self.terms)

    def exact(self, field: str) -> str | None:
        """The one value that `field` must have, if the selector says so (lets a read go to one object)."""
        return next((value for name, equal, value in self.terms if name == field and equal), None)


_INTEGER = re.compile(r"[+-]?[0-9]+")
_TOKEN = re.compile(r"[ \t\r\n]*(?:(==|!=|[=!(),<>])|([^ \t\r\n=!(),<>]+)|$)")
_OPERATORS = "in, notin, =, ==, !=, gt, lt"


@remembering.short(1024, 1024)
def parse_labels(text: str) -> Labels:
    """Parse a label selector. Raises StatusError (400) with Kubernetes' message."""
    return Labels(tuple(_LabelParser(text).requirements()))


class _LabelParser:
    """Recursive descent over (token, is it a word?) pairs; the end is an empty token."""

    def __init__(self, text: str) -> None:
        self._tokens = [(symbol or word, not symbol) for symbol, word in _TOKEN.findall(text) if symbol or word]
        self._at = 0

    def _peek(self) -> tuple[str, bool]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", False)

    def _next(self) -> tuple[str, bool]:
        found = self._peek()
        self._at += 1
        return found

    def requirements(self) -> Iterator[Requirement]:
        found, word = self._peek()
        if found and not word and found != "!":
            raise bad_request(f"found '{found}', expected: !, identifier, or 'end of string'")
        while self._peek()[0]:
            yield self._requirement()
            found, _ = self._next()
            if found and found != ",":
                raise bad_request(f"found '{found}', expected: ',' or 'end of string'")
            after, word = self._peek()
            if found == "," and not word and after != "!":
                raise bad_request(f"found '{after}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        negated = self._peek()[0] == "!" and bool(self._next())
        key, word = self._next()
        if not word:
            raise _unparsable(f"found '{key}', expected: identifier")
        _check("<nil>", key, names.qualified_name(key))
        if negated:
            return Requirement(key, "!")
        if self._peek()[0] in ("", ","):
            return Requirement(key, "exists")
        return self._with_operator(key, self._next()[0])

    def _with_operator(self, key: str, found: str) -> Requirement:
        if found in ("in", "notin"):
            values = tuple(sorted(set(self._values())))
            return _checked(Requirement(key, "in" if found == "in" else "notin", values))
        if found in ("=", "=="):
            return _checked(Requirement(key, "=", (self._value(),)))
        if found == "!=":
            return _checked(Requirement(key, "!=", (self._value(),)))
        if found in ("<", ">"):
            return _checked(Requirement(key, "gt" if found == ">" else "lt", (self._value(),)))
        raise _unparsable(f"found '{found}', expected: {_OPERATORS}")

    def _value(self) -> str:
        found, word = self._peek()
        if found in ("", ","):
            return ""
        if not word:
            raise _unparsable(f"found '{found}', expected: identifier")
        return self._next()[0]

    def _values(self) -> Iterator[str]:
        found, _ = self._next()
        if found != "(":
            raise _unparsable(f"found '{found}' expected: '('")
        while True:  # each turn reads one value, which may be empty, and what ends it
            found, word = self._peek()
            if word:
                yield self._next()[0]
            elif found in (",", ")"):
                yield ""
            else:
                raise _unparsable(f"found '{found}', expected: ',', ')' or identifier")
            found, _ = self._next()
            if found == ")":
                return
            if found != ",":
                raise _unparsable(f"found '{found}', expected: ',' or ')'")


def _checked(requirement: Requirement) -> Requirement:
    if requirement.operator in ("gt", "lt") and not _INTEGER.fullmatch(requirement.values[0]):
        why = "for 'Gt', 'Lt' operators, the value must be an integer"
        raise _unparsable(str(fields.invalid("values[0]", requirement.values[0], why)))
    for i, value in enumerate(requirement.values):
        _check(f"values[{i}][{requirement.key}]", value, names.label_value(value))
    return requirement


def _check(path: str, value: str, problems: list[str]) -> None:
    if problems:
        raise _unparsable(str(fields.invalid(path, value, "; ".join(problems))))


def _unparsable(why: str) -> StatusError:
    return bad_request(f"unable to parse requirement: {why}")


@remembering.short(1024, 1024)
def parse_fields(text: str) -> Fields:
    r"""Parse a field selector; `\\`, `\,` and `\=` stand for themselves in values. Raises StatusError (400)."""
    terms = [term for term in re.findall(r"(?:\\.|[^,\\]|\\$)+", text) if term]
    return Fields(tuple(_field_term(term, text) for term in sorted(terms)))


def _field_term(term: str, text: str) -> tuple[str, bool, str]:
    match = re.match(r"([^=!]*?)(!=|==|=)(.*)", term, re.DOTALL)
    if not match:
        raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
    field, operator, value = match.groups()
    if bad := re.search(r"\\([^\\,=]|$)", re.sub(r"\\[\\,=]", "", value)):
        raise bad_request(f"invalid field selector: invalid escape sequence: {bad[0]}")
    if "=" in re.sub(r"\\.", "", value):
        raise bad_request(f"invalid field selector: unescaped character in value: {ord('=')}")
    return field, operator != "!=", re.sub(r"\\(.)", r"\1", value)


def from_label_selector(selector: Mapping[str, object] | None) -> Labels:
    """A LabelSelector object (matchLabels, matchExpressions) as a predicate; None matches nothing in Kubernetes.

    Callers decide what None means. Raises StatusError (400) for an unknown operator.
    """
    selector = selector or {}
    equal = selector.get("matchLabels")
    expressions = selector.get("matchExpressions")
    found = [Requirement(k, "=", (str(v),)) for k, v in sorted(equal.items())] if isinstance(equal, Mapping) else []
    for one in expressions if isinstance(expressions, list) else ():
        operator = _EXPRESSIONS.get(one.get("operator", ""))
        if operator is None:
            raise bad_request(f'"{one.get("operator", "")}" is not a valid label selector operator')
        found.append(Requirement(one.get("key", ""), operator, tuple(sorted(one.get("values") or ()))))
    return Labels(tuple(found))


_EXPRESSIONS: dict[str, Operator] = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}

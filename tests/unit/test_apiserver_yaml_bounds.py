"""YAML that would end the process, or never end, is refused before it is built."""

import pytest

from netplane.apiserver.wire import bodies
from netplane.apiserver.wire.yaml_bounds import MAX_DEPTH

LAUGHS = b"a: &a [x]\n" + b"".join(
    b"%c: &%c [%b]\n" % (letter, letter, b",".join([b"*%c" % (letter - 1)] * 10)) for letter in b"bcdefghijklm"
)
DEEP = f"exceeded max depth of {MAX_DEPTH}"
INDENTED = b"".join(b" " * depth + b"a:\n" for depth in range(MAX_DEPTH + 1))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"- " * 200_000, DEEP),
        (b"[" * 200_000, DEEP),
        (b"{a: " * 200_000, DEEP),
        (b"? " * 200_000, DEEP),
        (INDENTED, DEEP),
        (("[" * 200_000).encode("utf-16"), DEEP),
        (b"a: &a [*a]", "anchor 'a' value contains itself"),
        (b"a: &a {b: [1, *a]}", "anchor 'a' value contains itself"),
        (LAUGHS, "document contains excessive aliasing"),
        (b"a: *b", "found undefined alias"),
    ],
    ids=[
        "lists",
        "flow lists",
        "flow maps",
        "keys",
        "indented",
        "utf-16",
        "itself",
        "deep in itself",
        "laughs",
        "none",
    ],
)
def test_what_must_not_be_built_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=f"^error converting YAML to JSON: yaml: {why}$"):
        bodies.yaml_value(raw)


def test_what_can_be_built_is() -> None:
    assert bodies.yaml_value(b"a: &a [1]\nb: *a\nc: &c 2\nd: [*c, *c]") == {"a": [1], "b": [1], "c": 2, "d": [2, 2]}
    assert bodies.yaml_value(b"- -\n" * 2000) == [[None]] * 2000
    many = b"a: &a {x: 1}\nb: [%b]" % b", ".join([b"*a"] * 300)
    assert bodies.yaml_value(many) == {"a": {"x": 1}, "b": [{"x": 1}] * 300}
    assert bodies.yaml_value(b"a: 1\n---\n" + b"- " * 200_000) == {"a": 1}  # what follows is not read


def test_keys_that_are_given_twice_are_those_of_the_first_document() -> None:
    assert bodies.yaml_duplicates(b"a: 1\na: 2\n---\nb: 1\nb: 2\n") == ['line 2: key "a" already set in map']
    assert bodies.yaml_duplicates(b"# nothing") == []

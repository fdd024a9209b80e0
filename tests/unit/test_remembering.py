"""Answers to short texts are remembered, however many are asked for; long ones are not."""

from collections.abc import Callable
from typing import Any

import pytest

from netplane.api import addresses, remembering, selectors
from netplane.apiserver.wire import negotiate


def test_short_texts_are_answered_from_memory() -> None:
    asked: list[str] = []

    @remembering.short(2, 3)
    def double(text: str, *, more: str = "") -> str:
        """Twice."""
        asked.append(text)
        return 2 * text + more

    assert [double(text) for text in ("abc", "abc", "abcd", "abcd", "a", "b", "abc")] == [
        "abcabc", "abcabc", "abcdabcd", "abcdabcd", "aa", "bb", "abcabc",
    ]  # fmt: skip
    assert asked == ["abc", "abcd", "abcd", "a", "b", "abc"]
    assert (double("a", more="!"), double.__doc__) == ("aa!", "Twice.")


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (negotiate.choose, b"text/plain, " * 1000),
        (negotiate.base, b"application/json;" + b"a" * 10_000),
        (negotiate.program, b"kubectl/" + b"a" * 10_000),
        (negotiate.split, "a/b;" + "c=d;" * 10_000),
        (addresses.parse, "::" + "1" * 10_000),
        (selectors.parse_labels, "a=b," * 10_000 + "a=b"),
        (selectors.parse_fields, "a=b," * 10_000 + "a=b"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_clients_send_is_not_kept_whatever_its_length(function: Callable[[Any], object], text: object) -> None:
    (kept,) = [cell.cell_contents for cell in function.__closure__ or () if hasattr(cell.cell_contents, "cache_info")]
    before = kept.cache_info()
    assert function(text) == function(text)
    assert kept.cache_info() == before

"""JSON in the words of Go's decoder."""

import math

import pytest

from netplane.api import go_json


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "unexpected end of JSON input"),
        (b'{"a":1', "unexpected end of JSON input"),
        (b"}", "invalid character '}' looking for beginning of value"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b"\xef\xbb\xbf{}", "invalid character '\u00ef' looking for beginning of value"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b"{'a':1}", "invalid character '\\'' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 2}', "invalid character '2' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"{} x", "invalid character 'x' after top-level value"),
        (b"01", "invalid character '1' after top-level value"),
        (b'"a\n"', "invalid character '\\n' in string literal"),
        (b'"\x01"', "invalid character '\\x01' in string literal"),
        (b'"\\x"', "invalid character 'x' in string escape code"),
        (b'"\\u00"', "invalid character '\"' in \\u hexadecimal character escape"),
        (b"tru}", "invalid character '}' in literal true (expecting 'e')"),
        (b"-}", "invalid character '}' in numeric literal"),
        (b"1.}", "invalid character '}' after decimal point in numeric literal"),
        (b"1e+}", "invalid character '}' in exponent of numeric literal"),
        (b"[" * 10_001, "exceeded max depth"),
        (b"[" * 9_999 + b"]" * 9_999, "exceeded max depth"),  # Go takes it; Python's own decoder goes less deep
    ],
)
def test_what_is_no_json(text: bytes, problem: str) -> None:
    with pytest.raises(go_json.GoJSONError) as caught:
        go_json.loads(text)
    assert str(caught.value) == problem


def test_numbers_of_any_length() -> None:
    assert go_json.loads(b"[12, -1%s, 1e9999]" % (b"0" * 5_000)) == [12, -math.inf, math.inf]


def test_what_only_go_takes() -> None:
    assert go_json.loads(b'{"a":"\\ud800","b":["\xff","\\ud83d\\ude00"],"c":{}}') == {
        "a": "\ufffd", "b": ["\ufffd", "\U0001f600"], "c": {},
    }  # fmt: skip


def test_numbers_of_any_size() -> None:
    texts = ["1" * 5000, "1e999", str(2**64), str(2**64 - 1), str(-(2**63)), str(-(2**63) - 1)]
    numbers = go_json.loads(f"[{','.join(texts)}]".encode())
    assert numbers == [math.inf, math.inf, 2.0**64, 2**64 - 1, -(2**63), -(2.0**63)]
    assert [type(one) for one in numbers] == [float, float, float, int, int, float]

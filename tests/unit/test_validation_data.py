"""Secrets and ConfigMaps: what their data may be, and how much of it there may be."""

import base64

import pytest

from netplane.api import kinds
from tests.field_errors import problems


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{}", ""), ("null", ""), ("", "unexpected end of JSON input"), ("{", "unexpected end of JSON input"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
        ("{} x", "invalid character 'x' after top-level value"),
        ("[]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        ("5", "json: cannot unmarshal number into Go value of type map[string]interface {}"),
    ],
)  # fmt: skip
def test_what_registries_read_is_json(text: str, why: str) -> None:
    data = {".dockerconfigjson": base64.b64encode(text.encode()).decode()}
    found = problems(kinds.SECRET, {"type": "kubernetes.io/dockerconfigjson", "data": data})
    redacted = 'data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": '
    assert found == ([redacted + why] if why else [])


def test_a_mebibyte_fits_and_no_more() -> None:
    for size, fits in ((2**20, True), (2**20 + 1, False)):
        text = base64.b64encode(b"x" * size).decode()
        for kind, obj in ((kinds.SECRET, {"data": {"a": text}}), (kinds.CONFIG_MAP, {"binaryData": {"a": text}})):
            path = "data" if kind is kinds.SECRET else "[]"
            assert problems(kind, obj) == ([] if fits else [f"{path}: Too long: may not be more than 1048576 bytes"])

"""Amounts are stored in their one form, whoever writes them how; what is none is refused."""

import copy
from typing import Any

import pytest

from netplane.api import kinds, quantity, typecheck

Json = dict[str, Any]


def pod(cpu: Any) -> Json:
    container = {"name": "c", "image": "i", "resources": {"limits": {"cpu": cpu}}}
    volume = {"name": "v", "emptyDir": {"sizeLimit": cpu}}
    return {"spec": {"containers": [container], "volumes": [volume]}}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("500m", "500m"), (0.5, "500m"), (1, "1"), ("1000m", "1"), ("1000", "1k"), ("0.5Gi", "512Mi"),
        ("1024Mi", "1Gi"), ("0m", "0"), ("1e3", "1e3"), ("-0.5", "-500m"), ("3977916Ki", "3977916Ki"),
        (" 1 ", "1"), ("0.1n", "1n"),
        ("9" * 4000, "9" * 4000), ("-" + "9" * 3980 + "." + "9" * 18, "-" + str(10**3980)[:-18] + "E"),
        ("1.5Gi", "1536Mi"), ("1023Mi", "1023Mi"), ("999", "999"),
    ],
)  # fmt: skip
def test_amounts_have_one_form(given: Any, shown: str) -> None:
    obj = pod(given)
    assert typecheck.clean(kinds.POD, obj) == []
    assert obj == pod(shown)
    again = copy.deepcopy(obj)
    assert typecheck.clean(kinds.POD, again) == []
    assert again == obj
    assert quantity.canonical(shown) == shown


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        ("1GiB", "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        ("1GG", "unable to parse quantity's suffix"),
        ("1" * 5000, "unable to parse quantity's suffix"),
        ("0." + "1" * 5000, "unable to parse quantity's suffix"),
        ("1e" + "1" * 5000, "unable to parse quantity's suffix"),
        ("\u0663", "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        (True, "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
    ],
)  # fmt: skip
def test_what_is_no_amount_is_refused(given: Any, why: str) -> None:
    with pytest.raises(typecheck.WrongType) as failure:
        typecheck.clean(kinds.POD, pod(given))
    assert str(failure.value) == why

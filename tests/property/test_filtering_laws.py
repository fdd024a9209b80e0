"""What shows without decoding is what decoding shows."""

import itertools

import orjson
from hypothesis import given
from hypothesis import strategies as st

from netplane.api import codec, kinds
from netplane.apiserver.verbs import filtering
from netplane.apiserver.wire.options import list_options

KEYS, VALUES = ("a", "b", "x.io/a"), ("", "1", "22", "a")
WORDS = st.sampled_from((*KEYS, *VALUES))
REQUIREMENTS = [
    *KEYS,
    *(f"!{key}" for key in KEYS),
    *(f"{key}{how}{value}" for key, how, value in itertools.product(KEYS, ("=", "!="), VALUES)),
    *(
        f"{key} {how} ({values})"
        for key, how, values in itertools.product(KEYS, ("in", "notin"), ("1", "1,22", "a,22"))
    ),
    *(f"{key}{how}5" for key, how in itertools.product(KEYS, "<>")),
]


@given(
    labels=st.none() | st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES)),
    others=st.dictionaries(WORDS, WORDS | st.dictionaries(WORDS, WORDS)),
    asked=st.lists(st.sampled_from(REQUIREMENTS), min_size=1, max_size=3),
    field=st.sampled_from(["", "metadata.name=n", "metadata.name!=n"]),
)
def test_a_glance_never_misleads(
    labels: dict[str, str] | None, others: dict[str, object], asked: list[str], field: str
) -> None:
    obj = {"metadata": {"name": "n", **({} if labels is None else {"labels": labels})}, "data": others}
    value = codec.encode(obj)
    query = {"labelSelector": ",".join(asked), "fieldSelector": field}
    wanted = filtering.of(kinds.CONFIG_MAP, list_options(query, watch=False))
    right = wanted.matches(orjson.loads(value))
    assert wanted.glance(value) in (right, None)
    assert wanted.wants(value) is right


def test_the_usual_questions_need_no_decoding() -> None:
    plain = codec.encode({"metadata": {"name": "n", "labels": {"app": "n"}}, "spec": {}})
    for asked, answer in (("!service.kubernetes.io/headless", True), ("app=other", False), ("kubernetes.io/x", False)):
        assert filtering.of(kinds.SERVICE, list_options({"labelSelector": asked}, watch=False)).glance(plain) is answer

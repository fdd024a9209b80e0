"""Laws of patches, selectors and pools."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from netplane.api import kinds, patch, schema
from netplane.api.selectors import parse_fields, parse_labels
from netplane.net.bitmap import Pool

Json = dict[str, Any]

KEYS = st.sampled_from(["a", "b", "c", "d"])
SCALARS = st.one_of(st.integers(0, 3), st.text(max_size=2), st.booleans())
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3))
DOCS = st.dictionaries(KEYS, VALUES, max_size=4)
PATCHES = st.dictionaries(
    KEYS, st.recursive(st.none() | SCALARS, lambda inner: st.dictionaries(KEYS, inner, max_size=3)), max_size=4
)


def merge_diff(old: Any, new: Any) -> Any:
    """The merge patch that leads from one document to another."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    changed = {key: merge_diff(old.get(key), value) for key, value in new.items() if old.get(key) != value}
    return {**changed, **{key: None for key in old if key not in new}}


@given(DOCS, DOCS)
def test_a_merge_patch_made_from_two_documents_leads_to_the_second(old: Json, new: Json) -> None:
    assert patch.merge(old, merge_diff(old, new)) == new


@given(DOCS, PATCHES)
def test_merging_twice_is_merging_once(doc: Json, change: Json) -> None:
    before = repr(doc)
    once = patch.merge(doc, change)
    assert patch.merge(once, change) == once
    assert repr(doc) == before


NAMES = st.lists(st.sampled_from("abcdef"), unique=True, max_size=6)
IMAGES = st.sampled_from(["i:1", "i:2"])


@st.composite
def container_lists(draw: st.DrawFn) -> list[Json]:
    return [{"name": name, "image": draw(IMAGES)} for name in draw(NAMES)]


@given(container_lists(), container_lists())
def test_a_strategic_patch_as_kubectl_makes_it_leads_to_the_wanted_list(have: list[Json], want: list[Json]) -> None:
    gone = [{"name": one["name"], "$patch": "delete"} for one in have if one["name"] not in {w["name"] for w in want}]
    changed = [one for one in want if one not in have]
    change = {
        "spec": {"$setElementOrder/containers": [{"name": one["name"]} for one in want], "containers": changed + gone}
    }
    out = patch.strategic({"spec": {"containers": have}}, change, schema.for_kind(kinds.POD))
    assert out["spec"]["containers"] == want


@given(container_lists())
def test_a_strategic_patch_of_the_same_changes_nothing(have: list[Json]) -> None:
    doc = {"spec": {"containers": have}}
    assert patch.strategic(doc, doc, schema.for_kind(kinds.POD)) == doc


LABELS = st.dictionaries(KEYS, st.sampled_from(["", "x", "y", "7"]), max_size=4)
OPERATORS = {
    "{k}={v}": lambda labels, k, v: labels.get(k) == v,
    "{k} == {v}": lambda labels, k, v: labels.get(k) == v,
    "{k}!={v}": lambda labels, k, v: labels.get(k) != v,
    "{k} in ({v}, y)": lambda labels, k, v: labels.get(k) in (v, "y"),
    "{k} notin ({v},y)": lambda labels, k, v: labels.get(k) not in (v, "y"),
    "{k}": lambda labels, k, v: k in labels,
    "!{k}": lambda labels, k, v: k not in labels,
}


@given(LABELS, st.lists(st.tuples(st.sampled_from(sorted(OPERATORS)), KEYS, st.sampled_from(["", "x"])), max_size=3))
def test_a_label_selector_is_the_conjunction_of_its_terms(labels: dict[str, str], terms: list[Any]) -> None:
    text = ",".join(form.format(k=key, v=value) for form, key, value in terms)
    assert parse_labels(text).matches(labels) == all(OPERATORS[form](labels, key, value) for form, key, value in terms)


@given(st.dictionaries(st.text("abc.", min_size=1), st.text("xy,=\\", max_size=4), max_size=3))
def test_field_selectors_carry_any_value(values: dict[str, str]) -> None:
    def escaped(value: str) -> str:
        return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")

    text = ",".join(f"{field}={escaped(value)}" for field, value in values.items())
    assert sorted(parse_fields(text).terms) == sorted((field, True, value) for field, value in values.items())


@given(st.integers(0, 40), st.integers(0, 2**64), st.lists(st.tuples(st.booleans(), st.integers(0, 39)), max_size=80))
@settings(max_examples=200)
def test_a_pool_never_gives_a_slot_twice(size: int, seed: int, steps: list[tuple[bool, int]]) -> None:
    band = min(16, size // 2)
    pool, taken = Pool(size, band, seed), set[int]()
    for take, slot in steps:
        if take:
            picked = pool.pick()
            assert (picked is None) == (len(taken) == size)
            if picked is not None:
                assert picked not in taken
                assert picked >= band or len(taken | set(range(band))) == size
                taken.add(picked)
        elif slot < size:
            pool.release(slot)
            taken.discard(slot)
        assert (set(pool), pool.free) == (taken, size - len(taken))

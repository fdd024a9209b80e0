"""Keys and revisions of the store in etcd, there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplane.store.etcd import messages as pb
from netplane.store.etcd import space as spaces
from netplane.store.etcd.space import STEP, Asked, Head, Space
from netplane.store.protocol import FIRST_REV, KV, Compare, Delete, Put, StoreError

HEAD = Head(generation=3, base=1_000, at=40)
SPACE = Space("/np", HEAD)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(lambda text: f"/{text}")


PLACES = st.integers(0, STEP - 1)


@given(key=KEYS, mod=st.integers(41, 10**6), create=st.integers(41, 10**6), place=PLACES, value=st.binary(max_size=4))
def test_keys_revisions_and_values_come_back(key: str, mod: int, create: int, place: int, value: bytes) -> None:
    lies = spaces.encoded(value, place)
    found = pb.KeyValue(key=SPACE.key(key), value=lies, mod_revision=mod, create_revision=create)
    assert SPACE.holds(found.key)
    rev = 1_000 + (mod - 40) * STEP + place
    made = rev if mod == create else 1_000 + (create - 40) * STEP
    assert SPACE.kv(found) == KV(key, value, rev, made)
    assert SPACE.etcd_rev(rev) == mod
    assert SPACE.rev(mod) <= rev <= SPACE.last_rev(mod) < SPACE.rev(mod + 1)


@given(st.binary(max_size=3).filter(lambda value: not value or value[0] < 0x80))
def test_values_of_lone_transactions_lie_there_as_they_are(value: bytes) -> None:
    assert spaces.encoded(value) == value


@given(prefix=KEYS, key=KEYS)
def test_a_range_holds_what_begins_so_and_nothing_else(prefix: str, key: str) -> None:
    first, end = SPACE.reads(prefix, "")
    assert (first <= SPACE.key(key) < end) is key.startswith(prefix)


def test_the_head_is_the_first_revision_of_a_new_store() -> None:
    head = Head.decoded(Head.encoded(1, FIRST_REV), at=77)
    assert Space("/np", head).rev(77) == FIRST_REV


def test_other_generations_and_the_head_are_no_keys() -> None:
    first, end = spaces.everything("/np")
    for key in (b"/np/2/registry/a", b"/np/33/registry/a", spaces.head_key("/np"), spaces.fence_key("/np")):
        assert not SPACE.holds(key)
        assert first <= key < end
    assert not first <= b"/npx/3/a" < end


def test_transactions_together_compare_the_head_and_each_reads_what_it_compared() -> None:
    five, nine = SPACE.rev(45, 3), SPACE.rev(49)
    one = Asked([Compare("/a", five), Compare("/b", 0)], [Put("/a", b"1"), Delete("/c")])
    other = Asked([Compare("/d", nine)], [Delete("/d"), Put("/e", b"2")])
    txn = SPACE.txn([one, other])
    assert [(each.key, each.mod_revision, each.target) for each in txn.compare] == [(b"/np/!head", 40, pb.MOD)]
    first, second = (each.request_txn for each in txn.success[:2])
    compared = [(each.key, each.mod_revision, each.target) for each in first.compare]
    assert compared == [(b"/np/3/a", 45, pb.MOD), (b"/np/3/b", 0, pb.MOD)]
    assert [each.request_range.key for each in first.failure] == [key for key, _, _ in compared]
    assert first.success[0].request_put.value == b"1"
    assert first.success[1].request_delete_range.key == b"/np/3/c"
    assert second.success[0].request_delete_range.key == b"/np/3/d"
    assert spaces.decoded(second.success[1].request_put.value) == (1, b"2")


def test_places_of_deletions_are_told_beside_them() -> None:
    asked = [Asked([], [Delete("/a")]), Asked([], [Delete("/ü"), Put("/b", b"")])]
    told = SPACE.txn(asked).success[2].request_put
    event = pb.Event(kv=pb.KeyValue(key=told.key, value=told.value, mod_revision=50))
    assert SPACE.deletions([event]) == {(50, SPACE.key("/ü")): 1}, "place 0 need not be told"
    assert len(SPACE.txn(asked[:1]).success) == 1


@pytest.mark.parametrize("value", [b"", b"k8s\0", b"[]", b'{"generation": 1}', b'{"generation": "x", "base": 1}'])
def test_a_head_that_somebody_else_wrote_is_refused(value: bytes) -> None:
    with pytest.raises(StoreError, match=r"not written by this program[\s\S]*--etcd-prefix"):
        Head.decoded(value, 1)

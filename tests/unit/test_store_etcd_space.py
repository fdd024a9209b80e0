"""Keys and revisions of the store in etcd, there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplane.store.etcd import messages as pb
from netplane.store.etcd import space as spaces
from netplane.store.etcd.space import Head, Space
from netplane.store.protocol import FIRST_REV, KV, Compare, Delete, Put, StoreError

HEAD = Head(generation=3, base=1_000, at=40)
SPACE = Space("/np", HEAD)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(lambda text: f"/{text}")


@given(key=KEYS, mod=st.integers(41, 10**6), create=st.integers(41, 10**6), value=st.binary(max_size=4))
def test_keys_and_revisions_come_back(key: str, mod: int, create: int, value: bytes) -> None:
    found = pb.KeyValue(key=SPACE.key(key), value=value, mod_revision=mod, create_revision=create)
    assert SPACE.holds(found.key)
    assert SPACE.kv(found) == KV(key, value, mod + 960, create + 960)


@given(prefix=KEYS, key=KEYS)
def test_a_range_holds_what_begins_so_and_nothing_else(prefix: str, key: str) -> None:
    first, end = SPACE.reads(prefix, "")
    assert (first <= SPACE.key(key) < end) is key.startswith(prefix)


def test_the_head_is_the_first_revision_of_a_new_store() -> None:
    head = Head.decoded(Head.encoded(1, FIRST_REV), at=77)
    assert Space("/np", head).moved + 77 == FIRST_REV


def test_other_generations_and_the_head_are_no_keys() -> None:
    first, end = spaces.everything("/np")
    for key in (b"/np/2/registry/a", b"/np/33/registry/a", spaces.head_key("/np"), spaces.fence_key("/np")):
        assert not SPACE.holds(key)
        assert first <= key < end
    assert not first <= b"/npx/3/a" < end


def test_a_transaction_compares_the_head_too_and_reads_what_it_compared() -> None:
    txn = SPACE.txn([Compare("/a", 1_005), Compare("/b", 0)], [Put("/a", b"1"), Delete("/c")])
    compared = [(one.key, one.mod_revision, one.target) for one in txn.compare]
    assert compared == [(b"/np/!head", 40, pb.MOD), (b"/np/3/a", 45, pb.MOD), (b"/np/3/b", 0, pb.MOD)]
    assert [one.request_range.key for one in txn.failure] == [key for key, _, _ in compared]
    assert txn.success[0].request_put.value == b"1"
    assert txn.success[1].request_delete_range.key == b"/np/3/c"


@pytest.mark.parametrize("value", [b"", b"k8s\0", b"[]", b'{"generation": 1}', b'{"generation": "x", "base": 1}'])
def test_a_head_that_somebody_else_wrote_is_refused(value: bytes) -> None:
    with pytest.raises(StoreError, match=r"not written by this program[\s\S]*--etcd-prefix"):
        Head.decoded(value, 1)

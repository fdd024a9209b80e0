"""What the garbage collector walks, and when."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from netplane.apiserver.process import heap


class Knot:
    """An object that only a collection can free."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.freeze()  # as conftest.py left it
    gc.set_threshold(*thresholds)
    gc.enable()


def test_nothing_is_looked_for_while_the_store_is_loaded_and_what_is_loaded_is_set_aside() -> None:
    heap.hold()
    assert not gc.isenabled()
    before = gc.get_freeze_count()
    heap.settle()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before
    assert gc.get_threshold()[2] == heap.NEVER


def test_a_sweep_frees_cycles_that_are_young_and_an_hourly_one_those_that_are_not() -> None:
    young, old = Knot(), Knot()
    seen_young, seen_old = weakref.ref(young), weakref.ref(old)
    del young
    heap.sweep()
    assert seen_young() is None
    del old
    heap.sweep()
    assert seen_old() is not None
    heap.sweep(everything=True)
    assert seen_old() is None

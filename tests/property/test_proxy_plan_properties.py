"""The service plan under any sequence of changes: incremental equals from scratch, and changes are as few as can be."""

from hypothesis import given, settings
from hypothesis import strategies as st

from netplane.nft.elements import Value
from netplane.nft.types import FAMILIES, Family
from proxy.plan import desired
from proxy.plan.changes import Tracker
from proxy.plan.ledger import Ledger
from proxy.plan.render import arrange
from proxy.plan.seeds import seeds
from proxy.plan.skeleton import skeleton
from tests import strategies as moves
from tests.cluster_model import Cluster, apply_strictly, comparable

WIDTH = 8


class Incremental:
    """A ledger that is fed only what changed, and a model of the kernel that is fed only its changes."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.tracker = Tracker()
        self.ledger = Ledger(skeleton(family, moves.OPTIONS), shard_rows=4)
        self.kernel: dict[str, dict[bytes, Value]] = self.ledger.contents()

    def sync(self, cluster: Cluster, *, everything: bool) -> None:
        keys = self.tracker.take()
        if everything:
            keys |= self.tracker.everything()
        problems: list[str] = []
        updates = {
            key: desired.fragment(
                self.tracker.service(key),
                self.tracker.slices(key),
                self.family,
                cluster.node,
                moves.OPTIONS,
                problems,
            )
            for key in keys
        }
        apply_strictly(self.kernel, self.ledger.update(updates))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FAMILIES), moves.histories(8))
def test_incremental_equals_from_scratch(family: Family, history: list[list[moves.Action]]) -> None:
    cluster, incremental = Cluster(moves.NODE), Incremental(family)
    for batch in history:
        for action in batch:
            cluster.apply(action, incremental.tracker)
        incremental.sync(cluster, everything=any(isinstance(action, moves.Move) for action in batch))
        assert incremental.kernel == incremental.ledger.contents()
        wanted = cluster.from_scratch(family, moves.OPTIONS)
        assert comparable(incremental.kernel) == comparable(wanted)


@given(st.sampled_from(FAMILIES), st.lists(moves.actions, max_size=15), st.lists(moves.actions, max_size=8))
def test_repair_reaches_the_goal_from_any_state_and_then_finds_nothing(
    family: Family, before: list[moves.Action], after: list[moves.Action]
) -> None:
    """A restart: the kernel holds what an earlier process left, in its order; the cluster has moved on."""
    cluster, earlier = Cluster(moves.NODE), Incremental(family)
    for action in before:
        cluster.apply(action, earlier.tracker)
    earlier.sync(cluster, everything=True)
    kernel = earlier.kernel
    later = Incremental(family)
    later.tracker = earlier.tracker
    for action in after:
        cluster.apply(action, later.tracker)
    later.ledger.seeds = seeds(kernel)
    later.sync(cluster, everything=True)
    apply_strictly(kernel, later.ledger.repair({name: dict(held) for name, held in kernel.items()}))
    assert comparable(kernel) == comparable(cluster.from_scratch(family, moves.OPTIONS))
    assert later.ledger.repair({name: dict(held) for name, held in kernel.items()}) == ()


@given(st.sampled_from(FAMILIES), st.lists(moves.actions, max_size=15))
def test_a_restart_without_changes_writes_nothing(family: Family, actions: list[moves.Action]) -> None:
    cluster, earlier = Cluster(moves.NODE), Incremental(family)
    for action in actions:
        if isinstance(action, moves.Sync):
            earlier.sync(cluster, everything=True)
        else:
            cluster.apply(action, earlier.tracker)
    earlier.sync(cluster, everything=True)
    later = Incremental(family)
    later.tracker = earlier.tracker
    later.ledger.seeds = seeds(earlier.kernel)
    later.sync(cluster, everything=True)
    assert later.ledger.repair({name: dict(held) for name, held in earlier.kernel.items()}) == ()


rows = st.lists(st.integers(0, 12).map(lambda n: bytes([n]) * WIDTH), max_size=10, unique=True)


@given(rows, rows)
def test_arranging_keeps_who_stays_and_changes_as_little_as_can_be(old: list[bytes], wanted: list[bytes]) -> None:
    new_rows = arrange(b"".join(old), b"".join(wanted), WIDTH)
    new = [new_rows[i : i + WIDTH] for i in range(0, len(new_rows), WIDTH)]
    assert sorted(new) == sorted(wanted), "every wanted row once, and no other"
    changed = sum(a != b for a, b in zip(old, new, strict=False))
    stays_in_place = sum(row in wanted for row in old[: len(new)])
    assert changed == min(len(old), len(new)) - stays_in_place, "a row changes only where one left"

"""However slow the network, however long a candidate is suspended, whatever its clock says: never two may write."""

import heapq
import itertools
from collections.abc import Iterator

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st

from netplane.api.objects import Lease, ObjectMeta
from netplane.controllers.plan import election
from netplane.controllers.plan.election import Seen, Timing

TIMING = Timing(lease_s=15.0, renew_s=10.0, retry_s=2.0)
NAME = ObjectMeta(name="lock", namespace="kube-system")


class Server:
    """One Lease behind a compare-and-swap."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.version = 0
        self.holders: list[str] = []

    def write(self, wanted: Lease) -> Lease | None:
        """None: the version is not the stored one any more."""
        stored = self.lease.metadata.resource_version if self.lease else ""
        if wanted.metadata.resource_version != stored:
            return None
        self.version += 1
        meta = msgspec.structs.replace(wanted.metadata, resource_version=str(self.version))
        self.lease = msgspec.structs.replace(wanted, metadata=meta)
        if election.holder(self.lease) and self.holders[-1:] != [election.holder(self.lease)]:
            self.holders.append(election.holder(self.lease))
        return self.lease


class Candidate:
    """The steps of `Elector`, with every wait taken from a script. Its clock is ahead by `offset_s`."""

    def __init__(self, name: str, server: Server, offset_s: float, waits: Iterator[float]) -> None:
        self.name, self.server, self.offset_s, self.waits = name, server, offset_s, waits
        self.until_s = 0.0  # true time
        self.now_s = 0.0

    def clock_s(self) -> float:
        return self.now_s + self.offset_s

    def steps(self) -> Iterator[float]:
        """Yields how long to wait until the next step."""
        seen: Seen | None = None
        while True:
            began_s = self.now_s
            yield next(self.waits)  # the way there
            read = self.server.lease
            yield next(self.waits)  # the answer's way
            seen = election.saw(seen, read, self.clock_s())
            if election.is_free(seen, self.name, self.clock_s()):
                wanted = election.claim(seen, NAME, self.name, TIMING, f"{self.clock_s():.3f}")
                yield next(self.waits)
                written = self.server.write(wanted)
                yield next(self.waits)
                if written is not None:
                    seen = election.saw(seen, written, self.clock_s())
                    self.until_s = began_s + TIMING.renew_s
            elif election.holder(read) != self.name:
                self.until_s = 0.0
            yield TIMING.retry_s


# Mostly quick; sometimes a wait as long as all the deadlines: a lost packet, a suspended process.
WAITS = st.lists(st.one_of(st.floats(0.0, 0.5), st.floats(0.0, 0.5), st.floats(0.0, 40.0)), min_size=8, max_size=60)


@given(st.lists(st.tuples(WAITS, st.floats(-1e6, 1e6)), min_size=2, max_size=3))
@settings(deadline=None, max_examples=200)
def test_never_two_may_write(scripts: list[tuple[list[float], float]]) -> None:
    server = Server()
    candidates = [
        Candidate(f"c{i}", server, offset, itertools.cycle(waits)) for i, (waits, offset) in enumerate(scripts)
    ]
    running = [one.steps() for one in candidates]
    queue = [(0.0, i) for i in range(len(candidates))]
    for _ in range(400):
        now_s, i = heapq.heappop(queue)
        candidates[i].now_s = now_s
        heapq.heappush(queue, (now_s + next(running[i]), i))
        writing = [one.name for one in candidates if now_s < one.until_s]
        assert len(writing) <= 1, f"at {now_s}: {writing}"
        if writing:
            assert server.lease is not None
            # A suspended leader keeps its deadline, and the Lease is still its own as long as that lasts.
            assert server.lease.spec.holder_identity == writing[0]
    event(f"leaders: {min(len(server.holders), 4)}")


@given(st.floats(0.5, 100), st.floats(0.5, 100), st.floats(0.01, 100))
def test_times_that_cannot_keep_two_apart_are_refused(lease_s: float, renew_s: float, retry_s: float) -> None:
    timing = Timing(lease_s, renew_s, retry_s)
    assert bool(timing.problem()) == (not (lease_s > renew_s > retry_s * 1.2 and lease_s >= 1))

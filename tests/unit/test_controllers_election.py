"""Leader election against the fake apiserver: one works, the next takes over, and who cannot renew stops."""

import asyncio
from contextlib import suppress

import msgspec

from netplane.api import kinds
from netplane.api.objects import Lease, LeaseSpec, ObjectMeta
from netplane.client.api import Api
from netplane.client.config import Connection
from netplane.client.fake import FakeApiserver
from netplane.controllers.election import Elector
from netplane.controllers.plan import election
from netplane.controllers.plan.election import Seen, Timing
from tests.waiting import until_async as until

NAME = ObjectMeta(name="lock", namespace="kube-system")
FAST = Timing(lease_s=2.0, renew_s=1.5, retry_s=0.1)


class Worker:
    """Work that only notes when it runs."""

    def __init__(self, api: Api, identity: str) -> None:
        self.elector = Elector(api, NAME, identity=identity, timing=FAST)
        self.working = False
        self.terms = 0
        self.task = asyncio.create_task(self.elector.run(self.work))

    async def work(self) -> None:
        self.working, self.terms = True, self.terms + 1
        try:
            await asyncio.Event().wait()
        finally:
            self.working = False

    async def stop(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


def spec(fake: FakeApiserver) -> LeaseSpec:
    return msgspec.convert(fake.store.get(kinds.LEASE, "kube-system/lock"), Lease).spec


def test_one_works_and_a_clean_stop_hands_over_without_waiting() -> None:
    async def main() -> None:
        async with FakeApiserver() as fake, Api(Connection(fake.url)) as api:
            first = Worker(api, "one")
            await until(lambda: first.working)
            second = Worker(api, "two")
            await until(lambda: second.elector.leader == "one")
            assert not second.working
            assert not second.elector.may_write()
            await first.stop()
            assert spec(fake).holder_identity == ""
            assert not first.working
            await until(lambda: second.working)
            assert (spec(fake).holder_identity, spec(fake).lease_transitions) == ("two", 1)
            await second.stop()

    asyncio.run(main())


def test_a_leader_that_cannot_renew_stops_before_another_may_begin() -> None:
    async def main() -> None:
        async with FakeApiserver() as fake, FakeApiserver() as cut:
            cut.store = fake.store  # the same cluster, by two ways, of which one will break
            async with Api(Connection(cut.url)) as by_cut, Api(Connection(fake.url)) as api:
                first = Worker(by_cut, "one")
                await until(lambda: first.working)
                second = Worker(api, "two")
                both = 0

                async def look() -> None:
                    nonlocal both
                    while True:
                        both += first.elector.may_write() and second.elector.may_write()
                        both += first.working and second.working
                        await asyncio.sleep(0.001)

                looking = asyncio.create_task(look())
                await until(lambda: second.elector.leader == "one")
                await cut.stop()
                await until(lambda: second.working)
                assert not first.working
                await cut.start()
                await until(lambda: first.elector.leader == "two")
                assert (first.terms, second.terms, both) == (1, 1, 0)
                looking.cancel()
                await first.stop()
                await second.stop()

    asyncio.run(main())


def test_clocks_of_others_do_not_count() -> None:
    """A record from the far future, or the past, is respected for its duration from when it was first seen."""
    for renewed in ("1970-01-01T00:00:00.000000Z", "2100-01-01T00:00:00.000000Z"):
        lease = Lease(
            metadata=NAME, spec=LeaseSpec(holder_identity="one", lease_duration_seconds=15, renew_time=renewed)
        )
        seen = election.saw(None, lease, 100.0)
        assert not election.is_free(seen, "two", 115.0)
        assert election.is_free(seen, "two", 115.1)
        assert election.is_free(seen, "one", 100.0)
        assert election.saw(seen, lease, 114.0).at_s == 100.0
        renewal = msgspec.structs.replace(lease, spec=msgspec.structs.replace(lease.spec, renew_time="x"))
        assert election.saw(seen, renewal, 114.0).at_s == 114.0


def test_what_a_lease_says() -> None:
    timing = Timing()
    new = election.claim(Seen(None, 0.0), NAME, "one", timing, "t1")
    assert new.spec == LeaseSpec(
        holder_identity="one", lease_duration_seconds=15, acquire_time="t1", renew_time="t1", lease_transitions=0
    )
    again = election.claim(Seen(new, 0.0), NAME, "one", timing, "t2")
    assert (again.spec.acquire_time, again.spec.renew_time, again.spec.lease_transitions) == ("t1", "t2", 0)
    taken = election.claim(Seen(again, 0.0), NAME, "two", timing, "t3")
    assert (taken.spec.acquire_time, taken.spec.lease_transitions) == ("t3", 1)
    free = election.release(taken, "t4")
    assert election.is_free(Seen(free, 0.0), "one", 0.0)
    assert election.claim(Seen(free, 0.0), NAME, "one", timing, "t5").spec.lease_transitions == 2

"""Which transactions go together in one of etcd's, and what becomes of each when etcd refuses or is lost."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from grpc import StatusCode

from netplane.store.etcd import group
from netplane.store.etcd import messages as pb
from netplane.store.etcd.cache import Cache
from netplane.store.etcd.group import Answer, Group
from netplane.store.etcd.link import Link, Refused
from netplane.store.etcd.space import Head, Space
from netplane.store.protocol import Compare, Delete, OutcomeUnknown, Put, StoreError, Unavailable

SPACE = Space("/np", Head(1, 1, 1))
Reply = Callable[[Any], Any]


def well(request: Any) -> Any:
    """All of them happen."""
    inner = [pb.ResponseOp(response_txn=pb.TxnResponse(succeeded=True)) for _ in request.success]
    return pb.TxnResponse(header=pb.ResponseHeader(revision=7), succeeded=True, responses=inner)


class Etcd(Link):
    """Answers with what is next, then well; keeps what it was asked, and answers only when told to go on."""

    def __init__(self, *replies: Reply | StoreError) -> None:
        self.replies = list(replies)
        self.asked: list[list[list[str]]] = []
        self.go_on = asyncio.Event()

    async def once(self, _method: Any, request: Any, _timeout_s: float) -> Any:
        self.asked.append([written(one.request_txn) for one in request.success if one.HasField("request_txn")])
        await self.go_on.wait()
        reply = self.replies.pop(0) if self.replies else well
        if isinstance(reply, StoreError):
            raise reply
        return reply(request)


def written(txn: Any) -> list[str]:
    """The keys that it writes."""
    keys = [op.request_put.key or op.request_delete_range.key for op in txn.success]
    return [SPACE.name(key) for key in keys]


def create(key: str, *also: str, size: int = 1) -> tuple[list[Compare], list[Put | Delete]]:
    return [Compare(key, 0), *(Compare(one, 5) for one in also)], [Put(key, bytes(size))]


Txns = Sequence[tuple[list[Compare], list[Put | Delete]]]


def run(etcd: Etcd, *turns: Txns, patience_s: float = 60.0) -> list[Answer | BaseException]:
    """Transactions, those of a turn at once, the next turn while the first is on its way; what each is told."""

    async def whole() -> list[Answer | BaseException]:
        tasks: set[asyncio.Task[None]] = set()

        def start(work: Coroutine[Any, Any, None]) -> object:
            tasks.add(task := asyncio.create_task(work))
            return task

        cache = Cache(SPACE, [], 1, 10)
        one = Group(etcd, lambda: cache, lambda: patience_s, start)
        answers = []
        for turn in turns:
            answers += [one.ask(*txn) for txn in turn]
            for _ in range(group.JOIN_TURNS + 2):
                await asyncio.sleep(0)
        etcd.go_on.set()
        return await asyncio.gather(*answers, return_exceptions=True)

    return asyncio.run(whole())


def test_who_asks_at_once_goes_together_and_each_has_its_place() -> None:
    etcd = Etcd()
    told = run(etcd, [create("/a", "/ns"), create("/b", "/ns"), create("/c", "/ns")])
    assert etcd.asked == [[["/a"], ["/b"], ["/c"]]]
    assert [(one.rev, one.place) for one in told if isinstance(one, Answer)] == [(7, 0), (7, 1), (7, 2)]


def test_who_comes_in_the_next_turns_of_the_loop_joins_until_nobody_does() -> None:
    async def whole() -> list[list[list[str]]]:
        etcd = Etcd()
        etcd.go_on.set()
        cache = Cache(SPACE, [], 1, 10)
        one = Group(etcd, lambda: cache, lambda: 60.0, asyncio.create_task)
        answers = []
        for key, turns in (("/a", 0), ("/b", 1), ("/c", 1), ("/d", 3)):
            for _ in range(turns):
                await asyncio.sleep(0)
            answers.append(one.ask(*create(key)))
        await asyncio.gather(*answers)
        return etcd.asked

    assert asyncio.run(whole()) == [[["/a"], ["/b"], ["/c"]], [["/d"]]]


def test_who_comes_while_two_are_on_their_way_goes_together_afterwards() -> None:
    etcd = Etcd()
    run(etcd, [create("/a")], [create("/b")], [create("/c")], [create("/d")])
    assert etcd.asked == [[["/a"]], [["/b"]], [["/c"], ["/d"]]]


@pytest.mark.parametrize(
    ("txns", "expected"),
    [
        ([create("/a"), create("/a"), create("/b")], [[["/a"], ["/b"]], [["/a"]]]),
        ([create("/a"), create("/b", "/a"), create("/c")], [[["/a"], ["/c"]], [["/b"]]]),  # it compares what is written
        ([create("/b", "/a"), create("/a"), create("/c")], [[["/b"], ["/c"]], [["/a"]]]),
        ([create("/a"), create("/a"), create("/c", "/a")], [[["/a"]], [["/a"]], [["/c"]]]),  # nor does it overtake
        ([create("/a", size=group.MOST_BYTES), create("/b"), create("/c")], [[["/a"]], [["/b"], ["/c"]]]),
    ],
)
def test_who_touches_what_another_writes_waits(txns: Txns, expected: list[list[list[str]]]) -> None:
    etcd = Etcd()
    run(etcd, txns)
    assert etcd.asked == expected


def test_one_of_many_keys_goes_alone_and_no_more_than_fit_go_together() -> None:
    keys = [f"/{i}" for i in range(group.MOST + 10)]
    large: tuple[list[Compare], list[Put | Delete]] = ([], [Delete(key) for key in keys])
    etcd = Etcd()
    run(etcd, [create("/x"), large, create("/y")])
    assert etcd.asked == [[["/x"], ["/y"]], [keys]]
    etcd = Etcd()
    run(etcd, [create(key) for key in keys])
    assert [len(one) for one in etcd.asked] == [group.MOST, 10]


def test_one_that_is_refused_does_not_take_the_others_with_it() -> None:
    refused = Refused(StatusCode.INVALID_ARGUMENT, "request is too large")
    etcd = Etcd(refused, well, refused, well)
    told = run(etcd, [create("/a"), create("/b"), create("/c")])
    assert [type(one) for one in told] == [Answer, Refused, Answer]


def test_an_etcd_that_takes_fewer_is_given_fewer() -> None:
    refused = Refused(StatusCode.INVALID_ARGUMENT, "too many operations in txn request")
    etcd = Etcd(refused)
    told = run(etcd, [create(f"/{i}") for i in range(4)], [create("/x")], [create(f"/{i}") for i in range(4, 8)])
    assert all(isinstance(one, Answer) for one in told)
    assert [len(one) for one in etcd.asked if len(one) > 1] == [4, 2, 2]


def test_when_the_answer_is_lost_only_who_compares_is_sent_again() -> None:
    blind: tuple[list[Compare], list[Put | Delete]] = ([], [Put("/blind", b"")])
    etcd = Etcd(OutcomeUnknown("lost"))
    told = run(etcd, [create("/a"), blind])
    assert etcd.asked == [[["/a"], ["/blind"]], [["/a"]]]
    assert isinstance(told[0], Answer)
    assert told[0].doubtful
    assert isinstance(told[1], OutcomeUnknown)
    assert "whether this write happened is not known" in told[1].message


def test_what_was_never_sent_is_sent_again_until_the_time_is_up() -> None:
    blind: tuple[list[Compare], list[Put | Delete]] = ([], [Put("/blind", b"")])
    [told] = run(Etcd(Unavailable("away"), Unavailable("away")), [blind])
    assert isinstance(told, Answer)
    assert not told.doubtful
    [told] = run(Etcd(*[Unavailable("away")] * 9), [blind], patience_s=-1.0)
    assert type(told) is Unavailable
    told, other = run(Etcd(OutcomeUnknown("lost"), Unavailable("away")), [create("/a"), blind], patience_s=-1.0)
    assert isinstance(told, OutcomeUnknown)
    assert isinstance(other, OutcomeUnknown)


def test_another_head_is_another_store() -> None:
    restored = pb.TxnResponse(header=pb.ResponseHeader(revision=7), succeeded=False)
    told = run(Etcd(lambda _: restored), [create("/a"), create("/b")])
    assert [str(one) for one in told] == [str(Unavailable("the store was restored just now", hint="try again"))] * 2

"""However clients read, select and are told how far things have come: each sees every event once, in order, and no
bookmark says more, or less, than was sent before it.
"""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from netplane.apiserver.verbs.watching import Stream
from tests.apiserver_app import Server, run
from tests.wired_watches import Wired, settled

CONFIG = "/api/v1/namespaces/default/configmaps"
QUERIES = ("", "&labelSelector=on", "&labelSelector=on", "&fieldSelector=metadata.name%3Da")
NAMES = ("a", "b")
CLIENTS = st.sampled_from(range(len(QUERIES)))
STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES), st.sampled_from(["on", "off", "gone"])),
    st.tuples(st.sampled_from(["stop reading", "read on", "bookmark"]), CLIENTS, st.none()),
    st.tuples(st.just("turns"), st.sampled_from(range(6)), st.none()),
)


async def write(ask: Server, name: str, state: str) -> None:
    """Bring an object into a state: labelled, not labelled, or gone."""
    if state == "gone":
        await ask("DELETE", f"{CONFIG}/{name}")
    elif (await ask("GET", f"{CONFIG}/{name}")).status == 404:
        await ask.create(CONFIG, {"metadata": {"name": name, "labels": {state: "yes"}}})
    else:
        labels = {"on": None, "off": None, state: "yes"}
        await ask.patch(f"{CONFIG}/{name}", {"metadata": {"labels": labels}})


class Clients:
    """Watches of each query, over connections, and what a list of all events says that they must see."""

    def __init__(self, ask: Server, rev: str) -> None:
        self.ask = ask
        head = f"{CONFIG}?watch=1&allowWatchBookmarks=true&resourceVersion={rev}"
        self.wires = [Wired(ask, head + query) for query in QUERIES]
        self.told: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        for one in self.wires:  # so that streams are known by their wires
            while not one.transport.writes:
                await asyncio.sleep(0)
        by_answer = {one._call.receive.__self__: one for one in self.ask.cluster.watches if isinstance(one, Stream)}  # type: ignore[attr-defined]  # a bound method
        self.streams = [by_answer[one.cycle] for one in self.wires]

    async def step(self, what: str, which: Any, state: Any) -> None:
        match what:
            case "write":
                await write(self.ask, which, state)
            case "stop reading":
                self.wires[which].stop_reading()
            case "read on":
                self.wires[which].read_on()
            case "bookmark":
                self.told.append(asyncio.create_task(self.streams[which]._bookmark()))
            case _:
                for _ in range(which):
                    await asyncio.sleep(0)

    async def rest(self) -> None:
        for one in self.wires:
            one.read_on()
        await settled(self.ask)
        await asyncio.gather(*self.told)
        await settled(self.ask)


def check(events: list[tuple[str, str, int]], reference: list[tuple[str, str, int]]) -> None:
    """The same events as the reference; revisions rise, and a bookmark's is that of what was sent, or later."""
    assert [one for one in events if one[0] != "BOOKMARK"] == reference
    revisions = [rev for _, _, rev in events]
    assert revisions == sorted(revisions)
    rising = [rev for kind, _, rev in events if kind != "BOOKMARK"]
    assert len(set(rising)) == len(rising)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_every_client_sees_what_one_sees_that_always_reads(steps: list[tuple[str, Any, Any]]) -> None:
    async def test(ask: Server) -> None:
        rev = (await ask("GET", CONFIG)).json["metadata"]["resourceVersion"]
        clients = Clients(ask, rev)
        await clients.open()
        for step in steps:
            await clients.step(*step)
        await clients.rest()
        for query, wire in zip(QUERIES, clients.wires, strict=True):
            late = Wired(ask, f"{CONFIG}?watch=1&resourceVersion={rev}{query}")  # all from the past, through its pump
            await settled(ask)
            check(wire.events, late.events)

    run(test)

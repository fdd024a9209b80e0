"""Events that go straight to connections: the same bytes, in order, behind nobody, and never to one who is behind."""

import asyncio
from typing import Any

import pytest

from netplane.apiserver.verbs import watching
from netplane.store.memory import MemoryStore
from tests.apiserver_app import Server, Watching, run
from tests.wired_watches import Wired, settled

CONFIG = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def pumped(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many lines each write by a pump had."""
    counts: list[int] = []
    write = watching.Stream._write

    async def counted(self: watching.Stream, lines: list[bytes]) -> None:
        counts.append(len(lines))
        await write(self, lines)

    monkeypatch.setattr(watching.Stream, "_write", counted)
    return counts


async def since(ask: Server) -> str:
    return f"{CONFIG}?watch=1&resourceVersion={(await ask('GET', CONFIG)).json['metadata']['resourceVersion']}"


async def change(ask: Server, name: str, labels: dict[str, Any]) -> None:
    await ask.patch(f"{CONFIG}/{name}", {"metadata": {"labels": labels}})


def test_the_bytes_are_those_of_asgi_and_no_pump_is_woken(pumped: list[int]) -> None:
    async def test(ask: Server) -> None:
        path = await since(ask)
        plain, wires = Watching(ask, path), [Wired(ask, path) for _ in range(3)]
        await settled(ask)
        for i in range(3):
            await ask.create(CONFIG, {"metadata": {"name": f"c{i}"}})
            await settled(ask)
        await ask("DELETE", f"{CONFIG}/c1")
        await plain.until(4)
        for one in wires:
            await one.until(4)
            assert one.body == b"".join(message["body"] for message in plain.sent[1:])
            assert one.transport.writes == 5, "the head, and a chunk for each event"
        assert pumped == [1] * 4, "the plain one's"

    run(test)


def test_selectors_have_views_of_their_own(pumped: list[int]) -> None:
    async def test(ask: Server) -> None:
        await ask.create(CONFIG, {"metadata": {"name": "c"}})
        path = await since(ask)
        everything, on, off = (Wired(ask, path + more) for more in ("", "&labelSelector=on", "&labelSelector=!on"))
        await settled(ask)
        for labels in ({"on": "1"}, {"on": "2"}, {"on": None}):
            await change(ask, "c", labels)
        await everything.until(3)
        assert [kind for kind, _, _ in await on.until(3)] == ["ADDED", "MODIFIED", "DELETED"]
        assert [kind for kind, _, _ in await off.until(2)] == ["DELETED", "ADDED"]
        assert pumped == []

    run(test)


def test_who_is_behind_is_served_by_its_pump_and_ended_when_too_far(pumped: list[int]) -> None:
    async def test(ask: Server) -> None:
        path = await since(ask)
        quick, slow, lost = (Wired(ask, path) for _ in range(3))
        await settled(ask)
        slow.stop_reading()
        lost.stop_reading()
        for i in range(6):
            await ask.create(CONFIG, {"metadata": {"name": f"c{i}"}})
            await settled(ask)
        assert (len(quick.events), len(slow.events), len(lost.events)) == (6, 0, 0)
        slow.read_on()
        assert await slow.until(6) == quick.events
        assert sum(pumped) == 6 + 1, "all of slow's; the first of lost's waits"
        for i in range(6, 20):
            await ask.create(CONFIG, {"metadata": {"name": f"c{i}"}})
            await settled(ask)
        lost.read_on()
        await asyncio.wait_for(lost.task, 5)
        assert await slow.until(20) == quick.events
        assert lost.events == quick.events[: len(lost.events)]
        assert 0 < len(lost.events) < 20
        assert lost.transport.written.endswith(b"0\r\n\r\n")

    run(test, store=MemoryStore(buffer_events=8))


def test_nothing_overtakes_a_bookmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "BOOKMARK_S", 0.01)

    async def test(ask: Server) -> None:
        wire = Wired(ask, f"{await since(ask)}&allowWatchBookmarks=true")
        await wire.until(1)
        (stream,) = ask.cluster.watches
        assert isinstance(stream, watching.Stream)
        wire.stop_reading()
        while not stream._busy.locked():  # the next bookmark waits for the client
            await asyncio.sleep(0.001)
        await ask.create(CONFIG, {"metadata": {"name": "c"}})
        wire.read_on()
        await ask.create(CONFIG, {"metadata": {"name": "d"}})
        while not {"c", "d"} <= {name for _, name, _ in wire.events}:
            await asyncio.sleep(0)
        revisions = [rev for _, _, rev in wire.events]
        assert revisions == sorted(revisions)

    run(test)


def test_bookmarks_come_to_who_allows_them_as_often_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "BOOKMARK_S", 0.01)

    async def test(ask: Server) -> None:
        path = await since(ask)
        told, untold = Wired(ask, f"{path}&allowWatchBookmarks=true"), Wired(ask, path)
        first = (await told.until(1))[0]
        await ask.create("/api/v1/namespaces/kube-public/configmaps", {"metadata": {"name": "elsewhere"}})
        rev = int((await ask("GET", CONFIG)).json["metadata"]["resourceVersion"])
        while told.events[-1][2] < rev:  # an idle watch is told how far the others have come
            await asyncio.sleep(0.001)
        assert first[2] < rev
        assert {(kind, name) for kind, name, _ in told.events} == {("BOOKMARK", "")}
        assert untold.events == []

    run(test)


@pytest.mark.parametrize(
    "options",
    [
        {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"},
        {"accept": "application/yaml"},
        {"method": "HEAD"},
    ],
    ids=["table", "yaml", "head"],
)
def test_other_forms_go_through_the_pump(pumped: list[int], options: dict[str, str]) -> None:
    async def test(ask: Server) -> None:
        Wired(ask, await since(ask), **options)
        await settled(ask)
        await ask.create(CONFIG, {"metadata": {"name": "c"}})
        await settled(ask)
        assert pumped == [1]

    run(test)


def test_who_has_hung_up_is_written_nothing() -> None:
    async def test(ask: Server) -> None:
        wire = Wired(ask, await since(ask))
        await settled(ask)
        wire.hang_up()
        await ask.create(CONFIG, {"metadata": {"name": "c"}})
        await wire.task
        assert wire.body == b""
        assert not ask.cluster.watches
        assert not ask.cluster.events._views, "it goes with its last watch"

    run(test)

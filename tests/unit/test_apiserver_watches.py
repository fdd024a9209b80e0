"""Watches: what there is, what comes, and how they end."""

import asyncio
from typing import Any

from netplane.store.memory import MemoryStore
from tests.apiserver_app import Server, Watching, fill, run, seen

CONFIG = "/api/v1/namespaces/default/configmaps"
INITIAL = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


def test_a_watch_shows_what_there_is_and_what_comes() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 2)
        watch = Watching(ask, f"{CONFIG}?watch=1")
        await watch.until(2)
        await ask.create(CONFIG, {"metadata": {"name": "new"}})
        await ask.patch(f"{CONFIG}/new", {"data": {"a": "b"}})
        await ask("DELETE", f"{CONFIG}/new")
        lines = await watch.until(5)
        expected = [("ADDED", "c000"), ("ADDED", "c001"), ("ADDED", "new"), ("MODIFIED", "new"), ("DELETED", "new")]
        assert seen(lines) == expected
        revisions = [int(line["object"]["metadata"]["resourceVersion"]) for line in lines]
        assert revisions == sorted(set(revisions))
        assert lines[-1]["object"]["data"] == {"a": "b"}
        await watch.end()

    run(test)


def test_a_watch_resumes_where_it_stopped() -> None:
    async def test(ask: Server) -> None:
        made = await fill(ask, 4)
        rev = made[1]["metadata"]["resourceVersion"]
        watch = Watching(ask, f"/api/v1/watch/namespaces/default/configmaps?resourceVersion={rev}")
        assert seen(await watch.until(2)) == [("ADDED", "c002"), ("ADDED", "c003")]
        await watch.end()

    run(test)


def test_a_selector_makes_objects_come_and_go() -> None:
    async def test(ask: Server) -> None:
        await ask.create(CONFIG, {"metadata": {"name": "c"}})
        rev = (await ask("GET", CONFIG)).json["metadata"]["resourceVersion"]
        watch = Watching(ask, f"{CONFIG}?watch=true&labelSelector=on&resourceVersion={rev}")
        for labels in ({"on": "1"}, {"on": "2"}, {"on": None}, {"off": "1"}, {"on": "3"}):
            await ask.patch(f"{CONFIG}/c", {"metadata": {"labels": labels}})
        await ask("DELETE", f"{CONFIG}/c")
        lines = await watch.until(5)
        assert [line["type"] for line in lines] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
        assert lines[2]["object"]["metadata"]["labels"] == {"on": "2"}
        await watch.end()

    run(test)


def test_a_watch_of_one_object_by_name() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 3)
        watch = Watching(ask, f"{CONFIG}?watch=1&fieldSelector=metadata.name%3Dc001")
        await watch.until(1)
        await ask.create(CONFIG, {"metadata": {"name": "c0012"}})
        await ask("DELETE", f"{CONFIG}/c001")
        assert seen(await watch.until(2)) == [("ADDED", "c001"), ("DELETED", "c001")]
        await watch.end()

    run(test)


def test_initial_events_end_with_a_bookmark() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 2)
        rev = (await ask("GET", CONFIG)).json["metadata"]["resourceVersion"]
        watch = Watching(ask, f"{CONFIG}?watch=1&{INITIAL}")
        lines = await watch.until(3)
        assert [line["type"] for line in lines] == ["ADDED", "ADDED", "BOOKMARK"]
        end = lines[2]["object"]["metadata"]
        assert end["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert end["resourceVersion"] == rev
        await watch.end()
        bad = await ask("GET", f"{CONFIG}?watch=1&sendInitialEvents=true")
        assert (bad.status, bad.json["details"]["kind"]) == (422, "ListOptions")

    run(test)


def test_a_watch_ends_in_time_with_a_last_bookmark() -> None:
    async def test(ask: Server) -> None:
        rev = (await ask("GET", CONFIG)).json["metadata"]["resourceVersion"]
        await fill(ask, 1, "kube-public")
        query = f"watch=1&resourceVersion={rev}&timeoutSeconds=1&allowWatchBookmarks=true"
        lines = (await ask("GET", f"{CONFIG}?{query}")).lines
        assert [line["type"] for line in lines] == ["BOOKMARK"]
        assert int(lines[0]["object"]["metadata"]["resourceVersion"]) > int(rev)

    run(test)


def test_a_watch_from_forgotten_history_says_so() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 5)
        await ask.store.compact(await ask.store.current_rev())
        answer = await ask("GET", f"{CONFIG}?watch=1&resourceVersion=3")
        assert answer.status == 200
        assert [line["type"] for line in answer.lines] == ["ERROR"]
        assert (answer.lines[0]["object"]["code"], answer.lines[0]["object"]["reason"]) == (410, "Expired")

    run(test, store=MemoryStore(keep_revisions=1))


def test_a_slow_watcher_is_ended_and_others_go_on() -> None:
    async def test(ask: Server) -> None:
        quick = Watching(ask, f"{CONFIG}?watch=1")
        sent: list[dict[str, Any]] = []
        hold = asyncio.Event()
        slow = asyncio.create_task(ask.open("GET", f"{CONFIG}?watch=1", None, sent, hold=hold))
        while len(ask.cluster.watches) < 2:
            await asyncio.sleep(0)
        for i in range(40):
            await ask.create(CONFIG, {"metadata": {"name": f"c{i:03}"}})
            await quick.until(i + 1)
        hold.set()
        await asyncio.wait_for(slow, 5)
        got = b"".join(message["body"] for message in sent[1:]).count(b"\n")
        assert 0 < got < 40
        assert sent[-1]["body"] == b""
        await quick.end()

    run(test, store=MemoryStore(buffer_events=8))


def test_stopping_ends_watches_and_takes_no_more() -> None:
    async def test(ask: Server) -> None:
        watch = Watching(ask, f"{CONFIG}?watch=1")
        await asyncio.sleep(0.01)
        ask.cluster.stop()
        await asyncio.wait_for(watch.task, 5)
        assert watch.sent[-1] == {"type": "http.response.body", "body": b""}
        assert (await ask("GET", f"{CONFIG}?watch=1")).status == 503
        assert (await ask("GET", "/readyz")).status == 500
        assert (await ask("GET", "/livez")).status == 200

    run(test)


def test_watchers_of_one_event_share_its_bytes() -> None:
    async def test(ask: Server) -> None:
        rev = (await ask("GET", CONFIG)).json["metadata"]["resourceVersion"]
        watches = [Watching(ask, f"{CONFIG}?watch=1&resourceVersion={rev}") for _ in range(20)]
        await asyncio.sleep(0.01)
        await fill(ask, 1)
        for watch in watches:
            await watch.until(1)
        (cached,) = [one for key, one in ask.cluster.events._seen.items() if "c000" in key[1]]
        assert len(cached.lines) == 1
        for watch in watches:
            await watch.end()

    run(test)

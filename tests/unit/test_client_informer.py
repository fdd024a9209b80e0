"""The informer against the fake apiserver: what is reported when connections, servers and history come and go."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from netplane.api import kinds, objects
from netplane.client.api import Api
from netplane.client.config import Connection
from netplane.client.fake import FakeApiserver
from netplane.client.informer import Informer
from tests.waiting import until_async as until

Change = tuple[str, str]


def service(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default", "labels": labels}, "spec": {"clusterIP": "10.0.0.1"}}


class Recorder:
    def __init__(self) -> None:
        self.changes: list[Change] = []

    def __call__(self, old: objects.Service | None, new: objects.Service | None) -> None:
        name = (new or old or objects.Service()).metadata.name
        self.changes.append(("+" if old is None else "-" if new is None else "~", name))


@asynccontextmanager
async def running(informer: Informer[Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        await informer.synced.wait()
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def scenario(body: Callable[[FakeApiserver, Api], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with FakeApiserver() as fake, Api(Connection(fake.url)) as api:
            await body(fake, api)

    asyncio.run(main())


def test_lists_then_follows_additions_changes_and_deletions() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        fake.store.load(kinds.SERVICE, [service("a")])
        seen = Recorder()
        informer = Informer(api, objects.Service, on_change=seen)
        async with running(informer):
            assert seen.changes == [("+", "a")]
            fake.store.put(kinds.SERVICE, service("b"))
            fake.store.put(kinds.SERVICE, service("a", x="1"))
            fake.store.remove(kinds.SERVICE, "default/b")
            await until(lambda: len(seen.changes) == 4)
        assert seen.changes[1:] == [("+", "b"), ("~", "a"), ("-", "b")]
        assert set(informer.objects) == {"default/a"}
        assert informer.objects["default/a"].metadata.labels == {"x": "1"}

    scenario(body)


def test_a_dropped_connection_resumes_without_a_list_and_misses_nothing() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        fake.store.load(kinds.SERVICE, [service("a")])
        seen = Recorder()
        informer = Informer(api, objects.Service, on_change=seen)
        async with running(informer):
            await until(lambda: informer.connected)
            fake.drop()
            fake.store.put(kinds.SERVICE, service("b"))
            await until(lambda: ("+", "b") in seen.changes)
        assert informer.lists == 1
        assert informer.watches == 2

    scenario(body)


def test_a_restarted_apiserver_is_found_again() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        seen = Recorder()
        informer = Informer(api, objects.Service, on_change=seen)
        async with running(informer):
            await until(lambda: informer.connected)
            await fake.stop()
            await until(lambda: not informer.connected)
            fake.store.put(kinds.SERVICE, service("b"))
            await fake.start()
            await until(lambda: seen.changes == [("+", "b")])
        assert informer.lists == 1

    scenario(body)


def test_after_410_only_real_differences_are_reported() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        fake.store.load(kinds.SERVICE, [service("same"), service("changed"), service("gone")])
        seen = Recorder()
        informer = Informer(api, objects.Service, on_change=seen)
        async with running(informer):
            await until(lambda: informer.connected)
            await fake.stop()
            seen.changes.clear()
            fake.store.put(kinds.SERVICE, service("changed", x="1"))
            fake.store.remove(kinds.SERVICE, "default/gone")
            fake.store.put(kinds.SERVICE, service("new"))
            fake.store.compact()
            await fake.start()
            await until(lambda: informer.lists == 2 and informer.connected)
        assert sorted(seen.changes) == [("+", "new"), ("-", "gone"), ("~", "changed")]

    scenario(body)


def test_lines_cut_into_single_bytes_and_lines_of_megabytes_arrive_whole() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        informer = Informer(api, objects.Service)
        async with running(informer):
            fake.cut_bytes = 1
            fake.store.put(kinds.SERVICE, service("tiny"))
            await until(lambda: "default/tiny" in informer.objects)
            fake.cut_bytes = 0
            fake.store.put(kinds.SERVICE, service("huge", x="é" * 3_000_000))
            await until(lambda: "default/huge" in informer.objects)
        labels = informer.objects["default/huge"].metadata.labels or {}
        assert len(labels["x"]) == 3_000_000

    scenario(body)


def test_one_unreadable_object_is_left_out_and_the_rest_goes_on() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        broken = service("broken")
        broken["spec"]["ports"] = "http"
        fake.store.load(kinds.SERVICE, [broken, service("a")])
        informer = Informer(api, objects.Service)
        async with running(informer):
            assert set(informer.objects) == {"default/a"}
            fake.store.put(kinds.SERVICE, {**broken, "metadata": {"name": "broken2", "namespace": "default"}})
            fake.store.put(kinds.SERVICE, service("b"))
            await until(lambda: "default/b" in informer.objects)
        assert set(informer.objects) == {"default/a", "default/b"}

    scenario(body)


def test_an_on_change_that_raises_stops_nothing() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        def explode(old: object, new: object) -> None:
            raise RuntimeError("a bug in the reader")

        fake.store.load(kinds.SERVICE, [service("a"), service("b")])
        informer = Informer(api, objects.Service, on_change=explode)
        async with running(informer):
            assert len(informer.objects) == 2

    scenario(body)


def test_convert_keeps_the_compact_value() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        fake.store.load(kinds.SERVICE, [service("a")])
        reports: list[tuple[str | None, str | None]] = []

        def compact(svc: objects.Service) -> str:
            return svc.spec.cluster_ip

        informer = Informer(
            api, objects.Service, convert=compact, on_change=lambda old, new: reports.append((old, new))
        )
        async with running(informer):
            assert informer.objects == {"default/a": "10.0.0.1"}
        assert reports == [(None, "10.0.0.1")]

    scenario(body)


def test_a_label_selector_sees_objects_enter_and_leave() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        fake.store.load(kinds.SERVICE, [service("a", tier="x"), service("b")])
        seen = Recorder()
        informer = Informer(api, objects.Service, label_selector="tier=x", on_change=seen)
        async with running(informer):
            await until(lambda: informer.connected)
            fake.store.put(kinds.SERVICE, service("b", tier="x"))
            fake.store.put(kinds.SERVICE, service("a"))
            await until(lambda: len(seen.changes) == 3)
        assert seen.changes == [("+", "a"), ("+", "b"), ("-", "a")]

    scenario(body)


def test_a_server_that_fails_at_first_is_asked_again() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        fake.fail(3, 500)
        informer = Informer(api, objects.Service)
        async with running(informer):
            assert len([1 for _, target in fake.requests if "watch" not in target]) >= 4

    scenario(body)


def test_own_writes_are_seen_at_once_and_older_events_do_not_undo_them() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        fake.store.load(kinds.SERVICE, [service("a")])
        seen = Recorder()
        informer = Informer(api, objects.Service, on_change=seen)
        async with running(informer):
            await until(lambda: informer.connected)
            old = informer.objects["default/a"]
            new = await api.patch(objects.Service, "a", "default", {"metadata": {"labels": {"x": "1"}}})
            informer.wrote(new)
            assert informer.objects["default/a"] == new
            informer.wrote(old)
            assert informer.objects["default/a"] == new
            fake.store.put(kinds.SERVICE, service("end"))
            await until(lambda: ("+", "end") in seen.changes)
        assert seen.changes == [("+", "a"), ("~", "a"), ("+", "end")]

    scenario(body)


def test_an_apiserver_restored_from_an_older_backup_is_believed() -> None:
    async def body(fake: FakeApiserver, api: Api) -> None:
        fake.store.load(kinds.SERVICE, [service("a", x="new"), service("lost")])
        fake.store.revision = 1000
        informer = Informer(api, objects.Service)
        async with running(informer):
            await until(lambda: informer.connected)
            fake.store = type(fake.store)()
            fake.store.load(kinds.SERVICE, [service("a", x="old")])
            fake.fail(1, 504)
            fake.drop()
            await until(lambda: "default/lost" not in informer.objects)
        assert informer.objects["default/a"].metadata.labels == {"x": "old"}

    scenario(body)

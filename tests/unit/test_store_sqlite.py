"""What is particular to the SQLite store: the file, its failures, and history read back from it."""

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from netplane.store import log
from netplane.store import sqlite as sqlite_module
from netplane.store.protocol import Compacted, Compare, Delete, Event, Put, StoreError
from netplane.store.sqlite import SqliteStore


async def fill(store: SqliteStore, count: int) -> None:
    txns = ([Put(f"/k/{i % 7}", b"%d" % i), Put(f"/other/{i}", b"")] for i in range(count))
    await asyncio.gather(*(store.txn([], ops) for ops in txns))


def test_reopening_finds_everything(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await SqliteStore.open(tmp_path / "s.db", keep_revisions=0)
        await fill(store, 20)
        await store.txn([], [Delete("/k/1"), Put("/k/2", b"last"), Delete("/other/3")])
        before = (await store.range(""), await store.current_rev())
        await store.compact(10)
        await store.close()
        store = await SqliteStore.open(tmp_path / "s.db", keep_revisions=0)
        assert (await store.range(""), await store.current_rev()) == before
        assert await store.compact_rev() == 10
        # The last change of a key was not the first of its transaction: its next change must still find it.
        await store.txn([], [Put("/k/2", b"more")])
        async with store.watch("/k/2", await store.current_rev()) as watch:
            (event,) = await anext(watch)
        assert event.prev is not None
        assert event.prev.value == b"last"
        await store.close()

    asyncio.run(scenario())


def test_deleting_last_and_compacting_does_not_reuse_revisions(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await SqliteStore.open(tmp_path / "s.db", keep_revisions=0)
        await store.txn([], [Put("/a", b"")])
        rev = (await store.txn([], [Delete("/a")])).rev
        await store.compact(rev)
        await store.close()
        store = await SqliteStore.open(tmp_path / "s.db")
        assert await store.current_rev() == rev
        assert (await store.txn([], [Put("/a", b"")])).rev == rev + 1
        await store.close()

    asyncio.run(scenario())


def test_history_is_read_from_disk_in_whole_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "_HISTORY_EVENTS", 3)

    async def scenario() -> None:
        store = await SqliteStore.open(tmp_path / "s.db")
        await fill(store, 20)
        async with store.watch("/k/", 2) as watch:
            live: list[Event] = []
            while len(live) < 20:
                live += await anext(watch)
        await store.close()
        store = await SqliteStore.open(tmp_path / "s.db")  # nothing recent in memory: all of it comes from the file
        async with store.watch("/k/", 2) as watch:
            await store.txn([], [Put("/k/new", b"")])
            replayed = await anext(watch)
            assert watch.progress == replayed[-1].rev
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(watch), 0)  # a cancelled read loses nothing
            while len(replayed) < 21:
                replayed += await anext(watch)
        assert replayed[:20] == live
        assert (replayed[20].kv.key, replayed[20].rev) == ("/k/new", 22)
        for rev in range(1, 22):
            was = {e.kv.key: e.kv for e in live if e.rev <= rev}
            assert {kv.key: kv for kv in (await store.range("/k/", rev=rev)).kvs} == was
        await store.close()

    asyncio.run(scenario())


def test_compaction_overtakes_a_watch_that_is_catching_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "_HISTORY_EVENTS", 2)

    async def scenario() -> None:
        store = await SqliteStore.open(tmp_path / "s.db", keep_revisions=0)
        await fill(store, 20)
        await store.close()
        store = await SqliteStore.open(tmp_path / "s.db", keep_revisions=0)
        async with store.watch("", 2) as watch:
            await anext(watch)
            await store.compact(15)
            with pytest.raises(Compacted):
                await anext(watch)
        await store.close()

    asyncio.run(scenario())


def test_compaction_shrinks_the_log_and_keeps_the_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await SqliteStore.open(tmp_path / "s.db", keep_revisions=0)
        await asyncio.gather(*(store.txn([], [Put("/a", b"%d" % i)]) for i in range(2_500)))
        await store.txn([], [Put("/b", b""), Delete("/a")])
        await store.compact(await store.current_rev())
        await store.close()

    asyncio.run(scenario())
    with sqlite3.connect(tmp_path / "s.db") as db:
        assert db.execute("SELECT key FROM log").fetchall() == [("/b",)]


def test_a_full_disk_fails_the_write_and_keeps_memory_and_disk_equal(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await SqliteStore.open(tmp_path / "s.db")
        await store.txn([], [Put("/a", b"1")])
        before = await store.range("")
        loop = asyncio.get_running_loop()
        full = f"PRAGMA max_page_count = {1}"  # SQLite refuses to grow beyond what the file has now
        await loop.run_in_executor(store._writer, store._log._db.execute, full)
        async with store.watch("", 0) as watch:
            big = [Put(f"/big/{i}", bytes(1000)) for i in range(100)]
            outcomes = await asyncio.gather(
                store.txn([], big), store.txn([], [Put("/c", bytes(100_000))]), return_exceptions=True
            )
            assert all(isinstance(one, StoreError) and "full" in str(one) for one in outcomes)
            assert await store.range("") == before
            await loop.run_in_executor(store._writer, store._log._db.execute, "PRAGMA max_page_count = 1000000")
            result = await store.txn([Compare("/big/1", 0)], big)
            assert (result.succeeded, result.rev) == (True, before.rev + 1)
            assert [event.rev for event in await anext(watch)] == [before.rev + 1] * 100
        after = await store.range("")
        await store.close()
        store = await SqliteStore.open(tmp_path / "s.db")
        assert await store.range("") == after
        await store.close()

    asyncio.run(scenario())


def opening(path: Path) -> str:
    async def open_and_close() -> None:
        store = await SqliteStore.open(path)
        await store.close()

    with pytest.raises(StoreError) as failure:
        asyncio.run(open_and_close())
    return str(failure.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none" / "s.db"
    assert opening(path) == f"the folder {path.parent} does not exist\n  hint: mkdir -p {path.parent}"


def test_a_file_that_is_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"hello, world " * 1000)
    assert "file is not a database\n  hint: restore it from a backup" in opening(tmp_path / "s.db")


def test_a_damaged_database(tmp_path: Path) -> None:
    async def write() -> None:
        store = await SqliteStore.open(tmp_path / "s.db")
        await fill(store, 2000)
        await store.close()

    asyncio.run(write())
    file = tmp_path / "s.db"
    damaged = bytearray(file.read_bytes())
    damaged[8192:40960] = b"\xff" * (40960 - 8192)
    file.write_bytes(damaged)
    assert "restore it from a backup" in opening(file)


def test_a_database_of_another_program_and_of_another_version(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE t (a)")
    assert "is a database of another program" in opening(tmp_path / "other.db")

    async def make() -> None:
        await (await SqliteStore.open(tmp_path / "s.db")).close()

    asyncio.run(make())
    with sqlite3.connect(tmp_path / "s.db") as db:
        db.execute("PRAGMA user_version = 99")
    assert "has schema version 99; this program knows 1" in opening(tmp_path / "s.db")


def test_one_file_has_one_user(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = await SqliteStore.open(tmp_path / "s.db")
        with pytest.raises(StoreError, match="is in use by another process"):
            await SqliteStore.open(tmp_path / "s.db")
        await first.close()
        await (await SqliteStore.open(tmp_path / "s.db")).close()

    asyncio.run(scenario())


def test_closing_finishes_what_was_begun(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await SqliteStore.open(tmp_path / "s.db")
        writes = [asyncio.create_task(store.txn([], [Put(f"/{i}", b"")])) for i in range(2000)]
        await asyncio.sleep(0)
        await store.close()
        assert all(result.succeeded for result in await asyncio.gather(*writes))
        store = await SqliteStore.open(tmp_path / "s.db")
        assert (await store.range("")).count == 2000
        await store.close()

    asyncio.run(scenario())


class Writers:
    """Which thread wrote each commit; the disk is as quick as told, whatever it is."""

    def __init__(self, store: SqliteStore, usual_s: float) -> None:
        self.threads: list[str] = []
        self._write, self._log = store._log._write, store._log
        self._usual_s = store._log.usual_s = usual_s
        store._log._write = self.write  # type: ignore[method-assign]  # to see who calls

    def write(self, rows: Sequence[log.Row]) -> None:
        self.threads.append(threading.current_thread().name)
        self._write(rows)
        self._log.usual_s = self._usual_s


@pytest.mark.parametrize(("usual_s", "writer"), [(0.0, "MainThread"), (0.01, "store-writer_0")])
def test_a_lone_change_is_written_by_the_loop_if_the_disk_is_quick(tmp_path: Path, usual_s: float, writer: str) -> None:
    async def scenario() -> None:
        store = await SqliteStore.open(tmp_path / "s.db")
        await store.txn([], [Put("/first", b"folds what the file's log may hold")])
        seen = Writers(store, usual_s)
        async with store.watch("", 0) as watch:
            await store.txn([], [Put("/a", b"1")])
            await asyncio.gather(*(store.txn([], [Put(f"/many/{i}", b"")]) for i in range(5)))
            await store.txn([], [Put("/large", bytes(1 << 20))])
            assert (seen.threads[0], set(seen.threads[1:])) == (writer, {"store-writer_0"})
            assert [event.rev for event in await anext(watch)] == list(range(3, 10))
        await store.close()

    asyncio.run(scenario())


def test_the_loop_leaves_folding_to_the_writer(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await SqliteStore.open(tmp_path / "s.db")
        await store.txn([], [Put("/first", b"")])
        seen = Writers(store, 0.0)
        store._log._pages = 3_790
        for i in range(4):
            await store.txn([], [Put(f"/{i}", b"")])
        assert seen.threads == ["MainThread", "MainThread", "store-writer_0", "MainThread"]
        await store.close()

    asyncio.run(scenario())


def test_a_full_disk_fails_a_write_of_the_loop_as_well(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await SqliteStore.open(tmp_path / "s.db")
        await store.txn([], [Put("/first", b"")])
        seen = Writers(store, 0.0)
        before = await store.range("")
        store._log._db.execute("PRAGMA max_page_count = 1")
        with pytest.raises(StoreError, match="full"):
            await store.txn([], [Put("/c", bytes(50_000))])
        assert (seen.threads, await store.range("")) == (["MainThread"], before)
        store._log._db.execute("PRAGMA max_page_count = 1000000")
        assert (await store.txn([], [Put("/c", b"")])).rev == before.rev + 1
        await store.close()

    asyncio.run(scenario())

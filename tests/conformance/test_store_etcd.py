"""The store on a real etcd: every promise of every store, and what only etcd can do to it."""

import asyncio
import contextlib
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netplane.store.etcd.link import Tls
from netplane.store.etcd.store import EtcdStore
from netplane.store.protocol import KV, Compacted, Compare, OutcomeUnknown, Put, StoreError, TxnResult, Unavailable
from tests.certificates import Certificate
from tests.etcd_process import Etcd
from tests.server_process import free_port
from tests.store_promises import BUFFER, KEEP, PROMISES, Scenario
from tests.tcp_relay import Relay

_numbers = itertools.count()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    with Etcd(tmp_path_factory.mktemp("etcd")) as process:
        yield process


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_etcd_keeps_every_stores_promises(etcd: Etcd, promise: Scenario) -> None:
    async def run() -> None:
        prefix = f"/np{next(_numbers)}"
        store = await EtcdStore.open([etcd.url], prefix=prefix, keep_revisions=KEEP, buffer_events=BUFFER)
        try:
            await promise(store)
        finally:
            await store.close()

    asyncio.run(run())


async def opened(etcd: Etcd, prefix: str = "", **options: Any) -> EtcdStore:
    return await EtcdStore.open([etcd.url], prefix=prefix or f"/np{next(_numbers)}", **options)


def test_two_stores_see_each_others_writes_and_only_their_own_prefix(etcd: Etcd) -> None:
    async def run() -> None:
        one = await opened(etcd, "/twin")
        two, stranger = await opened(etcd, "/twin"), await opened(etcd, "/twins")
        async with two.watch("/", 0) as watch:
            made = await one.txn([Compare("/a", 0)], [Put("/a", b"1")])
            assert (await two.txn([Compare("/a", 0)], [Put("/a", b"2")])).failed == (await one.get("/a"),)
            assert [event.rev for event in await anext(watch)] == [made.rev]
        assert await stranger.get("/a") is None
        for i in range(20):  # the strangers' writes move etcd's revision, and bring no event here
            await stranger.txn([], [Put("/a", b"%d" % i)])
            await one.txn([], [Put("/b", b"%d" % i)])
            await two.catch_up()
            assert await two.get("/b") == await one.get("/b")
        for store in (one, two, stranger):
            await store.close()

    asyncio.run(run())


def test_an_answer_that_gets_lost_is_found_out(etcd: Etcd) -> None:
    """The transaction happened, its answer did not arrive: sent again it fails, and history says it was ours."""

    async def run() -> None:
        relay = Relay(etcd.port)
        await relay.start()
        store = await EtcdStore.open([f"http://127.0.0.1:{relay.port}"], prefix="/lost")
        other = await opened(etcd, "/lost")
        first = await store.txn([Compare("/a", 0)], [Put("/a", b"1")])
        relay.lose_answers()
        async with other.watch("/", first.rev + 1) as watch:
            change = asyncio.create_task(store.txn([Compare("/a", first.rev)], [Put("/a", b"2"), Put("/b", b"2")]))
            happened = (await anext(watch))[0].rev
            await other.txn([], [Put("/a", b"3")])  # and it is not even the last word
        relay.cut()
        assert await change == TxnResult(True, happened)
        relay.lose_answers()
        lost = asyncio.create_task(store.txn([Compare("/a", first.rev)], [Put("/a", b"late")]))
        await asyncio.sleep(0.1)
        relay.cut()
        assert not (await lost).succeeded
        relay.lose_answers()
        async with other.watch("/c", 0) as watch:
            blind = asyncio.create_task(store.txn([], [Put("/c", b"")]))
            await anext(watch)
        relay.cut()
        with pytest.raises(OutcomeUnknown, match="whether this write happened is not known"):
            await blind
        for one in (store, other):
            await one.close()
        await relay.close()

    asyncio.run(run())


def test_another_member_is_asked_when_one_is_gone(etcd: Etcd) -> None:
    async def run() -> None:
        nobody = f"http://127.0.0.1:{free_port()}"
        for servers in ([nobody, etcd.url], [etcd.url, nobody]):
            store = await EtcdStore.open(servers, prefix="/failover")
            assert (await store.txn([], [Put("/a", b"")])).succeeded
            await store.close()
        with pytest.raises(Unavailable, match=f"cannot reach etcd at {nobody}"):
            await EtcdStore.open([nobody], prefix="/failover")

    asyncio.run(run())


def test_history_compacted_by_others_while_away_means_listing_again(tmp_path: Path) -> None:
    async def run() -> None:
        with Etcd(tmp_path) as etcd:
            relay = Relay(etcd.port)
            await relay.start()
            store = await EtcdStore.open([f"http://127.0.0.1:{relay.port}"], prefix="/away", keep_revisions=0)
            writer = await opened(etcd, "/away", keep_revisions=0)
            seen = (await store.txn([], [Put("/a", b"0")])).rev
            relay.lose_answers()
            for i in range(5):
                rev = (await writer.txn([], [Put("/a", b"%d" % i)])).rev
            await writer.compact(rev)
            async with store.watch("/", 0) as watch:
                relay.cut()
                with pytest.raises(StopAsyncIteration):
                    await anext(watch)
            assert await store.get("/a") == await writer.get("/a")
            with pytest.raises(Compacted):
                async with store.watch("/", seen + 1):
                    pass
            for one in (store, writer):
                await one.close()
            await relay.close()

    asyncio.run(run())


def test_an_etcd_restored_from_a_copy_goes_on_above_all_revisions(tmp_path: Path) -> None:
    async def run() -> None:
        etcd = Etcd(tmp_path / "etcd")
        etcd.start()
        stores = [await opened(etcd, "/back"), await opened(etcd, "/back")]
        old = await stores[0].txn([], [Put("/kept", b"")])
        etcd.kill()
        shutil.copytree(etcd.folder / "data", tmp_path / "copy")
        etcd.start()
        for i in range(10):
            last = (await stores[0].txn([Compare(f"/{i}", 0)], [Put(f"/{i}", b"")])).rev
        await stores[1].catch_up()
        async with stores[0].watch("/", last + 1) as watch:
            etcd.kill()
            shutil.rmtree(etcd.folder / "data")
            shutil.copytree(tmp_path / "copy", etcd.folder / "data")
            etcd.start()
            with pytest.raises(StopAsyncIteration):
                await anext(watch)
        kept: list[KV] = []
        for store in stores:
            await caught_up(store)
            assert [kv.key for kv in (await store.range("")).kvs] == ["/kept"]
            kv = await store.get("/kept")
            assert kv is not None
            assert kv.mod_rev > last > old.rev
            kept.append(kv)
            with pytest.raises(Compacted):
                async with store.watch("/", last + 1):
                    pass
        kv = kept[0]
        made = await stores[1].txn([Compare("/kept", kv.mod_rev)], [Put("/kept", b"new")])
        await stores[0].catch_up()
        assert await stores[0].get("/kept") == KV("/kept", b"new", made.rev, kv.create_rev)
        for store in stores:
            await store.close()
        etcd.kill()

    asyncio.run(run())


async def caught_up(store: EtcdStore) -> None:
    """As a client does that is told 503: again."""
    while True:
        with contextlib.suppress(Unavailable):
            await store.catch_up()
            return
        await asyncio.sleep(0.02)


def test_keys_of_somebody_else_are_left_alone(etcd: Etcd) -> None:
    async def run() -> None:
        store = await opened(etcd, "/theirs/1")
        await store.txn([], [Put("/a", b"")])
        await store.close()
        with pytest.raises(StoreError, match="keys under /theirs that this program did not write"):
            await opened(etcd, "/theirs")

    asyncio.run(run())


def test_a_value_too_large_is_refused_in_words(etcd: Etcd) -> None:
    async def run() -> None:
        store = await opened(etcd)
        with pytest.raises(StoreError, match=r"request is too large[\s\S]*--max-request-bytes"):
            await store.txn([], [Put("/a", bytes(2_000_000))])
        with pytest.raises(StoreError, match=r"too many operations[\s\S]*--max-txn-ops"):
            await store.txn([], [Put(f"/{i}", b"") for i in range(200)])
        assert (await store.txn([], [Put("/a", b"")])).succeeded
        await store.close()

    asyncio.run(run())


def test_an_etcd_that_takes_few_operations_takes_all_the_same(tmp_path: Path) -> None:
    async def run(etcd: Etcd) -> None:
        store = await opened(etcd)
        done = await asyncio.gather(*(store.txn([Compare(f"/{i}", 0)], [Put(f"/{i}", b"")]) for i in range(100)))
        assert all(one.succeeded for one in done)
        assert len({one.rev for one in done}) == 100
        await store.close()

    with Etcd(tmp_path, "--max-txn-ops", "8") as etcd:
        asyncio.run(run(etcd))


def test_clients_show_certificates(tmp_path: Path) -> None:
    """etcd asks for one; without it nothing is answered."""
    signer = Certificate.issue("etcd CA", authority=True)
    authority = signer.write(tmp_path, "ca").cert
    server = Certificate.issue("server", by=signer, server=True).write(tmp_path, "server")
    client = Certificate.issue("client", by=signer).write(tmp_path, "client")
    flags = ("--cert-file", str(server.cert), "--key-file", str(server.key), "--client-cert-auth")
    etcd = Etcd(tmp_path / "etcd", *flags, "--trusted-ca-file", str(authority))
    etcd.scheme = "https"

    async def run() -> None:
        tls = Tls(authority, client.cert, client.key)
        store = await EtcdStore.open([etcd.url], prefix="/tls", tls=tls)
        assert (await store.txn([], [Put("/a", b"")])).succeeded
        await store.close()
        with pytest.raises(Unavailable):
            await EtcdStore.open([etcd.url], prefix="/tls", tls=Tls(authority))
        with pytest.raises(StoreError, match=r"cannot read .*nowhere"):
            await EtcdStore.open([etcd.url], prefix="/tls", tls=Tls(tmp_path / "nowhere"))

    with etcd:
        asyncio.run(run())

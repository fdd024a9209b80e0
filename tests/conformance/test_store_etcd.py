"""The store on a real etcd: every promise of every store, and what only etcd can do to it."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from netplane.store.etcd.store import EtcdStore
from tests.etcd_process import Etcd
from tests.store_promises import BUFFER, KEEP, PROMISES, Scenario

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

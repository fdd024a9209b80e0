"""Any sequence of transactions, reads, compactions, restarts and crashes: SQLite and the model are indistinguishable.

A crash is a copy of the files as they lie on the disk, opened in place of the store that still had them open.
"""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule

from netplane.store.protocol import Store
from netplane.store.sqlite import SqliteStore
from tests.store_machine import KEEP, OldWatchMachine


class SqliteMachine(OldWatchMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="netplane-store-"))
        self.life = 0
        self.path().parent.mkdir()
        self.abandoned: list[Store] = []

    def path(self) -> Path:
        return self.folder / f"life{self.life}" / "s.db"

    def open(self) -> Store:
        return self.wait(SqliteStore.open(self.path(), keep_revisions=KEEP))

    @rule()
    def crash(self) -> None:
        self.catch_up()
        before = self.path().parent
        self.abandoned.append(self.store)
        self.life += 1
        shutil.copytree(before, self.path().parent)
        self.reopen()

    def teardown(self) -> None:
        for store in self.abandoned:
            self.wait(store.close())
        super().teardown()
        shutil.rmtree(self.folder)


TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = settings(
    max_examples=80, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

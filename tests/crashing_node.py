"""A node whose process may die at any step: before and after every send, every transition, every firewall text."""

from typing import Any

import pytest

from cni import doors, engine, mender, rules
from cni.leases import Leases
from netplane.kernel.nft import Nft
from netplane.kernel.rtnl import Rtnl
from tests.cnitools import Node


class Crash(BaseException):
    """The process is gone: nothing it wanted to do afterwards happens either."""


class Fuse:
    """Lets so many steps pass, and none after that."""

    def __init__(self) -> None:
        self.left: int | None = None

    def step(self) -> None:
        if self.left is None:
            return
        if self.left <= 0:
            raise Crash
        self.left -= 1


FUSE = Fuse()


class FusedRtnl(Rtnl):
    """Every send may be the last, before it or after it."""

    def apply(self, requests: Any, *, undo: bool = True) -> None:
        FUSE.step()
        super().apply(requests, undo=undo)
        FUSE.step()


class FusedLeases(Leases):
    """So may every transition."""

    def reserve(self, *args: Any, **more: Any) -> Any:
        FUSE.step()
        found = super().reserve(*args, **more)
        FUSE.step()
        return found

    def activate(self, *args: Any) -> None:
        FUSE.step()
        super().activate(*args)
        FUSE.step()

    def release(self, *args: Any) -> bool:
        FUSE.step()
        found = super().release(*args)
        FUSE.step()
        return found

    def take_ports(self, *args: Any) -> None:
        FUSE.step()
        super().take_ports(*args)
        FUSE.step()

    def drop_ports(self, *args: Any) -> None:
        FUSE.step()
        super().drop_ports(*args)
        FUSE.step()


class FusedNft(Nft):
    """And every transaction of the firewall."""

    def run_text(self, text: str) -> str:
        FUSE.step()
        found = super().run_text(text)
        FUSE.step()
        return found


class CrashingNode(Node):
    """A node whose engine is built of parts with the fuse."""

    def _engine(self) -> engine.Engine:
        leases = FusedLeases(self.state_dir / "leases.db", self.boot_id)
        made = engine.Engine(leases, clock=lambda: self.now_s)
        made.reconcile()
        return made


def fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the plugin's parts use doors with the fuse."""
    for module in (engine, doors, mender):
        monkeypatch.setattr(module, "Rtnl", FusedRtnl)
    monkeypatch.setattr(rules, "Nft", FusedNft)

"""A node whose process may die at any step: before and after every send, every transition, every firewall text."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import pytest

from cni import doors, engine, mender, rules
from cni.leases import Leases
from netplane.kernel.nft import Nft
from netplane.kernel.rtnl import Rtnl
from tests.cnitools import Node

P = ParamSpec("P")
T = TypeVar("T")


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


def risky(work: Callable[P, T]) -> Callable[P, T]:
    """The same, and it may be the last: the process dies before it or after it."""

    @functools.wraps(work)
    def step(*args: P.args, **more: P.kwargs) -> T:
        FUSE.step()
        found = work(*args, **more)
        FUSE.step()
        return found

    return step


class FusedRtnl(Rtnl):
    """Every send may be the last."""

    apply = risky(Rtnl.apply)


class FusedLeases(Leases):
    """So may every transition."""

    reserve = risky(Leases.reserve)
    activate = risky(Leases.activate)
    release = risky(Leases.release)
    take_ports = risky(Leases.take_ports)
    drop_ports = risky(Leases.drop_ports)


class FusedNft(Nft):
    """And every transaction of the firewall."""

    run_text = risky(Nft.run_text)


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

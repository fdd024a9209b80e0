"""Waiting in tests for what a process, a thread or a task does. That it happens is asserted, never how soon."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_S = 20.0


def until(holds: Callable[[], T], what: str | Callable[[], object] = "", within_s: float = PATIENCE_S) -> T:
    """Wait until it is true, and return it. The AssertionError otherwise says `what`, asked then if it is callable."""
    deadline = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < deadline, _in_vain(what, within_s)
        time.sleep(0.02)
    return found


async def until_async(holds: Callable[[], T], what: str | Callable[[], object] = "", within_s: float = PATIENCE_S) -> T:
    """The same, while other tasks run."""
    deadline = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < deadline, _in_vain(what, within_s)
        await asyncio.sleep(0.005)
    return found


def _in_vain(what: str | Callable[[], object], within_s: float) -> str:
    return f"waited {within_s:g} s in vain: {what() if callable(what) else what}"

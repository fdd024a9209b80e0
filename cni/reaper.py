"""Deletes links, and returns as soon as they are gone rather than when the kernel has cleaned up after them.

    delete ─▶ worker: RTM_DELLINK ─── 1 to 3 ms ──▶ down, off every list, name free ──▶ told to all (RTNLGRP_LINK)
                      blocked in send ··· 10 to 20 ms more: the kernel waits for its readers (RCU), then answers

What a runtime, `ip link` or the next ADD can see is over with the first, so callers wait for that. Deletions that come
while all workers are blocked are done together, as one group: thirty cost little more than one.
"""

import threading
from collections import deque
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor

from cni.doors import Doors
from netplane.kernel.monitor import Departures
from netplane.kernel.netlink import KernelError
from netplane.rtnl import Change, DeleteGroup, Request, delete_link

# Only links that are about to be deleted are ever in these groups ("np" in ASCII, and the worker's thread).
DOOMED_GROUP = 0x6E70_0000
WORKERS = 4


class Reaper:
    """Deletes links of the namespace it and its callers are in; callers of any thread wait until theirs is gone."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._waiting: deque[tuple[str, Future[None]]] = deque()
        self._by_index: dict[int, list[Future[None]]] = {}
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(WORKERS, "reaper")
        self._departures: Departures | None = None
        self._listener = threading.Thread(target=self._listen, name="departures", daemon=True)

    def close(self) -> None:
        """Finish what waits."""
        self._workers.shutdown()
        if self._departures is not None:
            self._departures.stop()
            self._listener.join()
            self._departures.close()

    def delete(self, name: str) -> None:
        """Delete a link and return once it is gone; one that is not there is gone already.

        Raises:
            KernelError: the kernel refused.
        """
        index = self._doors.here.find(name)
        if not index:
            return
        done: Future[None] = Future()
        with self._lock:
            if self._departures is None:
                self._departures = Departures()
                self._listener.start()
            self._by_index.setdefault(index, []).append(done)
        self._waiting.append((name, done))
        self._workers.submit(self._drain)
        try:
            done.result()
        finally:
            with self._lock:
                self._by_index.pop(index, None)

    def _listen(self) -> None:
        assert self._departures is not None, "started by delete"
        while (gone := self._departures.wait()) is not None:
            with self._lock:
                found = [done for index in gone for done in self._by_index.pop(index, ())]
            for done in found:
                _settle(done)

    def _drain(self) -> None:
        batch: list[tuple[str, Future[None]]] = []
        while self._waiting:
            try:
                batch.append(self._waiting.popleft())
            except IndexError:  # another worker was quicker
                break
        if len(batch) > 1 and self._together([name for name, _ in batch]):
            for _, done in batch:
                _settle(done)
            return
        for name, done in batch:
            try:
                self._doors.here.apply([delete_link(name, missing_ok=True)], undo=False)
                _settle(done)
            except BaseException as error:
                _settle(done, error)

    def _together(self, names: list[str]) -> bool:
        """Whether all are gone: False when one vanished meanwhile, and then each is tried alone."""
        group = DOOMED_GROUP + threading.get_native_id() % 0xFFFF
        requests: list[Request] = [Change(name, group=group) for name in dict.fromkeys(names)]
        try:
            self._doors.here.apply([*requests, DeleteGroup(group)], undo=False)
        except KernelError:
            return False
        return True


def _settle(done: "Future[None]", error: BaseException | None = None) -> None:
    """Whoever comes first decides: the news that a link is gone, or the kernel's answer."""
    try:
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
    except InvalidStateError:
        pass

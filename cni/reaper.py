"""Deletes links. The kernel waits for its readers (RCU) once per request, some 14 ms; deletions that come while one is
under way are therefore done together, as one group: thirty cost little more than one.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from cni.doors import Doors
from netplane.kernel.netlink import KernelError
from netplane.rtnl import Change, DeleteGroup, Request, delete_link

# Only links that are about to be deleted are ever in this group ("np" in ASCII).
DOOMED_GROUP = 0x6E70


class Reaper:
    """Deletes links of the namespace it and its callers are in; callers of any thread wait until theirs is gone."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._waiting: deque[tuple[str, Future[None]]] = deque()
        self._worker = ThreadPoolExecutor(1, "reaper")

    def close(self) -> None:
        """Finish what waits."""
        self._worker.shutdown()

    def delete(self, name: str) -> None:
        """Delete a link and return once it is gone; one that is not there is gone already.

        Raises:
            KernelError: the kernel refused.
        """
        if not self._doors.here.find(name):
            return
        done: Future[None] = Future()
        self._waiting.append((name, done))
        self._worker.submit(self._drain)
        done.result()

    def _drain(self) -> None:
        batch: list[tuple[str, Future[None]]] = []
        while self._waiting:
            batch.append(self._waiting.popleft())
        if len(batch) > 1 and self._together([name for name, _ in batch]):
            for _, done in batch:
                done.set_result(None)
            return
        for name, done in batch:
            try:
                self._doors.here.apply([delete_link(name, missing_ok=True)], undo=False)
                done.set_result(None)
            except BaseException as error:
                done.set_exception(error)

    def _together(self, names: list[str]) -> bool:
        """Whether all are gone: False when one vanished meanwhile, and then each is tried alone."""
        requests: list[Request] = [Change(name, group=DOOMED_GROUP) for name in dict.fromkeys(names)]
        try:
            self._doors.here.apply([*requests, DeleteGroup(DOOMED_GROUP)], undo=False)
        except KernelError:
            return False
        return True

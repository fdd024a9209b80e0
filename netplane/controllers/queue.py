"""Keys that want work: each at most once in the queue, never twice at the same time. Pure; the clock is told to it.

poke ──► ready ──take──► running ──finished ok──► (gone)          poked while running → ready again
            ▲                 └────finished, failed──► due at now + backoff ──► ready
            └── due at a time that was asked for ◄── finished(again_s)
"""

import heapq


class KeyQueue:
    """Seconds on any clock. After the n-th failure of a key in a row it waits min(first * 2^n, longest), half jitter.

    A poke ends a wait: something changed, and that may be what was lacking.
    """

    def __init__(self, *, first_s: float = 0.02, longest_s: float = 5.0) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self.adds = 0
        self.retries = 0
        self.waited_s = 0.0  # how long the key that was taken last had been ready
        self._ready: dict[str, float] = {}  # key → since when
        self._running: dict[str, float] = {}
        self._due: list[tuple[float, str]] = []
        self._due_at: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    def __len__(self) -> int:
        """Keys that are ready."""
        return len(self._ready)

    def poke(self, key: str, now: float = 0.0) -> None:
        """Work on this key as soon as possible."""
        self._due_at.pop(key, None)
        if key not in self._ready:
            self._ready[key] = now
            self.adds += 1

    def running_s(self, now: float) -> list[float]:
        """For how long each key that is being worked on has been."""
        return [now - since for since in self._running.values()]

    def take(self, now: float) -> str | None:
        """The next key to work on, which counts as running until `finished`."""
        self._ripen(now)
        key = next((key for key in self._ready if key not in self._running), None)
        if key is not None:
            self.waited_s = max(now - self._ready.pop(key), 0.0)
            self._running[key] = now
        return key

    def wait_s(self, now: float) -> float | None:
        """How long until a key becomes due by itself; None: never."""
        while self._due and self._due_at.get(self._due[0][1]) != self._due[0][0]:
            heapq.heappop(self._due)  # was poked or planned anew meanwhile
        return max(self._due[0][0] - now, 0.0) if self._due else None

    def finished(self, key: str, now: float, *, ok: bool, dice: float, again_s: float | None = None) -> None:
        """The work on `key` is over; `again_s` asks to look at it again then. `dice` in [0, 1) is the jitter."""
        self._running.pop(key, None)
        if ok:
            self._failures.pop(key, None)
        else:
            count = self._failures.get(key, 0)
            self._failures[key] = count + 1
            self.retries += 1
            again_s = min(self._first_s * 2.0 ** min(count, 32), self._longest_s) * (0.5 + 0.5 * dice)
        if again_s is not None and key not in self._ready:
            self._due_at[key] = now + again_s
            heapq.heappush(self._due, (now + again_s, key))

    def _ripen(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            when, key = heapq.heappop(self._due)
            if self._due_at.get(key) == when:
                self.poke(key, now)

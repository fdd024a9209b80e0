"""Who is served next when there is more to do than one turn of the event loop can hold: a fair queue between users.

All requests run on one event loop, and many run from end to end without ever waiting: of 200 connections with a request
each, one user's single request would come last. So work is let in by turns:

    a turn      what is let in until the loop has gone round once: at most TURN_REQUESTS, for at most TURN_S
    a seat      held by a request from its start until its answer is known (a write waits for its commit meanwhile)
    a queue     one for each user who has to wait; the user who was served least, by cost, is served next
                (start-time fair queueing: Goyal, Vin, Cheng 1996)

Without contention a request passes by two comparisons. A user's queue is bounded, in length and in time waited: what
is over is refused with 429, so that its client comes back later.
"""

import asyncio
import heapq
import time
from collections import deque
from enum import Enum

TURN_REQUESTS = 16
TURN_S = 0.005
LEAST_IN_TURN = 4
QUEUE_LENGTH = 300
MAX_WAIT_S = 15.0
BYTES_PER_UNIT = 64 * 1024


class Entry(Enum):
    """How asking for a seat ended."""

    GRANTED = "granted"
    QUEUE_FULL = "queue-full"
    TIME_OUT = "time-out"


class Flow:
    """One user's queue. `spent` is the cost served so far, on the gate's virtual clock; `listed`: in the order."""

    __slots__ = ("listed", "spent", "user", "waiting")

    def __init__(self, user: str, spent: float) -> None:
        self.user = user
        self.spent = spent
        self.listed = False
        self.waiting: deque[tuple[float, asyncio.Future[Entry]]] = deque()


class Gate:
    """Lets requests of one class in.

    Attributes:
        seats: how many may be under way at once.
        executing, waiting: how many are now.
        dispatched: how many were let in since the start; `rejected`: how many were not, by reason.
        waited_s: time spent waiting, in sum.
    """

    def __init__(self, seats: int) -> None:
        self.seats = seats
        self.executing = 0
        self.waiting = 0
        self.dispatched = 0
        self.rejected = {Entry.QUEUE_FULL: 0, Entry.TIME_OUT: 0}
        self.waited_s = 0.0
        self._flows: dict[str, Flow] = {}
        self._order: list[tuple[float, int, Flow]] = []
        self._sequence = 0
        self._clock = 0.0
        self._turn_open = False
        self._turn_began = 0.0
        self._turn_used = 0

    def enter_now(self) -> bool:
        """Take a seat if nobody waits and this turn has room."""
        if self._order or self.executing >= self.seats:
            return False
        if not self._turn_open:
            self._open_turn(0)
        elif self._turn_used >= TURN_REQUESTS or time.perf_counter() - self._turn_began > TURN_S:
            return False
        self._turn_used += 1
        self.executing += 1
        self.dispatched += 1
        return True

    async def enter(self, user: str) -> Entry:
        """Take a seat, after waiting for it if need be."""
        if self.enter_now():
            return Entry.GRANTED
        flow = self._flows.get(user)
        if flow is None:
            flow = self._flows[user] = Flow(user, self._clock)
        if len(flow.waiting) >= QUEUE_LENGTH:
            self.rejected[Entry.QUEUE_FULL] += 1
            return Entry.QUEUE_FULL
        began = time.perf_counter()
        answer: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        flow.waiting.append((began, answer))
        self.waiting += 1
        if not flow.listed:
            self._push(flow)
        if not self._turn_open:
            self._open_turn(0)
        try:
            entry = await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.result() is Entry.GRANTED:
                self.leave(user)
            raise
        self.waited_s += time.perf_counter() - began
        return entry

    def leave(self, user: str, answer_bytes: int = 0) -> None:
        """Give the seat back. Who got a large answer was served more than who got a small one."""
        self.executing -= 1
        flow = self._flows.get(user)
        if flow is not None:
            flow.spent += answer_bytes / BYTES_PER_UNIT
        if self._order and not self._turn_open:
            self._open_turn(0)

    def expire(self, now: float) -> None:
        """Refuse whoever has waited too long; `now` as time.perf_counter gives it."""
        for flow in self._flows.values():
            while flow.waiting and now - flow.waiting[0][0] > MAX_WAIT_S:
                _, answer = flow.waiting.popleft()
                self.waiting -= 1
                if not answer.done():
                    self.rejected[Entry.TIME_OUT] += 1
                    answer.set_result(Entry.TIME_OUT)

    def _push(self, flow: Flow) -> None:
        flow.listed = True
        self._sequence += 1
        heapq.heappush(self._order, (flow.spent, self._sequence, flow))

    def _open_turn(self, used: int) -> None:
        self._turn_open = True
        self._turn_began = time.perf_counter()
        self._turn_used = used
        asyncio.get_running_loop().call_soon(self._turn_over)

    def _turn_over(self) -> None:
        """The loop went round: let the next ones in, as many as the last turn suggests fit into TURN_S."""
        self._turn_open = False
        if not self._order:
            return
        took_s = time.perf_counter() - self._turn_began
        fits = int(TURN_S / took_s * self._turn_used) if took_s > TURN_S else TURN_REQUESTS
        let_in = self._let_in(max(LEAST_IN_TURN, fits))
        if let_in or self.executing < self.seats:
            self._open_turn(let_in)  # after those it let in: they run before it is over

    def _let_in(self, most: int) -> int:
        count = 0
        while self._order and count < most and self.executing < self.seats:
            spent, _, flow = heapq.heappop(self._order)
            if spent == flow.spent and flow.waiting:
                count += self._serve(flow)
            if flow.waiting:  # more to serve, or charged since it was put into the order
                self._push(flow)
            else:
                del self._flows[flow.user]
        return count

    def _serve(self, flow: Flow) -> int:
        """Let the first of a user's requests in; how many that are (its client may be gone)."""
        self._clock = flow.spent
        _, answer = flow.waiting.popleft()
        self.waiting -= 1
        served = not answer.done()
        if served:
            answer.set_result(Entry.GRANTED)
            self.executing += 1
            self.dispatched += 1
            flow.spent += 1
        return int(served)

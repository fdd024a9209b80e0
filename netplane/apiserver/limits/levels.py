"""How much one apiserver takes on at once, from whom, and for how long.

    who                                              priority level     let in by
    system:masters                                   exempt             nobody: at once
    nodes, kube-system's accounts, system:kube-*     system             gates of its own: a fifth of the seats
    everybody else                                   global-default     the other gates: four fifths
    everybody, about the server itself               describing         a gate of its own; probes of health freely

Each level has two gates (netplane.apiserver.limits.fairness), one for requests that read and one for those that change
something; inside a gate users are served fairly. Watches pass a gate to begin and hold no seat. A request that is
not answered in time is answered with 504; what it began goes on, as its outcome cannot be taken back.
Source: API priority and fairness, and the max-in-flight and timeout filters, of Kubernetes 1.36.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from netplane.api import errors
from netplane.apiserver.access.tokens import MASTERS, User
from netplane.apiserver.limits.fairness import Entry, Gate
from netplane.apiserver.wire.durations import BadDuration, seconds

SWEEP_S = 0.5
SYSTEM_SHARE = 0.2
DESCRIBING_SEATS = 20
PROBES = ("/livez", "/readyz", "/healthz")
WATCHES_PER_USER = 5000
RETRY_AFTER_S = 1
READS = frozenset({"get", "list", "watch"})
_SYSTEM_GROUPS = frozenset({"system:nodes", "system:serviceaccounts:kube-system"})


class Flight:
    """A request under way. `deadline` is in time.perf_counter's seconds; `late` the task that told the client."""

    __slots__ = ("deadline", "give_up", "late", "verb")

    def __init__(self, verb: str, deadline: float, give_up: Callable[[], Awaitable[None]]) -> None:
        self.verb = verb
        self.deadline = deadline
        self.give_up = give_up
        self.late: asyncio.Task[None] | None = None


class Level:
    """A priority level: its gates."""

    def __init__(self, reading: int, changing: int) -> None:
        self.reading = Gate(reading)
        self.changing = Gate(changing)

    def gate(self, verb: str) -> Gate:
        """The gate that a request passes."""
        return self.reading if verb in READS else self.changing


class Limits:
    """One process' limits and what is under way.

    Args:
        reading, changing: seats (--max-requests-inflight, --max-mutating-requests-inflight).
        timeout_s: when a request that is no watch is given up (--request-timeout).
    """

    def __init__(self, reading: int = 400, changing: int = 200, timeout_s: float = 60.0) -> None:
        self.timeout_s = timeout_s
        small = [max(1, round(SYSTEM_SHARE * one)) for one in (reading, changing)]
        self.system = Level(*small)
        self.default = Level(max(1, reading - small[0]), max(1, changing - small[1]))
        self.describing = Gate(DESCRIBING_SEATS)  # discovery, schemas, metrics: what names no resource
        self.watches: dict[str, int] = {}
        self.timed_out = 0
        self._flights: set[Flight] = set()

    def level(self, user: User) -> Level | None:
        """Whose gates a user's requests pass; None: they pass freely."""
        groups = user.groups
        if MASTERS in groups:
            return None
        if user.name.startswith("system:kube-") or not _SYSTEM_GROUPS.isdisjoint(groups):
            return self.system
        return self.default

    async def enter(self, user: User, verb: str) -> Gate | None:
        """Take a seat. Raises StatusError 429 when there is none to be had in time."""
        level = self.level(user)
        if level is None:
            return None
        return await _seat(level.gate(verb), user)

    async def enter_path(self, user: User, path: str) -> Gate | None:
        """Take a seat for a request that names no resource. Raises StatusError 429."""
        if MASTERS in user.groups or path.startswith(PROBES):
            return None
        return await _seat(self.describing, user)

    def opened(self, user: User) -> None:
        """A watch begins. Raises StatusError 429 when its user has too many."""
        have = self.watches.get(user.name, 0)
        if have >= WATCHES_PER_USER and MASTERS not in user.groups:
            raise errors.too_many_requests(f"user {user.name!r} has {have} watches open, which is the limit", 10)
        self.watches[user.name] = have + 1

    def closed(self, user: User) -> None:
        """A watch ended."""
        left = self.watches[user.name] - 1
        if left:
            self.watches[user.name] = left
        else:
            del self.watches[user.name]

    def begin(
        self, verb: str, started: float, query: Mapping[str, str], give_up: Callable[[], Awaitable[None]]
    ) -> Flight:
        """A request that must be over in time; when it is not, `give_up` tells its client. Raises StatusError 400."""
        allowed_s = self.allowed_s(query["timeout"]) if "timeout" in query else self.timeout_s
        flight = Flight(verb, started + allowed_s, give_up)
        self._flights.add(flight)
        return flight

    def under_way(self) -> tuple[int, int]:
        """Requests that read, and requests that change something, now."""
        reading = sum(one.verb in READS for one in self._flights)
        return reading, len(self._flights) - reading

    def allowed_s(self, text: str) -> float:
        """How long a request may take whose client says `text`. Raises StatusError 400."""
        try:
            asked = seconds(text) if text else 0.0
        except BadDuration as error:
            raise errors.bad_request(f"invalid timeout specified in the request URL - {error}") from error
        return min(asked, self.timeout_s) if asked > 0 else self.timeout_s

    def end(self, flight: Flight) -> asyncio.Task[None] | None:
        """A request is over; the task that tells its client that it is too late, if there is one."""
        self._flights.discard(flight)
        return flight.late

    async def run(self) -> None:
        """Look after what takes too long, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep(time.perf_counter())

    def sweep(self, now: float) -> None:
        """Give up what is over its time at `now`."""
        for flight in [one for one in self._flights if one.deadline <= now]:
            self._flights.discard(flight)
            self.timed_out += 1
            flight.late = asyncio.ensure_future(flight.give_up())
        for level in (self.system, self.default):
            level.reading.expire(now)
            level.changing.expire(now)
        self.describing.expire(now)


async def _seat(gate: Gate, user: User) -> Gate:
    if not gate.enter_now() and await gate.enter(user.name) is not Entry.GRANTED:
        raise errors.too_many_requests("Too many requests, please try again later.", RETRY_AFTER_S)
    return gate

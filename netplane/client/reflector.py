"""The list-watch state machine of one informer: events in, the next request out. No network, clock or dice here.

Model: a list gives every object and the resource version it was taken at; a watch from that version gives every
change after it, in order, each carrying its own version. As long as the machine resumes the watch at the last
version it saw, nothing is lost or repeated. When the server no longer holds that version (410 Expired), only a
new list helps.

              Listed(continue)
               ┌──────┐
               ▼      │        Listed                   Ended, Failed (not 410)
    start ──► LISTING ─┴───────────────────► WATCHING ───────────────┐ resumes at the
               ▲  │ ▲                          │  ▲                  │ last version seen
               └──┘ └────── Failed(410) ───────┘  └──────────────────┘
              Failed

The rule that keeps it from spinning: an attempt that lived shorter than `settled_s` is a failure, however it
ended, and the n-th failure in a row waits min(first * 1.5^n, longest) seconds, of which half is jitter. One that
lived longer starts the count anew, so an apiserver that restarts is met again within 50 to 100 ms.
Source: "Efficient detection of changes", Kubernetes API concepts.
"""

import msgspec

# Watches are ended by the server after this long, so that their load spreads over replicas again; half is jitter.
WATCH_TIMEOUT_S = 600
GONE = 410
# What apiservers answer to a list at a version they have not reached yet (one restored from an older backup).
TOO_LARGE = 504


class List(msgspec.Struct, frozen=True):
    """Wait `delay_s`, then list; `resource_version` "" wants the newest state, "0" any state the server has."""

    resource_version: str = "0"
    continue_token: str = ""
    delay_s: float = 0.0


class Watch(msgspec.Struct, frozen=True):
    """Wait `delay_s`, then watch for changes after `resource_version`, for at most `timeout_s`."""

    resource_version: str
    timeout_s: int
    delay_s: float = 0.0


class Listed(msgspec.Struct, frozen=True):
    """A page of a list arrived, taken at `resource_version`; a `continue_token` says that there are more pages."""

    resource_version: str
    continue_token: str = ""


class Ended(msgspec.Struct, frozen=True):
    """A watch ended without an error after `lived_s`: by its timeout, or because the connection went away."""

    lived_s: float


class Failed(msgspec.Struct, frozen=True):
    """A list or a watch failed with an HTTP `code` (0: no answer) after `lived_s`.

    `retry_after_s` is what the server asked for in Retry-After.
    """

    code: int
    lived_s: float = 0.0
    retry_after_s: float = 0.0


Request = List | Watch
Event = Listed | Ended | Failed


class Backoff(msgspec.Struct, frozen=True):
    """How long to wait before attempt n + 1, in seconds."""

    first_s: float = 0.1
    longest_s: float = 5.0
    growth: float = (
        1.5  # so the wait is about half of the outage so far: an apiserver back after 1 s is met within 0.5 s
    )
    settled_s: float = 3.0

    def delay_s(self, failures: int, dice: float) -> float:
        """Half of the wait is fixed, half is `dice` (0 ≤ dice < 1): 50 to 100 ms after the first failure."""
        whole = min(self.first_s * self.growth ** min(failures, 64), self.longest_s)
        return whole * (0.5 + 0.5 * dice)


class Reflector:
    """One list-watch loop. Call `start`, do what it says, hand the outcome to `receive`, and so on for ever.

    While a watch runs, tell `saw` the version of each event (bookmarks too).
    """

    def __init__(self, backoff: Backoff | None = None) -> None:
        self.backoff = backoff or Backoff()
        self.first = "0"  # any state the server has is good enough to begin with; "" asks for the newest
        self.resource_version = ""
        self.failures = 0
        self._watching = False

    def start(self) -> Request:
        """The first request."""
        return List(self.first)

    def saw(self, resource_version: str) -> None:
        """An event or bookmark of the running watch was applied."""
        self.resource_version = resource_version

    def receive(self, event: Event, dice: float) -> Request:
        """The outcome of the last request → the next one. `dice` in [0, 1) spreads the waits of many clients."""
        match event:
            case Listed():
                return self._listed(event, dice)
            case Ended():
                return self._watch(dice, self._wait_s(event.lived_s, dice))
            case Failed():
                return self._failed(event, dice)

    def _listed(self, event: Listed, dice: float) -> Request:
        if event.continue_token:
            return List("", event.continue_token)
        self._watching = True
        self.resource_version = event.resource_version
        # Failures are not forgotten here: a server that lists well but refuses each watch must not be hammered.
        return self._watch(dice, 0.0)

    def _failed(self, event: Failed, dice: float) -> Request:
        first = self.failures == 0 or event.lived_s >= self.backoff.settled_s
        delay_s = max(self._wait_s(event.lived_s, dice), event.retry_after_s)
        if event.code == GONE:
            # The first time there is nothing to wait for: the version is gone, and the server is well.
            self._watching = False
            return List("", delay_s=0.0 if first else delay_s)
        if self._watching and event.code != TOO_LARGE:
            return self._watch(dice, delay_s)
        self._watching = False
        return List("" if event.code == TOO_LARGE or self.resource_version else self.first, delay_s=delay_s)

    def _wait_s(self, lived_s: float, dice: float) -> float:
        if lived_s >= self.backoff.settled_s:
            self.failures = 0
        delay_s = self.backoff.delay_s(self.failures, dice)
        self.failures += 1
        return delay_s

    def _watch(self, dice: float, delay_s: float) -> Watch:
        return Watch(self.resource_version, int(WATCH_TIMEOUT_S * (0.5 + 0.5 * dice)), delay_s)

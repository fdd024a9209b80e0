"""How long the network took to follow: from what the endpoint controller saw to the rules in the kernel.

The controller writes the time of the change that made it write (a pod became ready, a service changed) on the slice.
Only changes since this proxy began count: older ones say how long it was away, not how fast it is.
"""

from datetime import datetime

ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"


class Triggers:
    """Trigger times of changes that are on their way to the kernel, by service. Times are seconds since the epoch."""

    def __init__(self, since_unix_s: float) -> None:
        self._since = since_unix_s
        self._times: dict[str, list[float]] = {}

    def seen(self, service: str, text: str | None) -> None:
        """A slice of a service came with this annotation (RFC 3339, or none)."""
        if text is None:
            return
        try:
            when = datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
        except ValueError:
            return
        if when >= self._since:
            self._times.setdefault(service, []).append(when)

    def gone(self, service: str) -> None:
        """A slice of a service was deleted: what its changes waited for will not come."""
        self._times.pop(service, None)

    def take(self, now_unix_s: float) -> list[float]:
        """Everything is in the kernel: how long each change took, in seconds."""
        taken, self._times = self._times, {}
        return [max(now_unix_s - when, 0.0) for times in taken.values() for when in times]

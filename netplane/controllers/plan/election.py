"""Who leads: one holder of a Lease, renewed by writing it. Pure; the clock is told. Source: KEP-589's Lease, client-go.

    nobody holds it, or the holder was not *seen* to renew for its duration ──► take it     (transitions + 1)
    we hold it                                                              ──► renew it    (a compare-and-swap)
    another holds it                                                        ──► look again

The times in a Lease are for people: clocks of machines need not agree. What counts is when this process saw the record
change. So a candidate waits a full duration (15 s) after the last change it saw, while the leader gives up by itself
10 s after it *began* its last successful renewal: however the network delays things, the old leader is silent before
the new one speaks.

    leader     renew ok ├─────── may write ────────┤ 10 s: stops
    candidate            └ sees it later ├──────────────────────────── 15 s ─────────────────────────────┤ takes it
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from netplane.api.objects import Lease, LeaseSpec, ObjectMeta


class Timing(NamedTuple):
    """Seconds: how long a silent leader is respected, for how long one may write after a renewal, how often to try."""

    lease_s: float = 15.0
    renew_s: float = 10.0
    retry_s: float = 2.0

    def problem(self) -> str:
        """Why these times do not keep two leaders apart; "" when they do. Client-go's rules, factor 1.2 for jitter."""
        if self.lease_s <= self.renew_s:
            return "the lease duration must be greater than the renew deadline"
        if self.renew_s <= self.retry_s * 1.2:
            return "the renew deadline must be greater than 1.2 times the retry period"
        return "" if self.retry_s > 0 and self.lease_s >= 1 else "the times must be positive, the lease at least 1 s"


class Seen(NamedTuple):
    """A record, and when (on our clock) it was first seen to be as it is. The record None: there is no Lease."""

    lease: Lease | None
    at_s: float


def saw(before: Seen | None, lease: Lease | None, now_s: float) -> Seen:
    """Look at the Lease once more: only a change of the record counts as a sign of life."""
    if before is not None and _record(before.lease) == _record(lease):
        return Seen(lease, before.at_s)
    return Seen(lease, now_s)


def is_free(seen: Seen, identity: str, now_s: float) -> bool:
    """Whether this candidate may write the Lease now."""
    if seen.lease is None or not seen.lease.spec.holder_identity or seen.lease.spec.holder_identity == identity:
        return True
    return seen.at_s + (seen.lease.spec.lease_duration_seconds or 0) < now_s


def claim(seen: Seen, name: ObjectMeta, identity: str, timing: Timing, now: str) -> Lease:
    """The Lease as the holder writes it. With the version that was read, so that of two claims one is refused."""
    old = seen.lease.spec if seen.lease else LeaseSpec()
    mine = old.holder_identity == identity
    changes = (old.lease_transitions or 0) + (0 if mine or seen.lease is None else 1)
    spec = LeaseSpec(
        holder_identity=identity,
        lease_duration_seconds=int(timing.lease_s),
        acquire_time=old.acquire_time if mine else now,
        renew_time=now,
        lease_transitions=changes,
    )
    return Lease(metadata=seen.lease.metadata if seen.lease else name, spec=spec)


def release(held: Lease, now: str) -> Lease:
    """The Lease without a holder, so that the next one need not wait."""
    spec = msgspec.structs.replace(
        held.spec, holder_identity="", lease_duration_seconds=1, acquire_time=now, renew_time=now
    )
    return msgspec.structs.replace(held, spec=spec)


def holder(lease: Lease | None) -> str:
    """Who holds it; "" for nobody."""
    return (lease.spec.holder_identity if lease else None) or ""


def _record(lease: Lease | None) -> Mapping[str, Any] | Literal[""]:
    built: Mapping[str, Any] = msgspec.to_builtins(lease.spec) if lease else {}
    return built or ""

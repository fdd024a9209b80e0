"""Tracked flows as the plan sees them, and their end."""

from collections.abc import Iterable

from netplane.kernel.conntrack import Conntrack, Flow
from netplane.nft.types import Family
from proxy.plan.flows import Seen
from proxy.plan.model import frontend_key


class Cleaner:
    """Reads and deletes flows of one namespace. Not to be called from two threads at once."""

    def __init__(self, conntrack: Conntrack) -> None:
        self._conntrack = conntrack

    def flows(self, family: Family, protocol: int) -> list[tuple[Flow, Seen]]:
        """All flows of a family and protocol, with what the plan needs to judge them."""
        return [(flow, _seen(flow)) for flow in self._conntrack.flows(family, protocol)]

    def delete(self, family: Family, flows: Iterable[Flow]) -> int:
        """Delete flows; returns how many were still there."""
        return self._conntrack.delete(family, flows)


def _seen(flow: Flow) -> Seen:
    forth, back = flow.original, flow.reply
    return Seen(
        frontend_key(forth.destination, flow.protocol, forth.destination_port),
        back.source + back.source_port.to_bytes(2, "big") + b"\0\0",
        (forth.destination, forth.destination_port) != (back.source, back.source_port),
    )

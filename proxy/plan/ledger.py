"""What one family's table holds, service by service, and what a change of services does to it.

The ledger answers `update(service, fragment)` with element changes and remembers the result; nothing else is kept of a
service. Elements that several services may share are counted (hairpin addresses, ClusterIPs) or claimed: of two
services that ask for the same frontend, the one of the better rank has it (nobody takes a ClusterIP away by an external
IP), and among equals the one whose key sorts first, whatever came first. So the outcome does not depend on the order of
events: incremental equals from scratch.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

from netplane.nft import types
from netplane.nft.elements import Change, Value, cidr_elements, diff
from netplane.nft.objects import Table
from netplane.nft.types import goto
from proxy.plan.affinity import HANDLE_BYTES, Handles, slots
from proxy.plan.model import (
    LB,
    ROW_SHARDS,
    SHARD_ROWS,
    SHORT,
    STICKY,
    STICKY_SHORT,
    Fragment,
    Frontend,
    endpoint_types,
)
from proxy.plan.render import NOTHING, Draft, change_frontend, frontend_elements, settle
from proxy.plan.skeleton import balancer_name


class _Owned(NamedTuple):
    """What a service has in the ledger, beside its frontends' content."""

    frontends: tuple[bytes, ...]
    cluster_ips: tuple[bytes, ...]
    hairpin: tuple[bytes, ...]


_NONE = _Owned((), (), ())


class Ledger:
    """The content of one table as it should be; see the module's text.

    `seeds` are rows that the kernel held at start: a frontend that is seen for the first time keeps their order.
    """

    def __init__(self, table: Table, shard_rows: int = SHARD_ROWS) -> None:
        self.table = table
        self._shard_rows = shard_rows
        self._filled = [0] * len(ROW_SHARDS)
        self.width = types.width(endpoint_types(table.family))
        self._owned: dict[str, _Owned] = {}
        self._frontends: dict[bytes, tuple[str, Frontend]] = {}
        # Frontends that more than one service asks for: what each wants. Empty in a sane cluster.
        self._contested: dict[bytes, dict[str, Frontend]] = {}
        self._counts: dict[str, Counter[bytes]] = {"cluster-ips": Counter(), "hairpin": Counter()}
        self._cidrs: dict[str, Mapping[bytes, Value]] = {"service-cidrs": {}, "pod-cidrs": {}}
        self.seeds: Mapping[bytes, Frontend] = {}
        self.handles = Handles()

    def __len__(self) -> int:
        """How many frontends there are."""
        return len(self._frontends)

    # Change ---------------------------------------------------------------------------------------------------

    def update(self, updates: Mapping[str, Fragment]) -> tuple[Change, ...]:
        """Take in the fragments of changed services (an empty one removes its service); returns what must change."""
        draft = Draft(self.table)
        before = {key: self._frontends.get(key) for service in updates for key in self._keys(service, updates[service])}
        for service, fragment in updates.items():
            self._take(service, fragment)
        if self.seeds:
            self._adopt(before)
        # Apart, so that what stays and what is only sent do not lie side by side: memory is given back by the page.
        settled = [
            (key, held[1] if held else NOTHING, self._settle(key, held[1] if held else None))
            for key, held in before.items()
        ]
        for key, old, new in settled:
            change_frontend(draft, key, old, new, self.width)
        self._release(before)
        self._recount(draft, updates)
        return draft.changes()

    def _keys(self, service: str, fragment: Fragment) -> Iterator[bytes]:
        yield from self._owned.get(service, _NONE).frontends
        yield from fragment.frontends

    def _take(self, service: str, fragment: Fragment) -> None:
        """Record a service's claims; contents are settled after all of a batch are in."""
        for key in self._owned.get(service, _NONE).frontends:
            if key not in fragment.frontends:
                self._drop_claim(service, key)
        for key, wanted in fragment.frontends.items():
            self._claim(service, key, wanted)

    def _claim(self, service: str, key: bytes, wanted: Frontend) -> None:
        held = self._frontends.get(key)
        if held is None or (held[0] == service and key not in self._contested):
            self._frontends[key] = (service, wanted)
            return
        claims = self._contested.setdefault(key, {held[0]: held[1]})
        claims[service] = wanted
        winner = min(claims, key=lambda name: (claims[name].rank, name))
        self._frontends[key] = (winner, claims[winner])

    def _drop_claim(self, service: str, key: bytes) -> None:
        claims = self._contested.get(key)
        if claims is None:
            del self._frontends[key]
            return
        claims.pop(service, None)
        winner = min(claims, key=lambda name: (claims[name].rank, name))
        self._frontends[key] = (winner, claims[winner])
        if len(claims) == 1:
            del self._contested[key]

    def _settle(self, key: bytes, old: Frontend | None) -> Frontend:
        """Give a frontend's rows their places; returns what it now is, `NOTHING` where it is gone."""
        held = self._frontends.get(key)
        if held is None:
            if old is not None:
                self._fill(old, -1)
            return NOTHING
        owner, wanted = held
        before = old if old is not None else self.seeds.get(key)
        new = settle(before, wanted, self.width)
        if new.sticky:
            new = self._stick(new)
        if old is not None:
            self._fill(old, -1)
        if new.rows and not new.handles:
            new = _moved(new, self._shard(before))
        self._fill(new, 1)
        self._frontends[key] = (owner, new)
        return new

    def _shard(self, before: Frontend | None) -> int:
        """Where a frontend's rows go: where they were, else to the first shard that has room."""
        if before is not None and before.rows and not before.handles:
            return before.shard
        return next(
            (number for number, rows in enumerate(self._filled) if rows < self._shard_rows),
            min(range(len(ROW_SHARDS)), key=self._filled.__getitem__),
        )

    def _fill(self, frontend: Frontend, sign: int) -> None:
        if frontend.rows and not frontend.handles:
            self._filled[frontend.shard] += sign * (len(frontend.rows) // self.width)

    # Session affinity -----------------------------------------------------------------------------------------

    def _adopt(self, keys: Iterable[bytes]) -> None:
        """Before any number is given out: those that the kernel's clients are remembered with."""
        for key in keys:
            held, seed = self._frontends.get(key), self.seeds.get(key)
            if held is None or seed is None or not held[1].sticky:
                continue
            for rows, handles in ((seed.rows, seed.handles), (seed.short_rows, seed.short_handles)):
                self.handles.adopt(held[1].sticky, slots(rows, self.width), slots(handles, HANDLE_BYTES))

    def _stick(self, new: Frontend) -> Frontend:
        """A frontend with the handles of its endpoints; as it would be without affinity when no number is left."""
        if not (new.rows or new.short_rows):
            return new
        handles = self.handles.take(new.sticky, slots(new.rows, self.width))
        short_handles = self.handles.take(new.sticky, slots(new.short_rows, self.width))
        if handles is None or short_handles is None:
            return new
        entry, firewall, external, short = (
            _sticky(verdict, new.timeout_s) for verdict in (new.entry, new.firewall, new.external, new.short)
        )
        return new._replace(
            entry=entry,
            firewall=firewall,
            external=external,
            short=short,
            handles=handles,
            short_handles=short_handles,
        )

    def _release(self, before: Mapping[bytes, tuple[str, Frontend] | None]) -> None:
        """Give back the numbers of endpoints that no frontend of their service port has any more."""
        entries = (*before.values(), *(self._frontends.get(key) for key in before))
        ports = {(held[0], held[1].sticky) for held in entries if held and held[1].sticky}
        if not ports:
            return
        kept: dict[str, set[bytes]] = {name: set() for _, name in ports}
        owned = (key for service in {service for service, _ in ports} for key in self.frontends_of(service))
        for key in {*before, *owned}:
            held = self._frontends.get(key)
            if held and held[1].sticky in kept:
                kept[held[1].sticky].update(slots(held[1].rows, self.width), slots(held[1].short_rows, self.width))
        for name, rows in kept.items():
            self.handles.keep(name, rows)

    def _recount(self, draft: Draft, updates: Mapping[str, Fragment]) -> None:
        """Shared addresses: an element comes with its first user and goes with its last."""
        deltas: dict[str, Counter[bytes]] = {name: Counter() for name in self._counts}
        for service, fragment in updates.items():
            old = self._owned.pop(service, _NONE)
            new = _Owned(tuple(fragment.frontends), fragment.cluster_ips, fragment.hairpin)
            if new != _NONE:
                self._owned[service] = new
            for name, gone, come in (
                ("cluster-ips", old.cluster_ips, new.cluster_ips),
                ("hairpin", old.hairpin, new.hairpin),
            ):
                deltas[name].update(come)
                deltas[name].subtract(gone)
        for name, delta in deltas.items():
            for address, difference in delta.items():
                self._count(draft, name, address, difference)

    def _count(self, draft: Draft, name: str, address: bytes, difference: int) -> None:
        counts = self._counts[name]
        users = counts[address] + difference
        if users:
            if not counts[address]:
                draft.add(name, _shared_key(name, address))
            counts[address] = users
        elif address in counts:
            del counts[address]
            draft.remove(name, _shared_key(name, address))

    def set_cidrs(self, name: str, cidrs: Iterable[str]) -> tuple[Change, ...]:
        """Replace the content of `service-cidrs` or `pod-cidrs`; CIDRs of the other family are left out."""
        wanted = cidr_elements(self.table.family, cidrs)
        change = diff(self.table.set(name), self._cidrs[name], wanted)
        self._cidrs[name] = wanted
        return (change,) if change else ()

    # Look -----------------------------------------------------------------------------------------------------

    def frontend(self, key: bytes) -> Frontend | None:
        """What a frontend holds; None when there is none."""
        held = self._frontends.get(key)
        return held[1] if held else None

    def owner(self, key: bytes) -> str:
        """The service that has a frontend; "" when there is none."""
        held = self._frontends.get(key)
        return held[0] if held else ""

    def frontends_of(self, service: str) -> tuple[bytes, ...]:
        """Frontends that a service asked for."""
        return self._owned.get(service, _NONE).frontends

    def owns(self, service: str) -> bool:
        """Whether a service has anything in this table."""
        return service in self._owned

    def services(self) -> list[str]:
        """Services that have anything in this table."""
        return list(self._owned)

    def elements(self, sets: Container[str] | None = None) -> Iterator[tuple[str, bytes, Value]]:
        """(set, key, value) of every element there should be; rows, which are the bulk, only of these sets."""
        for name, cidrs in self._cidrs.items():
            for key, value in cidrs.items():
                yield name, key, value
        for name, counts in self._counts.items():
            for address in counts:
                yield name, _shared_key(name, address), None
        for key, (_, frontend) in self._frontends.items():
            yield from frontend_elements(key, frontend, self.width, sets)

    def verdicts(self) -> set[str]:
        """Every verdict that any map of the table holds."""
        return {
            verdict
            for _, frontend in self._frontends.values()
            for verdict in (frontend.entry, frontend.firewall, frontend.external, frontend.short)
            if verdict
        }

    def contents(self) -> dict[str, dict[bytes, Value]]:
        """Every set's elements; for dumps, traces and comparisons."""
        found: dict[str, dict[bytes, Value]] = {owner.name: {} for owner in self.table.sets}
        for name, key, value in self.elements():
            found[name][key] = value
        return found

    def repair(self, kernel: Mapping[str, dict[bytes, Value]]) -> tuple[Change, ...]:
        """The changes that bring what the kernel holds to what it should hold, in the sets given. Consumes `kernel`."""
        draft = Draft(self.table)
        for name, key, value in self.elements(kernel):
            held = kernel.get(name)
            if held is None:
                continue
            if key in held:
                if held.pop(key) == value:
                    continue
                draft.remove(name, key)
            draft.add(name, key, value)
        for name, left in kernel.items():
            for key in left:
                draft.remove(name, key)
        return draft.changes()


def _shared_key(name: str, address: bytes) -> bytes:
    return address + address if name == "hairpin" else address


def _moved(frontend: Frontend, shard: int) -> Frontend:
    """The frontend with its rows in this shard: `goto lb_3` → `goto lb_3_2`."""
    if frontend.shard == shard == 0:
        return frontend
    entry, firewall, external = (
        _in_shard(verdict, shard) for verdict in (frontend.entry, frontend.firewall, frontend.external)
    )
    return frontend._replace(entry=entry, firewall=firewall, external=external, shard=shard)


@cache
def _in_shard(verdict: str, shard: int) -> str:
    kind, *count = verdict.removeprefix("goto ").split("_")
    return goto(balancer_name(kind, int(count[0]), shard)) if kind == LB else verdict


def _sticky(verdict: str, timeout_s: int) -> str:
    """`goto lb_3` → `goto st_3_10800`; others as they are."""
    word, _, count = verdict.rpartition("_")
    kind = {f"goto {LB}": STICKY, f"goto {SHORT}": STICKY_SHORT}.get(word)
    return f"goto {kind}_{count}_{timeout_s}" if kind else verdict

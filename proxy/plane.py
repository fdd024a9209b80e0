"""One family's table in the kernel, kept as its ledger says.

    first run, or after a failure        read the kernel ─► repair only the difference
    every other run                      changes of the touched services ─► one atomic batch

A first load is sent endpoints first, in parts: rows that no verdict leads to yet are invisible, so each service goes
from absent to whole in the one transaction at the end, and no transaction holds the kernel's lock for long.
"""

from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

import msgspec

from netplane.kernel.nft import Nft, NftError
from netplane.nft.elements import Change, Transaction, Value, listing
from netplane.nft.objects import canonical, chain_commands, ensure_text
from netplane.nft.types import Family
from netplane.obs import logs
from proxy.plan.ledger import Ledger
from proxy.plan.model import ROW_SHARDS, Fragment, Options
from proxy.plan.seeds import seeds
from proxy.plan.skeleton import (
    NAME,
    VERDICT_MAPS,
    balancers,
    is_balancer,
    missing_balancers,
    prepared_balancers,
    skeleton,
    with_balancers,
)

log = logs.get("proxy.plane")

ROW_MAPS = (*ROW_SHARDS, "sc-endpoints", "sticky-ids", "sticky-endpoints", "sc-sticky-ids", "sc-sticky-endpoints")
PART_ELEMENTS = 50_000


class Applied(NamedTuple):
    """What a run sent to the kernel."""

    elements: int = 0
    sent_bytes: int = 0
    transactions: int = 0

    def plus(self, transaction: Transaction, sent_bytes: int) -> "Applied":
        """With one more transaction."""
        return Applied(self.elements + len(transaction), self.sent_bytes + sent_bytes, self.transactions + 1)


class Plane:
    """One family's table. Every method may raise NftError; after one, `apply` with full=True puts things right."""

    def __init__(self, family: Family, options: Options, nft: Nft) -> None:
        self.family = family
        self.table = skeleton(family, options)
        self._rules_changed = False
        self.ledger = Ledger(self.table)
        self._nft = nft
        self._balancers = prepared_balancers()
        self._resting: dict[tuple[str, bytes], int] = {}
        """Connections that elements had counted which are gone, by map and frontend, until there is one again."""

    def use(self, options: Options) -> None:
        """From the next run on, have the rules of these options; the elements stay."""
        wanted = skeleton(self.family, options)
        if wanted != self.table:
            self.table = self.ledger.table = wanted
            self._rules_changed = True

    def apply(
        self,
        updates: Mapping[str, Fragment],
        *,
        full: bool,
        service_cidrs: Iterable[str] = (),
        pod_cidrs: Iterable[str] = (),
    ) -> Applied:
        """Take in changed services and bring the kernel there; a full run also reads and repairs what it holds."""
        kernel = self._read() if full else None
        # Onto an empty kernel, an empty ledger's changes are all there is to write: no need to compare.
        first = kernel is not None and not len(self.ledger) and not any(kernel.values())
        if kernel is not None:
            self.ledger.seeds = seeds(kernel)
        changes = (
            *self.ledger.set_cidrs("service-cidrs", service_cidrs),
            *self.ledger.set_cidrs("pod-cidrs", pod_cidrs),
            *self.ledger.update(updates),
        )
        self.ledger.seeds = {}
        if kernel is None:
            if self._rules_changed and not self._ensure_skeleton():
                return Applied()
            return self._commit(changes)
        if not self._ensure_skeleton():
            return Applied()
        return self._commit_parts(changes if first else self.ledger.repair(kernel))

    def mend(self, sets: Iterable[str] | None, *, rules: bool) -> Applied:
        """Put right what others changed: these sets (None: all), and chains and rules where `rules` says so."""
        kernel = self._read(None if sets is None else set(sets))
        if (rules or sets is None) and not self._ensure_skeleton():
            return Applied()
        return self._commit_parts(self.ledger.repair(kernel))

    # Read -----------------------------------------------------------------------------------------------------

    def _read(self, names: Container[str] | None = None) -> dict[str, dict[bytes, Value]]:
        """Sets' elements in the kernel (of all sets, or of these); empty where a set is not there."""
        ours = (o for o in self.table.sets if not o.dynamic and (names is None or o.name in names))
        return {owner.name: self._nft.list_elements(self.table, owner) or {} for owner in ours}

    def _ensure_skeleton(self) -> bool:
        """Make sets and chains so, unless the kernel's listing says they are; False when the table had to be replaced.

        Idempotent commands keep the elements. What they cannot mend (a set of another type, a chain that is none of
        ours) is replaced with everything in it, in one transaction of text: slower, and just as atomic.
        """
        needed = missing_balancers(self.ledger.verdicts())
        wanted = with_balancers(self.table, needed)
        listed = self._nft.list_table(self.table)
        self._balancers = prepared_balancers() | set(needed)
        if listed is not None and same(canonical(listed), str(wanted)):
            self._rules_changed = False
            return True
        log.info("skeleton written", table=self.table.spec, was="absent" if listed is None else "different")
        try:
            self._nft.run_text(ensure_text(wanted))
            if same(canonical(self._nft.list_table(self.table) or ""), str(wanted)):
                self._rules_changed = False
                return True
        except NftError as error:
            log.warning("table cannot be mended, so it is replaced", table=self.table.spec, error=error.message)
        self._nft.run_text(f"delete table {self.table.spec}\n{listing(wanted, self.ledger.contents())}")
        self._rules_changed = False
        return False

    # Write ----------------------------------------------------------------------------------------------------

    def _commit(self, changes: tuple[Change, ...]) -> Applied:
        """All changes as one atomic batch, after the chains they need."""
        self._add_balancers(changes)
        transaction = Transaction(self.table, self._counted_on(changes))
        if not transaction:
            return Applied()
        return Applied().plus(transaction, self._nft.commit(transaction))

    def _commit_parts(self, changes: tuple[Change, ...]) -> Applied:
        applied = Applied()
        for transaction in parts(self.ledger, self._counted_on(changes)):
            applied = applied.plus(transaction, self._nft.commit(transaction))
        return applied

    def _counted_on(self, changes: tuple[Change, ...]) -> tuple[Change, ...]:
        """Changes by which new elements count on where those ended that they replace.

        So numbers only grow, also across restarts. What an element counts between here and the commit is lost; so is
        what it counted when the proxy is started anew while its service has no endpoints.
        """
        return tuple(self._count_on(change) if change.set.name in VERDICT_MAPS else change for change in changes)

    def _count_on(self, change: Change) -> Change:
        name, counted = change.set.name, dict[bytes, int]()
        if change.remove:
            for key, (verdict, packets) in self._nft.get_counters(self.table, change.set, change.remove).items():
                if packets and is_balancer(verdict.removeprefix("goto ")):
                    self._resting[name, key] = packets
        for key, value in change.add if self._resting else ():
            if (name, key) in self._resting and is_balancer(str(value).removeprefix("goto ")):
                counted[key] = self._resting.pop((name, key))
        if self._resting:
            self._forget(change.remove)
        return msgspec.structs.replace(change, counted=counted) if counted else change

    def _forget(self, keys: Iterable[bytes]) -> None:
        """Who asks for a frontend that was gone in between begins with nothing."""
        for key in keys:
            if self.ledger.frontend(key) is None:
                for name in VERDICT_MAPS:
                    self._resting.pop((name, key), None)

    def _add_balancers(self, changes: tuple[Change, ...]) -> None:
        verdicts = {value for change in changes for _, value in change.add if isinstance(value, str)}
        missing = [name for name in missing_balancers(verdicts) if name not in self._balancers]
        if missing:
            self._nft.run_text("\n".join(chain_commands(self.family, self.table.name, balancers(missing))))
            self._balancers |= set(missing)


def parts(ledger: Ledger, changes: tuple[Change, ...]) -> Iterable[Transaction]:
    """Invisible rows first, in parts; then everything else at once."""
    rest: list[Change] = []
    few = sum(len(change.add) for change in changes if change.set.name in ROW_MAPS) <= PART_ELEMENTS
    for change in changes:
        if few or change.set.name not in ROW_MAPS or not change.add:
            rest.append(change)
            continue
        replaced = set(change.remove)
        visible = [item for item in change.add if item[0] in replaced]
        hidden = [item for item in change.add if item[0] not in replaced] if replaced else list(change.add)
        for start in range(0, len(hidden), PART_ELEMENTS):
            yield Transaction(ledger.table, (Change(change.set, (), hidden[start : start + PART_ELEMENTS]),))
        rest.append(Change(change.set, change.remove, visible))
    last = Transaction(ledger.table, tuple(change for change in rest if change))
    if last:
        yield last


def same(listed: str, wanted: str) -> bool:
    """Whether a listing has every block that is wanted, and beside them only balancers of sizes nobody has now."""
    have, want = set(listed.split("\n\n")), set(wanted.split("\n\n"))
    # The last block of either carries the table's closing brace.
    have, want = ({block.removesuffix("\n}\n").rstrip() for block in blocks} for blocks in (have, want))
    spare = (block.split()[1] for block in have - want)
    return want <= have and all(map(is_balancer, spare))


def cleanup(family: Family, nft: Nft) -> bool:
    """Delete the table; returns whether there was one.

    Connections that it translated go on as long as somebody's nat chain is there: the kernel translates only then.
    """
    if f"{family.nft} {NAME}" not in nft.tables():
        return False
    nft.run_text(f"delete table {family.nft} {NAME}")
    return True

"""Keeps the elements of `macspoofchk` in the kernel: added before a pod can send, removed with it."""

from collections.abc import Iterable, Sequence

from cni import rules
from cni.errors import CniError, Code
from cni.plan import guard
from cni.plan.guard import Guard
from netplane.kernel.nft import NftError


class Guards:
    """The guarded ports of one lease store. Methods may be called from any thread.

    Args:
        owner: the store's mark.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner

    def open(self, one: Guard) -> None:
        """From now on the port may send from this MAC address only.

        Raises:
            NetplaneError: the kernel refused.
        """
        elements = guard.add([one], self._owner)
        try:
            rules.run(elements)
        except NftError:  # no table yet, or somebody's `nft flush ruleset`
            rules.run(guard.table() + elements)

    def close(self, one: Guard) -> None:
        """Forget the port; repeating it is harmless."""
        if rules.has(guard.TABLE):
            rules.run(guard.remove([one], self._owner))

    def check(self, one: Guard) -> None:
        """Whether it is guarded.

        Raises:
            CniError: CHECK_FAILED.
        """
        if not rules.ask(guard.question(one)):
            raise CniError(Code.CHECK_FAILED, f"macspoofchk: {one.link} is not held to {one.mac} any more")

    def lost(self, guards: Sequence[Guard]) -> list[Guard]:
        """Those that the kernel does not have. Two listings, however many."""
        if not guards or not rules.has(guard.TABLE):
            return list(guards)
        return guard.lost(guards, _list("owners"), _list("guarded"))

    def restore(self, guards: Sequence[Guard]) -> None:
        """Make the kernel's elements of this store those of `guards`, after a crash or somebody's `nft flush`."""
        if guards or rules.has(guard.TABLE):
            rules.run(guard.table())
            stale = "".join(guard.unlisted(name, _list(name), self._owner) for name in guard.SETS)
            rules.run(stale + guard.add(guards, self._owner))

    def listed(self) -> list[Guard]:
        """What the kernel has of this store."""
        return guard.listed(_list("owners"), self._owner) if rules.has(guard.TABLE) else []


def guards_of(leases: Iterable[tuple[str, str]]) -> list[Guard]:
    """The guards among (link, MAC address or "") of leases."""
    return [Guard(link, mac) for link, mac in leases if mac]


def _list(name: str) -> str:
    return rules.run(f"list set {guard.TABLE} {name}")

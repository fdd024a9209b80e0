"""Puts rate limits on pods, and takes their devices away."""

import errno
from collections.abc import Collection

from cni.doors import Doors
from cni.errors import CniError, Code
from cni.plan import bandwidth
from cni.plan.bandwidth import Bandwidth, Limit
from cni.plan.lease import Key
from cni.reaper import Reaper
from netplane.kernel.netlink import KernelError
from netplane.obs import logs
from netplane.rtnl import CLASSIFIERS, TokenBucket

log = logs.get("cni.shaping")
# What a kernel answers that was built without a queue, classifier, action or kind of link.
_LACKS = {errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.ENOSYS}


class Shaper:
    """The rate limits of one lease store's pods. Methods may be called from any thread.

    Args:
        doors: to the node's links.
        reaper: deletes devices.
        owner: the store's mark.
    """

    def __init__(self, doors: Doors, reaper: Reaper, owner: str) -> None:
        self._doors = doors
        self._reaper = reaper
        self._owner = owner
        self._classifiers = CLASSIFIERS  # the one that works, once that is known

    def limit(self, key: Key, link: str, mtu_bytes: int, wanted: Bandwidth) -> None:
        """Limit a pod, wholly or not at all. `link` is the node's end of its pair.

        Raises:
            CniError: UNSUPPORTED_BY_KERNEL; KernelError: it refused for another reason.
        """
        if not wanted:
            return
        for classifier in self._classifiers:
            try:
                self._doors.here.apply(bandwidth.requests(key, link, mtu_bytes, wanted, self._owner, classifier))
            except KernelError as error:
                self.release(key)
                if error.errno not in _LACKS:
                    raise
                refused = error
            else:
                if wanted.egress is not None:
                    self._classifiers = (classifier,)
                return
        classifiers = " or ".join(f"cls_{name}" for name in CLASSIFIERS)
        raise CniError(
            Code.UNSUPPORTED_BY_KERNEL,
            f"bandwidth: this kernel cannot do it: {refused.message}",
            f"it needs sch_tbf, and for egress also ifb, sch_ingress, act_mirred and {classifiers}",
        ) from refused

    def release(self, key: Key) -> None:
        """Remove what outlives the pod's own link; repeating it is harmless."""
        self._reaper.delete(bandwidth.device(key))

    def check(self, key: Key, link: str, mtu_bytes: int, wanted: Bandwidth) -> None:
        """Whether a pod is limited as it should be.

        Raises:
            CniError: CHECK_FAILED.
        """
        lines = [
            bandwidth.differences(dev, limit, self._bucket(dev, limit), mtu_bytes)
            for dev, limit in ((link, wanted.ingress), (bandwidth.device(key), wanted.egress))
        ]
        if any(lines):
            raise CniError(Code.CHECK_FAILED, "bandwidth: " + "; ".join(filter(None, lines)))

    def _bucket(self, dev: str, limit: Limit | None) -> TokenBucket | None:
        if limit is None or not self._doors.here.find(dev):
            return None
        return next(iter(self._doors.here.buckets(dev)), None)

    def collect(self, network: str, alive: Collection[tuple[str, str]]) -> None:
        """GC: remove the devices of a network's attachments that are gone."""
        devices = {bandwidth.device(Key(network, *pair)) for pair in alive}
        for link in self._doors.here.links():
            found = bandwidth.read_alias(link.alias, self._owner)
            if found is not None and found[1].network == network and link.name not in devices:
                log.info("collected", link=link.name, alias=link.alias)
                self._reaper.delete(link.name)

    def reconcile(self) -> None:
        """Remove the devices whose pod's link is gone."""
        links = self._doors.here.links()
        names = {link.name for link in links}
        for link in links:
            found = bandwidth.read_alias(link.alias, self._owner)
            # Asked again: a listing may pass the place of a pod's link before that is made, and its device after.
            if found is not None and found[0] not in names and not self._doors.here.find(found[0]):
                log.info("deleted a device left behind", link=link.name, alias=link.alias)
                self._reaper.delete(link.name)

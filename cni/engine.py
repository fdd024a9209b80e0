"""The verbs, done: parse, reserve, wire, activate, answer; and the same backwards. Blocking; one call per thread.

It runs behind the agent's socket and, without an agent, in the plugin's own process: both give the same answers.
"""

import errno
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from cni import addressing, config, delegate, errors, hostlocal, inside_pod, results
from cni.announce import Announcer
from cni.bridges import Bridges
from cni.chained import BandwidthPlugin, PortMap, alive, passed_on, previous
from cni.check import differences
from cni.config import version_of
from cni.doors import Doors
from cni.errors import CniError, Code
from cni.frames import Request
from cni.guards import Guards
from cni.hostports import HostPorts
from cni.leases import Leases
from cni.mender import Mender
from cni.plan import announce, ipam, pod
from cni.plan.guard import Guard
from cni.plan.lease import Key, Lease
from cni.protocol import Call, Verb, parse, version_reply
from cni.reaper import Reaper
from cni.shaping import Shaper
from cni.spaces import pod_space
from netplane.errors import NetplaneError
from netplane.kernel.netlink import KernelError
from netplane.kernel.rtnl import Rtnl
from netplane.obs import logs
from netplane.rtnl import Change

log = logs.get("cni.engine")


class Engine:
    """Attaches pods to bridges in the network namespace it was made in.

    Args:
        leases: the lease store; the engine's links carry its mark.
        trouble: why ADD cannot be served now, "" when it can; asked by STATUS.
        clock: Unix time in seconds.
        announcer: tells new pods' neighbours.
    """

    def __init__(
        self,
        leases: Leases,
        *,
        trouble: Callable[[], str] = str,
        clock: Callable[[], float] = time.time,
        announcer: Announcer | None = None,
    ) -> None:
        self.leases = leases
        self.owner = pod.owner_mark(str(leases.path.parent.resolve()))
        self._trouble = trouble
        self._clock = clock
        self._doors = Doors()
        self._reaper = Reaper(self._doors)
        self._bridges = Bridges(self._doors)
        self._announcer = announcer or Announcer()
        self._ports = HostPorts(self._doors, self.owner)
        self._guards = Guards(self.owner)
        self._shaper = Shaper(self._doors, self._reaper, self.owner)
        self._bandwidth = BandwidthPlugin(self._shaper, self._doors)
        self._portmap = PortMap(leases, self._ports, self._doors)
        self.mender = Mender(
            leases=leases,
            owner=self.owner,
            forget=self._forget,
            reaper=self._reaper,
            shaper=self._shaper,
            guards=self._guards,
            ports=self._ports,
            bridges=self._bridges,
            clock=clock,
        )

    def close(self) -> None:
        """Finish deletions under way and close the store; pods stay as they are."""
        self._announcer.close()
        self._reaper.close()
        self.leases.close()

    def handle(self, request: Request, netns_fd: int | None = None) -> tuple[int, bytes]:
        """One call of the plugin: its exit status and what it prints. Never raises.

        Args:
            request: as the runtime made it.
            netns_fd: a descriptor of CNI_NETNS, when the caller could open it.
        """
        try:
            call = parse(request)
            return 0, self._verb(call, netns_fd)
        except Exception as error:
            failure = as_cni_error(error)
            if failure.code == Code.INTERNAL:
                log.exception("unexpected failure", command=request.environment.get("CNI_COMMAND", ""))
            else:
                log.warning("refused", command=request.environment.get("CNI_COMMAND", ""), error=str(failure))
            return 1, errors.encode(failure, version_of(request.stdin))

    def _verb(self, call: Call, netns_fd: int | None) -> bytes:
        if call.verb is Verb.VERSION:
            return version_reply(call.network.version)
        if call.network.type == "netplane-portmap":
            return self._portmap.run(call)
        if call.network.type == "netplane-bandwidth":
            return self._bandwidth.run(call)
        match call.verb:
            case Verb.ADD:
                return self._add(call, netns_fd)
            case Verb.DEL:
                self._delete(call, netns_fd)
            case Verb.CHECK:
                self._check(call, netns_fd)
            case Verb.GC:
                self._collect(call)
            case Verb.STATUS:
                self._status(call)
        return b""

    # ADD ------------------------------------------------------------------------------------------------------

    def _add(self, call: Call, netns_fd: int | None) -> bytes:
        before = previous(call) if call.network.prev_result is not None else results.Result()
        with pod_space(call.netns, netns_fd) as space:
            if call.network.type == "loopback":
                return _loopback(call, space)
            lease = self._reserve(call)
            try:
                call, lease = self._addressed(call, lease)
                attachment = self._wire(call, lease, space)
                self._shaper.limit(lease.key, lease.link, attachment.mtu_bytes, call.network.limits)
                self._portmap.take(call, pod.interfaces(attachment), call.network.gateway_dev)
                self.leases.activate(lease.key)
            except BaseException:
                self._forget(lease)
                if call.network.delegate:
                    delegate.delete_quietly(call)
                raise
            frames = [announce.frame(pod.pod_mac(attachment), address) for address in lease.addresses]
            self._announcer.announce(space, call.ifname, frames)
        log.info("added", container=call.container, pod=call.pod, ips=[str(a) for a in lease.addresses])
        return results.encode(results.merged(before, pod.result(attachment)), call.network.version)

    def _reserve(self, call: Call) -> Lease:
        key, network = call.key, call.network
        lease = Lease(key, "reserved", pod.link_name(*key), (), call.netns, call.pod, self._clock())
        avoid = hostlocal.reserved(network.data_dir, network.name)
        return self.leases.reserve(lease, network.ranges, network.wanted, avoid)

    def _addressed(self, call: Call, lease: Lease) -> tuple[Call, Lease]:
        """Both completed by what is not in the configuration itself: another plugin's addresses, a file's servers."""
        network = call.network
        if network.resolv_conf and network.dns == results.Dns():
            network = msgspec.structs.replace(network, dns=_name_servers(network.resolv_conf))
        if network.delegate:
            given = delegate.add(call)
            lease = msgspec.structs.replace(lease, addresses=tuple(ip.interface.ip for ip in given.ips))
            self.leases.enter(lease)
            network = config.delegated(network, given)
        return msgspec.structs.replace(call, network=network), lease

    def _wire(self, call: Call, lease: Lease, space: int) -> pod.Attachment:
        bridge = self._bridges.ensure(call.network)
        attachment = pod.Attachment(
            network=call.network,
            owner=self.owner,
            container=call.container,
            link=lease.link,
            ifname=call.ifname,
            addresses=lease.addresses,
            mtu_bytes=call.network.mtu_bytes or bridge.mtu,
            netns=call.netns,
            bridge_mac=bridge.mac,
        )
        wiring = pod.wiring(attachment, space)
        with Rtnl(space) as inside:
            try:
                self._doors.here.apply(wiring.node, undo=False)
            except KernelError as error:
                raise _taken(call, error) from error
            if call.network.guarded:
                self._hold(Guard(lease.link, pod.pod_mac(attachment)), lease.key)
            if 6 in pod.families(call.network):
                inside_pod.enable_ipv6(call.ifname, space, dad=call.network.dad)
            inside.apply(wiring.pod, undo=False)
            if call.network.dad:
                inside_pod.settle(inside, call.ifname)
        return attachment

    def _hold(self, guard: Guard, key: Key) -> None:
        """Before the pod's end is up: no frame of its gets out unguarded."""
        self.leases.hold_to(key, guard.mac)
        self._guards.open(guard)

    def _forget(self, lease: Lease) -> None:
        """First what leads to it, then the link, then the address: it must not be given again while it answers."""
        self._portmap.close(lease.key)
        self._reaper.delete(lease.link)
        held = self.leases.get(lease.key)
        if held is not None and held.guard:
            self._guards.close(Guard(held.link, held.guard))
        self._shaper.release(lease.key)
        self.leases.release(lease.key, self._clock())

    # The other verbs ------------------------------------------------------------------------------------------

    def _delete(self, call: Call, netns_fd: int | None) -> None:
        if call.network.type == "loopback":
            return
        key, network = call.key, call.network
        self._forget(Lease(key, "active", pod.link_name(*key)))
        if network.delegate:
            delegate.delete(call)
        if hostlocal.release(network.data_dir, *key):
            inside_pod.delete_foreign(call, netns_fd)
        log.info("deleted", container=call.container, ifname=call.ifname)

    def _check(self, call: Call, netns_fd: int | None) -> None:
        if call.network.type == "loopback":
            return
        result = previous(call)
        key = call.key
        lease = self.leases.get(key)
        try:
            observed = inside_pod.observe(call, pod.link_name(*key), netns_fd)
        except CniError as error:
            raise CniError(Code.UNKNOWN_CONTAINER, error.message) from error
        if call.network.delegate:
            delegate.check(call)
        if found := list(differences(call, lease, result, observed)):
            raise CniError(Code.CHECK_FAILED, "; ".join(found), "delete and add the container again")
        if lease is not None and lease.guard:
            self._guards.check(Guard(lease.link, lease.guard))
        if lease is not None and call.network.ip_masq:
            self._bridges.check(lease.addresses)
        self._ports.check(self.leases.ports(key))
        end = observed.node_end
        self._shaper.check(key, pod.link_name(*key), end.mtu if end is not None else 0, call.network.limits)

    def _collect(self, call: Call) -> None:
        """GC: go on after a failure, and report the first at the end."""
        valid = alive(call)
        failures: list[CniError] = []
        for lease in self.leases.all(call.network.name):
            if (lease.key.container, lease.key.ifname) in valid:
                continue
            try:
                self._forget(lease)
                if call.network.delegate:
                    delegate.delete(delegate.for_attachment(call, lease.key.container, lease.key.ifname))
                log.info("collected", container=lease.key.container, ifname=lease.key.ifname)
            except (NetplaneError, OSError, sqlite3.Error) as error:
                failures.append(as_cni_error(error))
        try:
            hostlocal.collect(call.network.data_dir, call.network.name, valid)
            if call.network.delegate:
                delegate.collect(call)
        except (NetplaneError, OSError) as error:
            failures.append(as_cni_error(error))
        if failures:
            raise failures[0]

    def _status(self, call: Call) -> None:
        if trouble := self._trouble():
            raise CniError(Code.NOT_AVAILABLE, trouble)
        if call.network.delegate:
            delegate.status(call)
        for ranges in call.network.ranges:
            if not self.leases.free(ranges):
                raise CniError(Code.NOT_AVAILABLE, f"no address is free in {ipam.describe(ranges)}")

    # Between calls --------------------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Make leases and links agree again after a crash. Call before the first request."""
        self.mender.start()


def as_cni_error(error: BaseException) -> CniError:
    """Any failure in the runtime's words."""
    match error:
        case CniError():
            return error
        case KernelError():
            return CniError(Code.KERNEL, error.message, error.hint)
        case OSError() | sqlite3.Error():
            return CniError(Code.IO, str(error))
        case NetplaneError():
            return CniError(Code.KERNEL, error.message, error.hint)
        case _:
            return CniError(Code.INTERNAL, f"unexpected failure: {type(error).__name__}", "the log has the details")


def _name_servers(path: str) -> results.Dns:
    try:
        return addressing.resolv_conf(Path(path).read_text(errors="replace"))
    except OSError as error:
        raise errors.invalid("ipam.resolvConf", f"{path} cannot be read: {error.strerror}") from error


def _taken(call: Call, error: KernelError) -> CniError | KernelError:
    if error.errno != errno.EEXIST:
        return error
    return CniError(Code.ALREADY_ATTACHED, f"{call.ifname} exists already in {call.netns}", "DEL it first")


def _loopback(call: Call, space: int) -> bytes:
    with Rtnl(space) as inside:
        inside.apply([Change("lo", up=True)], undo=False)
    link = results.NetInterface("lo", "00:00:00:00:00:00", call.netns)
    # Like the reference plugin it passes on what it was given, and does not name lo a second time.
    own = results.encode(results.Result((link,)), call.network.version)
    return own if call.network.prev_result is None else passed_on(call, previous(call))

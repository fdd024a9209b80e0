"""PURE: the network configuration on stdin, checked whole before anything is touched.

The keys are those of the reference `bridge` plugin and of `host-local`, so a configuration of theirs only changes its
type. Keys of our own: `hostPrefix` (pods get /32 and /128 and reach everything, their neighbours too, through the
node) and `ipMasqExceptions` (a list of networks that pods reach with their own address although `ipMasq` is on).
Unknown keys are left alone: other plugins and runtimes add theirs.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from cni import addressing, keys
from cni.addressing import Asked
from cni.errors import CniError, Code, invalid
from cni.keys import Keys
from cni.plan import bandwidth, hostports, vlan
from cni.plan.bandwidth import Bandwidth
from cni.plan.hostports import PortMapping
from cni.plan.ipam import RangeSet
from cni.plan.vlan import Vlans
from cni.results import BY_FAMILY, OLDEST, VERSIONS, Dns, Result, RouteTo
from netplane.net import names
from netplane.rtnl import IP
from netplane.rtnl import Network as IPNetwork

# Plugins that work on what another one made, and answer its result.
CHAINED = ("netplane-portmap", "netplane-bandwidth")
BUILT_IN_IPAM = ("", "netplane", "host-local")
MTU_MIN_BYTES, MTU_MAX_BYTES = 68, 65535
_REMEMBER_MAX_BYTES = 4096
MTU_MIN_IPV6_BYTES = 1280  # RFC 8200, section 5

T = TypeVar("T")


class Network(msgspec.Struct, frozen=True):
    """A network to attach pods to.

    Args:
        version: the cniVersion asked for, one of VERSIONS.
        name: the network's name.
        type: the plugin's type: `netplane` or `loopback`.
        bridge: name of the bridge.
        mtu_bytes: of the bridge and its pods; 0 keeps the bridge's, or the kernel's 1500.
        is_gateway: the bridge has the ranges' gateway addresses.
        is_default_gateway: pods route everything through it.
        ip_masq: masquerade what leaves the ranges.
        hairpin: a frame may go back out of the port it came in by.
        promisc: the bridge is promiscuous.
        force_address: addresses of the bridge that stand in its own's way are removed.
        isolated: pods of this bridge do not hear each other.
        vlans: what pods' ports belong to.
        guarded: a pod's frames are dropped unless they have its MAC address.
        dad: IPv6 addresses are used only once it is sure that nobody else has them.
        pod_end_down: the pod's end stays down: somebody else uses it.
        masq_exceptions: what pods reach with their own address although ip_masq is on.
        host_prefix: pods get /32 and /128 and an onlink route through the gateway.
        ranges: one address is taken from each set.
        routes: of the pod.
        wanted: addresses that were asked for.
        mac: MAC address that was asked for.
        dns: passed through.
        prev_result: what ADD answered, undecoded; None when absent.
        attachments: GC: (container, interface) pairs that are alive; None when absent.
        ports: host ports that were asked for.
        snat: hide neighbours' addresses on the way through a host port.
        masq_all: hide everybody's.
        limits: how fast the pod may receive and send.
        delegate: the IPAM plugin to ask; "" is the built-in one.
        data_dir: where the reference host-local keeps its reservations: those are respected.
        resolv_conf: a file to take name servers from.
    """

    version: str
    name: str
    type: str
    bridge: str = "cni0"
    mtu_bytes: int = 0
    is_gateway: bool = False
    is_default_gateway: bool = False
    ip_masq: bool = False
    hairpin: bool = False
    promisc: bool = False
    force_address: bool = False
    isolated: bool = False
    vlans: Vlans = Vlans()
    guarded: bool = False
    dad: bool = False
    pod_end_down: bool = False
    masq_exceptions: tuple[IPNetwork, ...] = ()
    host_prefix: bool = False
    ranges: tuple[RangeSet, ...] = ()
    routes: tuple[RouteTo, ...] = ()
    wanted: tuple[IP, ...] = ()
    mac: str = ""
    dns: Dns = Dns()
    prev_result: bytes | None = None
    attachments: frozenset[tuple[str, str]] | None = None
    ports: tuple[PortMapping, ...] = ()
    snat: bool = True
    masq_all: bool = False
    limits: Bandwidth = Bandwidth()
    delegate: str = ""
    data_dir: str = ""
    resolv_conf: str = ""

    @property
    def gateway_dev(self) -> str:
        """The interface that has the gateway's addresses: the bridge, or the one of its own that a VLAN needs."""
        return f"{self.bridge}.{self.vlans.own}" if self.vlans.own else self.bridge


def version_of(stdin: bytes) -> str:
    """The cniVersion that an error about this configuration is written in; the newest we know when there is none."""
    try:
        found = msgspec.json.decode(stdin, type=dict[str, Any]).get("cniVersion")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return VERSIONS[-1]
    return found if found in VERSIONS else VERSIONS[-1]


def parse(stdin: bytes, *, args: dict[str, str], needs_ranges: bool) -> Network:
    """Check the configuration. A node's pods come with the same one again and again: the last ones are remembered.

    Args:
        stdin: JSON.
        args: CNI_ARGS, parsed.
        needs_ranges: ADD needs addresses to give; the other verbs work without.

    Raises:
        CniError: naming the field; DECODING, INCOMPATIBLE_VERSION, INVALID_CONFIG or UNSUPPORTED_FIELD.
    """
    asked = {key: args[key] for key in ("IP", "MAC") if key in args}
    if len(stdin) > _REMEMBER_MAX_BYTES:
        return _parse(stdin, tuple(asked.items()), needs_ranges)
    return _remembered(stdin, tuple(asked.items()), needs_ranges)


def _parse(stdin: bytes, args: tuple[tuple[str, str], ...], needs_ranges: bool) -> Network:
    raw = keys.decode(stdin)
    asked = Asked(dict(args), _spelled(raw.runtime_config or {}), (raw.args.cni if raw.args else None) or {})
    version = raw.cni_version or OLDEST
    if version not in VERSIONS:
        raise CniError(Code.INCOMPATIBLE_VERSION, f"cniVersion: {version!r} is not one of {', '.join(VERSIONS)}")
    _check_names(raw)
    network = _said(raw, asked, version, strict=needs_ranges)
    if raw.type == "loopback" or not needs_ranges:
        return network
    network = msgspec.structs.replace(network, ports=hostports.parse(asked.runtime.get("portMappings")))
    _check_unsupported(raw)
    _check_backends(raw)
    if raw.type in CHAINED:
        return network
    network = msgspec.structs.replace(network, masq_exceptions=_exceptions(raw))
    if network.delegate:
        _check_mtu(raw.mtu, ())
        return network
    ranges = _ranges(raw, asked, version)
    _check_mtu(raw.mtu, ranges)
    routes = addressing.routes(raw.ipam)
    return msgspec.structs.replace(
        network,
        ranges=ranges,
        routes=addressing.with_defaults(routes, ranges) if raw.is_default_gateway else routes,
        wanted=addressing.wanted(asked, ranges),
    )


def _said(raw: Keys, asked: Asked, version: str, *, strict: bool) -> Network:
    """What the keys say by themselves; host ports, addresses and routes need more than that."""
    return Network(
        version=version,
        name=raw.name,
        type=raw.type,
        bridge=raw.bridge,
        mtu_bytes=raw.mtu,
        is_gateway=raw.is_gateway or raw.is_default_gateway or raw.host_prefix,
        is_default_gateway=raw.is_default_gateway,
        ip_masq=raw.ip_masq,
        hairpin=raw.hairpin_mode,
        promisc=raw.promisc_mode,
        force_address=raw.force_address,
        isolated=raw.port_isolation,
        vlans=_lenient(lambda: _vlans(raw), Vlans(), strict=strict),
        guarded=raw.macspoofchk,
        dad=raw.enabledad,
        pod_end_down=raw.disable_container_interface,
        host_prefix=raw.host_prefix,
        dns=addressing.dns(raw.dns, asked.runtime),
        prev_result=_given(raw.prev_result),
        attachments=_attachments(raw),
        mac=addressing.mac(asked),
        limits=_lenient(lambda: _limits(raw, asked.runtime), Bandwidth(), strict=strict),
        delegate="" if raw.ipam.type in BUILT_IN_IPAM else raw.ipam.type,
        data_dir=raw.ipam.data_dir if raw.ipam.type == "host-local" else "",
        resolv_conf=raw.ipam.resolv_conf,
        snat=raw.snat,
        masq_all=raw.masq_all,
    )


def _ranges(raw: Keys, asked: Asked, version: str) -> tuple[RangeSet, ...]:
    if addressing.gives_none(raw.ipam, asked.runtime) and not raw.host_prefix:
        return ()
    found = addressing.ranges(raw.ipam, asked.runtime)
    families = [first.subnet.version for first, *_ in found]
    if version in BY_FAMILY and len(set(families)) < len(families):
        raise invalid("cniVersion", f"{version} knows one address of each family", "use 0.3.0 or later")
    return found


def _spelled(given: Any) -> Any:
    """A runtime's wishes with keys as the specification spells them: containerd 1.6 sends `HostPort` for `hostPort`."""
    match given:
        case dict():
            return {key[:1].lower() + key[1:]: _spelled(value) for key, value in given.items()}
        case list():
            return [_spelled(value) for value in given]
        case _:
            return given


def delegated(network: Network, given: Result) -> Network:
    """The network as one pod has it, with what another IPAM plugin gave.

    Raises:
        CniError: INVALID_CONFIG when it cannot be used.
    """
    ranges = addressing.given_ranges(given.ips)
    routes = addressing.with_defaults(given.routes, ranges) if network.is_default_gateway else given.routes
    dns = given.dns if network.dns == Dns() else network.dns
    return msgspec.structs.replace(network, ranges=ranges, routes=routes, dns=dns)


_remembered = lru_cache(maxsize=64)(_parse)


def _given(raw: msgspec.Raw) -> bytes | None:
    text = bytes(raw).strip()
    return text if text not in (b"", b"null") else None


def _check_names(raw: Keys) -> None:
    if not raw.name:
        raise invalid("name", "is missing", "name the network")
    if not is_identifier(raw.name):
        raise invalid("name", f"{raw.name!r} is not a letter or digit followed by letters, digits, '_', '.' or '-'")
    if raw.ipam.type and not is_identifier(raw.ipam.type):
        raise invalid("ipam.type", f"{raw.ipam.type!r} is no plugin's name")
    if raw.type in ("loopback", *CHAINED):
        return
    gateway = f"{raw.bridge}.{raw.vlan}" if raw.vlan and (raw.is_gateway or raw.is_default_gateway) else raw.bridge
    if problem := names.problem(raw.bridge) or names.problem(gateway):
        raise invalid("bridge", f"{raw.bridge!r} {problem}" + ("" if gateway == raw.bridge else f" as {gateway}"))


def is_identifier(text: str) -> bool:
    """Whether the specification allows it as a network name or container ID, and it is at most 255 long."""
    allowed = text.isascii() and all(c.isalnum() or c in "_.-" for c in text)
    return allowed and 0 < len(text) <= 255 and text[0].isalnum()


def _check_mtu(mtu: int, ranges: Sequence[RangeSet]) -> None:
    if mtu == 0:
        return
    least = MTU_MIN_IPV6_BYTES if any(r.subnet.version == 6 for s in ranges for r in s) else MTU_MIN_BYTES
    if not least <= mtu <= MTU_MAX_BYTES:
        raise invalid("mtu", f"{mtu} is not between {least} and {MTU_MAX_BYTES} bytes")


def _lenient(read: Callable[[], T], default: T, *, strict: bool) -> T:
    """What ADD would refuse was never made, and must not stand in the way of DEL."""
    try:
        return read()
    except CniError:
        if strict:
            raise
        return default


def _limits(raw: Keys, runtime: Mapping[str, Any]) -> Bandwidth:
    static = {key: getattr(raw, key) for key in ("ingress_rate", "ingress_burst", "egress_rate", "egress_burst")}
    return bandwidth.parse(static, runtime.get("bandwidth"))


def _vlans(raw: Keys) -> Vlans:
    return vlan.parse(raw.vlan, raw.vlan_trunk, keep_default=raw.preserve_default_vlan)


def _exceptions(raw: Keys) -> tuple[IPNetwork, ...]:
    if raw.hairpin_mode and raw.promisc_mode:
        raise invalid("hairpinMode", "cannot be on together with promiscMode: every frame would come twice")
    if raw.disable_container_interface and not addressing.gives_none(raw.ipam, raw.runtime_config or {}):
        raise invalid("disableContainerInterface", "cannot be on together with ipam", 'leave it empty: "ipam": {}')
    found = []
    for i, text in enumerate(raw.ip_masq_exceptions or ()):
        try:
            found.append(ip_network(text))
        except ValueError as error:
            raise invalid(f"ipMasqExceptions[{i}]", str(error)) from error
    return tuple(found)


def _check_unsupported(raw: Keys) -> None:
    """Keys that would change what packets do and that nothing here obeys: silence would be a lie."""
    for key, given, advice in (
        ("conditionsV4", raw.conditions_v4, "use nftables rules of your own"),
        ("conditionsV6", raw.conditions_v6, "use nftables rules of your own"),
        ("shapedSubnets", raw.shaped_subnets, "everything of a pod is shaped"),
        ("unshapedSubnets", raw.unshaped_subnets, "everything of a pod is shaped"),
    ):
        if given:
            raise CniError(Code.UNSUPPORTED_FIELD, f"{key}: is not done by this plugin", advice)


def _check_backends(raw: Keys) -> None:
    """How the reference plugins would program the firewall. Ours is one table however it is said; typos are told."""
    for key, given in (("ipMasqBackend", raw.ip_masq_backend), ("backend", raw.backend)):
        if given not in ("", "iptables", "nftables"):
            raise invalid(key, f"{given!r} is neither iptables nor nftables")
    if raw.mark_masq_bit is not None and not 0 <= raw.mark_masq_bit <= 31:
        raise invalid("markMasqBit", f"{raw.mark_masq_bit} is not between 0 and 31")
    if raw.mark_masq_bit is not None and raw.external_set_mark_chain:
        raise invalid("externalSetMarkChain", "cannot be given together with markMasqBit")


def _attachments(raw: Keys) -> frozenset[tuple[str, str]] | None:
    given = raw.old_attachments if raw.attachments is UNSET else raw.attachments
    return None if given is UNSET else frozenset((a.containerID, a.ifname) for a in given or ())

"""PURE: the network configuration on stdin, checked whole before anything is touched.

The keys are those of the reference `bridge` plugin and of `host-local`, so a configuration of theirs only changes its
type. Keys of our own: `hostPrefix` (pods get /32 and /128 and reach everything, their neighbours too, through the
node) and `ipMasqExceptions` (a list of networks that pods reach with their own address although `ipMasq` is on).
Unknown keys are left alone: other plugins and runtimes add theirs.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_network
from typing import Any

import msgspec

from cni import addressing
from cni.addressing import Asked, Ipam
from cni.errors import CniError, Code, invalid
from cni.plan import bandwidth, hostports
from cni.plan.bandwidth import Bandwidth
from cni.plan.hostports import PortMapping
from cni.plan.ipam import RangeSet
from cni.results import OLDEST, VERSIONS, Dns, Result, RouteTo
from netplane.net import names
from netplane.rtnl import IP
from netplane.rtnl import Network as IPNetwork

# Plugins that work on what another one made, and answer its result.
CHAINED = ("netplane-portmap", "netplane-bandwidth")
BUILT_IN_IPAM = ("", "netplane", "host-local")
MTU_MIN_BYTES, MTU_MAX_BYTES = 68, 65535
_REMEMBER_MAX_BYTES = 4096
MTU_MIN_IPV6_BYTES = 1280  # RFC 8200, section 5


class _Struct(msgspec.Struct, frozen=True, rename="camel"):
    pass


class _Attachment(msgspec.Struct, frozen=True):
    containerID: str  # noqa: N815 - the specification's name
    ifname: str


class _Args(msgspec.Struct, frozen=True):
    cni: dict[str, Any] | None = None


class _Config(_Struct, frozen=True):
    cni_version: str = ""
    name: str = ""
    type: str = ""
    bridge: str = "cni0"
    is_gateway: bool = False
    is_default_gateway: bool = False
    ip_masq: bool = False
    mtu: int = 0
    hairpin_mode: bool = False
    promisc_mode: bool = False
    force_address: bool = False
    port_isolation: bool = False
    ip_masq_exceptions: list[str] | None = None
    host_prefix: bool = False
    snat: bool = True
    masq_all: bool = False
    conditions_v4: list[str] | None = None
    conditions_v6: list[str] | None = None
    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0
    vlan: int = 0
    vlan_trunk: list[Any] | None = None
    macspoofchk: bool = False
    disable_container_interface: bool = False
    shaped_subnets: list[str] | None = None
    unshaped_subnets: list[str] | None = None
    ipam: Ipam = Ipam()
    dns: Dns | None = None
    args: _Args | None = None
    runtime_config: dict[str, Any] | None = None
    prev_result: msgspec.Raw = msgspec.Raw()
    attachments: list[_Attachment] | None = msgspec.field(name="cni.dev/valid-attachments", default=None)
    old_attachments: list[_Attachment] | None = msgspec.field(name="cni.dev/attachments", default=None)


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
    raw = _decode(stdin)
    asked = Asked(dict(args), _spelled(raw.runtime_config or {}), (raw.args.cni if raw.args else None) or {})
    version = raw.cni_version or OLDEST
    if version not in VERSIONS:
        raise CniError(Code.INCOMPATIBLE_VERSION, f"cniVersion: {version!r} is not one of {', '.join(VERSIONS)}")
    _check_names(raw)
    network = Network(
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
        host_prefix=raw.host_prefix,
        dns=addressing.dns(raw.dns, asked.runtime),
        prev_result=_given(raw.prev_result),
        attachments=_attachments(raw),
        mac=addressing.mac(asked),
        limits=_limits(raw, asked.runtime, strict=needs_ranges),
        delegate="" if raw.ipam.type in BUILT_IN_IPAM else raw.ipam.type,
        data_dir=raw.ipam.data_dir if raw.ipam.type == "host-local" else "",
        resolv_conf=raw.ipam.resolv_conf,
        snat=raw.snat,
        masq_all=raw.masq_all,
    )
    if raw.type == "loopback" or not needs_ranges:
        return network
    network = msgspec.structs.replace(network, ports=hostports.parse(asked.runtime.get("portMappings")))
    _check_unsupported(raw)
    if raw.type in CHAINED:
        return network
    network = msgspec.structs.replace(network, masq_exceptions=_exceptions(raw))
    if network.delegate:
        _check_mtu(raw.mtu, ())
        return network
    ranges = addressing.ranges(raw.ipam, asked.runtime)
    _check_mtu(raw.mtu, ranges)
    routes = addressing.routes(raw.ipam)
    return msgspec.structs.replace(
        network,
        ranges=ranges,
        routes=addressing.with_defaults(routes, ranges) if raw.is_default_gateway else routes,
        wanted=addressing.wanted(asked, ranges),
    )


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


def _decode(stdin: bytes) -> _Config:
    try:
        return msgspec.json.decode(stdin, type=_Config)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$.")
        raise invalid(where.rstrip("`") or "the configuration", problem) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        advice = "pass one JSON object" if stdin.strip() else "stdin is empty: pass the configuration there"
        raise CniError(Code.DECODING, f"the configuration is no JSON: {error}", advice) from error


def _check_names(raw: _Config) -> None:
    if not raw.name:
        raise invalid("name", "is missing", "name the network")
    if not is_identifier(raw.name):
        raise invalid("name", f"{raw.name!r} is not a letter or digit followed by letters, digits, '_', '.' or '-'")
    if raw.ipam.type and not is_identifier(raw.ipam.type):
        raise invalid("ipam.type", f"{raw.ipam.type!r} is no plugin's name")
    if raw.type not in ("loopback", *CHAINED) and (problem := names.problem(raw.bridge)):
        raise invalid("bridge", f"{raw.bridge!r} {problem}")


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


def _limits(raw: _Config, runtime: Mapping[str, Any], *, strict: bool) -> Bandwidth:
    """Rate limits; what ADD would refuse was never set, and must not stand in the way of DEL."""
    static = {key: getattr(raw, key) for key in ("ingress_rate", "ingress_burst", "egress_rate", "egress_burst")}
    try:
        return bandwidth.parse(static, runtime.get("bandwidth"))
    except CniError:
        if strict:
            raise
        return Bandwidth()


def _exceptions(raw: _Config) -> tuple[IPNetwork, ...]:
    if raw.hairpin_mode and raw.promisc_mode:
        raise invalid("hairpinMode", "cannot be on together with promiscMode: every frame would come twice")
    found = []
    for i, text in enumerate(raw.ip_masq_exceptions or ()):
        try:
            found.append(ip_network(text))
        except ValueError as error:
            raise invalid(f"ipMasqExceptions[{i}]", str(error)) from error
    return tuple(found)


def _check_unsupported(raw: _Config) -> None:
    """Keys that would change what packets do and that nothing here obeys: silence would be a lie."""
    for key, given, advice in (
        ("conditionsV4", raw.conditions_v4, "use nftables rules of your own"),
        ("conditionsV6", raw.conditions_v6, "use nftables rules of your own"),
        ("shapedSubnets", raw.shaped_subnets, "everything of a pod is shaped"),
        ("unshapedSubnets", raw.unshaped_subnets, "everything of a pod is shaped"),
        ("vlan", raw.vlan, "use a bridge per VLAN"),
        ("vlanTrunk", raw.vlan_trunk, "use a bridge per VLAN"),
        ("macspoofchk", raw.macspoofchk, "remove it"),
        ("disableContainerInterface", raw.disable_container_interface, "remove it"),
    ):
        if given:
            raise CniError(Code.UNSUPPORTED_FIELD, f"{key}: is not done by this plugin", advice)


def _attachments(raw: _Config) -> frozenset[tuple[str, str]] | None:
    given = raw.attachments if raw.attachments is not None else raw.old_attachments
    return None if given is None else frozenset((a.containerID, a.ifname) for a in given)

"""Flags to settings: every problem is one error that names the flag, the value and what to give instead."""

import ipaddress
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from netplane.apiserver.process.files import checked_target
from netplane.apiserver.process.settings import (
    Address,
    Audit,
    EtcdServers,
    Listener,
    Load,
    Network,
    PortRange,
    Settings,
)
from netplane.apiserver.process.storage import chosen
from netplane.apiserver.wire import durations
from netplane.errors import UsageError
from netplane.net.bitmap import MAX_HOST_BITS

MIN_ADDRESSES = 8
Given = Mapping[str, Any]


def settings(data_dir: Path, given: Given) -> Settings:
    """What the flags ask for; `given` maps the name of each, as click makes it, to its value. Raises UsageError."""
    own = Listener(address("--bind-address", given["bind_address"]), port("--secure-port", given["secure_port"]))
    listeners = (own, *(netns_listener(text) for text in given["netns"]))
    cert, key = key_pair(given["tls_cert_file"], given["tls_private_key_file"])
    return Settings(
        data_dir=data_dir,
        listeners=listeners,
        networks=service_networks(given["service_cluster_ip_range"]),
        node_ports=node_ports(given["service_node_port_range"]),
        advertise=advertised(given["advertise_address"], listeners),
        token_file=given["token_auth_file"],
        tls_cert=cert,
        tls_key=key,
        kubeconfig_out=_written("--kubeconfig-out", given["kubeconfig_out"], data_dir),
        client_ca=given["client_ca_file"],
        load=_load(given),
        anonymous=given["anonymous_auth"],
        audit=_audit(given, data_dir),
        etcd=_etcd(given),
        fsync=_fsync(given),
        issuer=issuer("--service-account-issuer", given["service_account_issuer"]),
        without_plugins=plugins("--disable-admission-plugins", given["disable_admission_plugins"]),
    )


def address(flag: str, text: str) -> Address:
    """One IP address."""
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise UsageError(f"{flag}: {text!r} is not an IP address", hint="give one like 10.0.0.1 or fd00::1") from error


def port(flag: str, text: str) -> int:
    """A TCP port; 0 lets the kernel choose."""
    if not text.isdecimal() or int(text) > 65535:
        raise UsageError(f"{flag}: {text!r} is not a port", hint="give a number from 0 to 65535")
    return int(text)


def service_networks(text: str) -> tuple[Network, ...]:
    """One range, or two of different families (the first is the primary)."""
    flag = "--service-cluster-ip-range"
    networks: list[Network] = []
    for part in text.split(","):
        try:
            networks.append(ipaddress.ip_network(part.strip()))
        except ValueError as error:
            raise UsageError(f"{flag}: {part.strip()!r}: {error}", hint="give a network like 10.96.0.0/16") from error
    if len(networks) > 2 or len({network.version for network in networks}) != len(networks):
        raise UsageError(f"{flag}: {text}: need one network for each IP family", hint="give one, or IPv4,IPv6")
    for network in networks:
        _check_size(flag, network)
    return tuple(networks)


def _check_size(flag: str, network: Network) -> None:
    if network.num_addresses < MIN_ADDRESSES:
        raise UsageError(f"{flag}: {network} has only {network.num_addresses} addresses", hint="give at least a /29")
    least = network.max_prefixlen - MAX_HOST_BITS[network.version]
    if network.prefixlen < least:
        raise UsageError(
            f"{flag}: {network} is too large", hint=f"give an IPv{network.version} network of /{least} or smaller"
        )


def node_ports(text: str) -> PortRange:
    """`30000-32767`."""
    flag = "--service-node-port-range"
    first, dash, last = text.partition("-")
    if not dash or not first.isdecimal() or not last.isdecimal():
        raise UsageError(f"{flag}: {text!r} is not a range", hint="give one like 30000-32767")
    found = PortRange(int(first), int(last))
    if not 1 <= found.first <= found.last <= 65535:
        raise UsageError(f"{flag}: {text} must rise, from 1 to 65535", hint="give one like 30000-32767")
    return found


def duration_s(flag: str, text: str) -> float:
    """A positive duration, as Kubernetes' flags write it."""
    try:
        found = durations.seconds(text)
    except durations.BadDuration as error:
        raise UsageError(f"{flag}: {error}", hint="give one like 60s or 1m30s") from error
    if found <= 0:
        raise UsageError(f"{flag}: {text} is not longer than nothing", hint="give one like 60s or 1m30s")
    return found


def issuer(flag: str, text: str) -> str:
    """An https URL that OpenID Connect takes: without query and fragment."""
    url = urlsplit(text)
    if url.scheme != "https" or not url.netloc or url.query or url.fragment:
        raise UsageError(
            f"{flag}: {text!r} is not a plain https URL", hint="give one like https://kubernetes.default.svc"
        )
    return text


PLUGINS = ("NodeRestriction", "PodSecurity", "ServiceAccount")


def plugins(flag: str, text: str) -> frozenset[str]:
    """Names of admission plugins, with commas between."""
    found = frozenset(one.strip() for one in text.split(",") if one.strip())
    if unknown := found - set(PLUGINS):
        raise UsageError(f"{flag}: {min(unknown)!r} is no plugin here", hint=f"there are {', '.join(PLUGINS)}")
    return found


def _audit(given: Given, data_dir: Path) -> Audit:
    """A policy without a log would say nothing."""
    limits = (given[f"audit_log_{name}"] for name in ("maxsize", "maxbackup", "maxage"))
    found = Audit(given["audit_log_path"], given["audit_policy_file"], *limits)
    if found.policy is not None and not found.path:
        raise UsageError("--audit-log-path is missing", hint="name a file for the events, or - for stdout")
    if found.path not in ("", "-"):
        _written("--audit-log-path", Path(found.path), data_dir)
    return found


def _written(flag: str, path: Path | None, data_dir: Path) -> Path | None:
    """A file that will be written; its folder is there, or will be."""
    will_be_made = path is not None and not path.exists() and path.parent.resolve() == data_dir.resolve()
    return path if path is None or will_be_made else checked_target(flag, path)


def _load(given: Given) -> Load:
    seats = (given["max_requests_inflight"], given["max_mutating_requests_inflight"])
    return Load(*seats, duration_s("--request-timeout", given["request_timeout"]))


def _etcd(given: Given) -> EtcdServers | None:
    names = ("storage", *(f"etcd_{name}" for name in ("servers", "prefix", "cafile", "certfile", "keyfile")))
    return chosen(**{name: given[name] for name in names})


def _fsync(given: Given) -> bool:
    if given["unsafe_no_fsync"] and given["storage"] != "sqlite":
        raise UsageError("--unsafe-no-fsync is for SQLite", hint="etcd has a flag of that name")
    return not given["unsafe_no_fsync"]


def netns_listener(text: str) -> Listener:
    """`NETNS=ADDR:PORT`; IPv6 addresses in brackets."""
    flag = "--listen-netns"
    name, equals, where = text.rpartition("=")
    host, colon, number = where.rpartition(":")
    if not (name and equals and host and colon):
        raise UsageError(f"{flag}: {text!r} is not NETNS=ADDR:PORT", hint="give one like blue=192.168.1.1:6443")
    return Listener(address(flag, host.strip("[]")), port(flag, number), name)


def advertised(text: str, listeners: tuple[Listener, ...]) -> Address:
    """The address that the `kubernetes` Service leads to: as told, or the first listener's own."""
    if text:
        found = address("--advertise-address", text)
        if found.is_unspecified:
            raise UsageError(
                f"--advertise-address: {text} is no address to connect to", hint="give one of this machine"
            )
        return found
    first = listeners[0].address
    return first if not first.is_unspecified else _own_address(first.version)


def _own_address(version: int) -> Address:
    """The address this machine would use towards the world; loopback without a route. Nothing is sent."""
    family, world, home = (
        (socket.AF_INET, "192.0.2.1", "127.0.0.1") if version == 4 else (socket.AF_INET6, "2001:db8::1", "::1")
    )
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((world, 9))
            return ipaddress.ip_address(probe.getsockname()[0])
        except OSError:
            return ipaddress.ip_address(home)


def key_pair(cert: Path | None, key: Path | None) -> tuple[Path | None, Path | None]:
    """Both or none."""
    if (cert is None) != (key is None):
        missing = "--tls-private-key-file" if key is None else "--tls-cert-file"
        raise UsageError(f"{missing} is missing", hint="give both files, or neither to have a certificate made")
    return cert, key

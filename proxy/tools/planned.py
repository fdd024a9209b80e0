"""What one node should have, from objects and a configuration; and the flags by which commands ask for it."""

import ipaddress
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from netplane.errors import UsageError
from netplane.net.addresses import packed
from netplane.nft.trace import Ruleset
from netplane.nft.types import Family
from proxy import config as configuration
from proxy import validation
from proxy.config import Config
from proxy.plan import cidrs, offline
from proxy.plan.ledger import Ledger
from proxy.plan.model import Node
from proxy.tools import objects
from proxy.tools.objects import Objects

_OPTIONS = (
    click.option("--objects", "files", multiple=True, metavar="FILE", type=click.Path(path_type=Path),
                 help="Kubernetes YAML with Services, EndpointSlices, Nodes, ServiceCIDRs; repeat it, - is stdin."),
    click.option("--kubeconfig", default="", help="Ask this apiserver for the objects."),
    click.option("--master", default="", help="The apiserver's URL, instead of the kubeconfig's."),
    click.option("--node", "--hostname-override", "node_name", default="", help="The node.  [default: the host name]"),
    click.option("--node-address", "node_addresses", multiple=True, metavar="IP",
                 help="An address of the node, beside those its Node object tells."),
    click.option("--service-cidr", "service_cidrs", multiple=True, help="Beside those of the ServiceCIDRs."),
    click.option("--config", "config_file", type=click.Path(path_type=Path), help="A KubeProxyConfiguration (YAML)."),
    click.option("--cluster-cidr", help="Where pods' addresses come from."),
    click.option("--detect-local-mode", help="ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix."),
    click.option("--pod-bridge-interface", help="For BridgeInterface."),
    click.option("--pod-interface-name-prefix", help="For InterfaceNamePrefix."),
    click.option("--nodeport-addresses", multiple=True, help="CIDRs of addresses that answer NodePorts."),
    click.option("--masquerade-all", is_flag=True, default=None, help="Masquerade everything that asks a ClusterIP."),
)  # fmt: skip


def options(command: Callable[..., None]) -> Callable[..., None]:
    """The flags that `Planned.of` reads."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class Planned(NamedTuple):
    """One node of one cluster. `problems` name what of its ranges cannot be read."""

    config: Config
    objects: Objects
    node: Node
    service_cidrs: tuple[str, ...]
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, flags: dict[str, Any], addresses: frozenset[bytes] | None = None) -> "Planned":
        """From the flags of a command; `addresses` are the node's where they are known, else what its object says.

        Raises:
            UsageError: naming the flag, file or field.
        """
        found = _objects(flags)
        config = _config(flags)
        described = _node(found, flags, addresses)
        problems: list[str] = []
        said = cidrs.of_services(found.service_cidrs, problems)
        ranges = tuple(sorted({*said, *_cidrs(flags["service_cidrs"])}))
        return cls(config, found, described, ranges, tuple(problems))

    def ledger(self, family: Family) -> tuple[Ledger, list[str]]:
        """What a family's table should hold, and what of the objects was skipped."""
        unread: list[str] = []
        of_node = cidrs.of_node(self.objects.node(self.node.name), unread)
        by_node = configuration.detect_local(self.config) == "NodeCIDR"
        ledger, problems = offline.plan(
            self.objects.services,
            self.objects.slices,
            family,
            self.node,
            configuration.options(self.config, family, of_node),
            service_cidrs=self.service_cidrs,
            pod_cidrs=of_node if by_node else self.config.cluster_cidrs,
        )
        return ledger, [*self.problems, *unread, *problems]

    def ruleset(self, ledger: Ledger) -> Ruleset:
        """The same as a ruleset that packets can be traced through."""
        return offline.ruleset(ledger, self.node)


def has_objects(flags: dict[str, Any]) -> bool:
    """Whether the flags say where objects come from."""
    return bool(flags["files"] or flags["kubeconfig"] or flags["master"])


def _objects(flags: dict[str, Any]) -> Objects:
    if flags["files"]:
        if flags["kubeconfig"] or flags["master"]:
            raise UsageError("--objects and --kubeconfig are both given", hint="objects come from one of them")
        return objects.of_files(flags["files"])
    if not (has_objects(flags) or os.environ.get("KUBECONFIG") or "KUBERNETES_SERVICE_HOST" in os.environ):
        raise UsageError("nothing says what services there are", hint="pass --objects FILE, or --kubeconfig FILE")
    return objects.of_apiserver(flags["kubeconfig"], flags["master"])


def _config(flags: dict[str, Any]) -> Config:
    config = Config()
    if flags["config_file"] is not None:
        config, _ = configuration.load(flags["config_file"])
        validation.check(config, f"--config {flags['config_file']}")
    config = configuration.with_flags(config, {name: value for name, value in flags.items() if value not in (None, ())})
    validation.check(config, "flags")
    return config


def _node(found: Objects, flags: dict[str, Any], addresses: frozenset[bytes] | None) -> Node:
    from proxy import node  # noqa: PLC0415 - it knows the kernel, which --help does not need

    name = flags["node_name"] or (found.nodes[0].metadata.name if len(found.nodes) == 1 else os.uname().nodename)
    said = found.node(name)
    if said is None and (flags["node_name"] or len(found.nodes) > 1):
        names = ", ".join(sorted(item.metadata.name for item in found.nodes)) or "none"
        raise UsageError(f"--node {name}: there is no such node", hint=f"these are: {names}")
    given = tuple(map(_address, flags["node_addresses"]))
    listed = (said.status.addresses if said and said.status else None) or ()
    told = frozenset(packed(item.address) for item in listed if _is_address(item.address))
    return node.describe(name, said, (told if addresses is None else addresses) | frozenset(given), given)


def _is_address(text: str) -> bool:
    try:
        packed(text)
    except ValueError:
        return False
    return True


def _address(text: str) -> bytes:
    try:
        return packed(text)
    except ValueError as error:
        raise UsageError(f"--node-address {text!r} is no IP address") from error


def _cidrs(given: Sequence[str]) -> list[str]:
    for text in given:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise UsageError(f"--service-cidr {text!r} is no CIDR", hint="such as 10.96.0.0/12") from error
    return list(given)

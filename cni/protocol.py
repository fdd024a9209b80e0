"""PURE: from what a runtime passes (environment and stdin) to a call that has been checked whole.

Source: CNI specification 1.1.0, section 2 ("Execution protocol"): which verb needs which variable.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from cni import config
from cni.errors import CniError, Code
from cni.frames import Request
from cni.plan.lease import Key
from cni.results import CHECK_SINCE, GC_SINCE, VERSIONS, at_least
from netplane.net import names


class Verb(StrEnum):
    """CNI_COMMAND."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"
    VERSION = "VERSION"


_REQUIRED = {
    Verb.ADD: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Verb.CHECK: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Verb.DEL: ("CNI_CONTAINERID", "CNI_IFNAME"),
    Verb.GC: (),
    Verb.STATUS: (),
    Verb.VERSION: (),
}
_SINCE = {Verb.CHECK: CHECK_SINCE, Verb.GC: GC_SINCE, Verb.STATUS: GC_SINCE}
_KNOWN_ARGS = {"IgnoreUnknown", "IP", "MAC", "GATEWAY"}
_TRUE = {"1", "t", "true"}


class Call(msgspec.Struct, frozen=True):
    """A checked call. `netns` is a path as the caller sees it, "" when DEL came without; `request` is how it came."""

    verb: Verb
    network: config.Network
    container: str = ""
    netns: str = ""
    ifname: str = ""
    args: dict[str, str] = {}
    request: Request = Request("", {}, b"")

    @property
    def key(self) -> Key:
        """Which attachment it is about."""
        return Key(self.network.name, self.container, self.ifname)

    @property
    def pod(self) -> str:
        """`namespace/name` when a Kubernetes runtime said so."""
        parts = (self.args.get("K8S_POD_NAMESPACE", ""), self.args.get("K8S_POD_NAME", ""))
        return "/".join(parts) if all(parts) else ""


def parse(request: Request) -> Call:
    """Check environment and configuration.

    Raises:
        CniError: INVALID_ENVIRONMENT naming the variable, or what `config.parse` raises.
    """
    environment = request.environment
    verb = _verb(environment)
    if verb is Verb.VERSION:  # asked before anything is known, and by callers of versions to come
        return Call(verb, config.Network(config.version_of(request.stdin), "", ""), request=request)
    for name in _REQUIRED[verb]:
        if not environment.get(name):
            raise _bad(name, f"is required for {verb}")
    container, ifname = environment.get("CNI_CONTAINERID", ""), environment.get("CNI_IFNAME", "")
    if container and not config.is_identifier(container):
        raise _bad("CNI_CONTAINERID", f"{container!r} is not a letter or digit, then letters, digits, '_', '.', '-'")
    if ifname and (problem := names.problem(ifname)):
        raise _bad("CNI_IFNAME", f"{ifname!r} {problem}")
    args = parse_args(environment.get("CNI_ARGS", ""))
    network = config.parse(request.stdin, args=args, needs_ranges=verb in (Verb.ADD, Verb.STATUS))
    since = _SINCE.get(verb)
    if since and not at_least(network.version, since):
        raise CniError(Code.INCOMPATIBLE_VERSION, f"cniVersion: {network.version} has no {verb}: it came with {since}")
    return Call(verb, network, container, environment.get("CNI_NETNS", ""), ifname, args, request)


def _verb(environment: Mapping[str, str]) -> Verb:
    word = environment.get("CNI_COMMAND", "")
    if not word:
        raise _bad("CNI_COMMAND", "is missing: this program is a CNI plugin, run by a container runtime")
    try:
        return Verb(word)
    except ValueError as error:
        raise _bad("CNI_COMMAND", f"{word!r} is not one of {', '.join(Verb)}") from error


def _bad(variable: str, problem: str) -> CniError:
    return CniError(Code.INVALID_ENVIRONMENT, f"{variable}: {problem}")


def parse_args(text: str) -> dict[str, str]:
    """CNI_ARGS: `KEY=value;KEY2=value2`. Unknown keys need IgnoreUnknown=1; Kubernetes' K8S_POD_* are known.

    Raises:
        CniError: naming the pair.
    """
    args: dict[str, str] = {}
    for pair in filter(None, text.split(";")):
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise _bad("CNI_ARGS", f"{pair!r} is no KEY=value pair")
        args[key] = value
    if args.get("IgnoreUnknown", "").lower() in _TRUE:
        return args
    unknown = [key for key in args if key not in _KNOWN_ARGS and not key.startswith("K8S_POD_")]
    if unknown:
        raise _bad("CNI_ARGS", f"unknown keys {', '.join(unknown)}; pass IgnoreUnknown=1 to ignore them")
    return args


def version_reply(version: str) -> bytes:
    """The answer to VERSION."""
    return msgspec.json.encode({"cniVersion": version, "supportedVersions": VERSIONS})

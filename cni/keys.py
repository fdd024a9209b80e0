"""PURE: the network configuration as it comes: which keys there are, of which types. What they mean: `cni/config.py`.

Unknown keys are left alone. A key that is null counts as not given, as it does for the reference plugins.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from cni.addressing import Ipam
from cni.errors import CniError, Code, invalid
from cni.plan.vlan import Trunk
from cni.results import Dns


class _Attachment(msgspec.Struct, frozen=True):
    containerID: str  # noqa: N815 - the specification's name
    ifname: str


class _Args(msgspec.Struct, frozen=True):
    cni: dict[str, Any] | None = None


class Keys(msgspec.Struct, frozen=True, rename="camel"):
    """What may be in a configuration: the reference plugins' keys, and ours."""

    cni_version: str = ""
    name: str = ""
    type: str = ""
    bridge: str = "cni0"
    is_gateway: bool = False
    is_default_gateway: bool = False
    ip_masq: bool = False
    ip_masq_backend: str = ""
    mtu: int = 0
    hairpin_mode: bool = False
    promisc_mode: bool = False
    force_address: bool = False
    port_isolation: bool = False
    ip_masq_exceptions: list[str] | None = None
    host_prefix: bool = False
    snat: bool = True
    masq_all: bool = False
    backend: str = ""
    mark_masq_bit: int | None = None
    external_set_mark_chain: str = ""
    conditions_v4: list[str] | None = None
    conditions_v6: list[str] | None = None
    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0
    vlan: int = 0
    vlan_trunk: list[Trunk] | None = None
    preserve_default_vlan: bool = False
    macspoofchk: bool = False
    enabledad: bool = False
    disable_container_interface: bool = False
    shaped_subnets: list[str] | None = None
    unshaped_subnets: list[str] | None = None
    ipam: Ipam = Ipam()
    dns: Dns | None = None
    args: _Args | None = None
    runtime_config: dict[str, Any] | None = None
    prev_result: msgspec.Raw = msgspec.Raw()
    # Null is what an empty list looks like when a caller in Go writes it; only a missing key says nothing.
    attachments: list[_Attachment] | UnsetType | None = msgspec.field(name="cni.dev/valid-attachments", default=UNSET)
    old_attachments: list[_Attachment] | UnsetType | None = msgspec.field(name="cni.dev/attachments", default=UNSET)


def decode(stdin: bytes) -> Keys:
    """Read stdin.

    Raises:
        CniError: DECODING when it is no JSON object; INVALID_CONFIG naming a key of the wrong type.
    """
    try:
        try:
            return msgspec.json.decode(stdin, type=Keys)
        except msgspec.ValidationError:
            return msgspec.convert(_given_keys(msgspec.json.decode(stdin)), Keys)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$")
        field = where.strip("`.")
        if field in ("", "cniVersion"):  # nobody can tell then what the rest means
            raise CniError(
                Code.DECODING, f"{field or 'the configuration'}: {problem}", "pass one JSON object"
            ) from error
        raise invalid(field, problem) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        advice = "pass one JSON object" if stdin.strip() else "stdin is empty: pass the configuration there"
        raise CniError(Code.DECODING, f"the configuration is no JSON: {error}", advice) from error


def _given_keys(found: Any) -> Any:
    """The same without keys that are null. prevResult stays as it is; it is text to us."""
    match found:
        case dict():
            kept = {key: value for key, value in found.items() if value is not None or key.startswith("cni.dev/")}
            raw = {"prevResult": msgspec.Raw(msgspec.json.encode(kept["prevResult"]))} if "prevResult" in kept else {}
            return {key: _given_keys(value) for key, value in kept.items() if key != "prevResult"} | raw
        case list():
            return [_given_keys(value) for value in found]
        case _:
            return found

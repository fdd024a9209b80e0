"""The configuration that runtimes read: the node's ranges, bridge and MTU, in CNI 1.0.0.

1.0.0 although 1.1.0 is spoken: containerd 1.6 and podman 4.3 refuse a newer list.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from netplane.rtnl import Network

FILE = "10-netplane.conflist"
NETWORK = "netplane"
BRIDGE = "netplane0"
VERSION = "1.0.0"
CAPABILITIES = {"portMappings": True, "bandwidth": True, "ips": True, "mac": True}


def plugin(cidrs: Sequence[Network], mtu_bytes: int) -> dict[str, Any]:
    """The plugin's own part."""
    return {
        "type": "netplane",
        "bridge": BRIDGE,
        "mtu": mtu_bytes,
        "isDefaultGateway": True,
        "hostPrefix": True,
        "hairpinMode": True,
        "capabilities": CAPABILITIES,
        "ipam": {"type": "netplane", "ranges": [[{"subnet": str(cidr)}] for cidr in cidrs]},
    }


def conflist(cidrs: Sequence[Network], mtu_bytes: int) -> bytes:
    """The file's text."""
    found = {"cniVersion": VERSION, "name": NETWORK, "plugins": [plugin(cidrs, mtu_bytes)]}
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"


def standalone(cidrs: Sequence[Network]) -> bytes:
    """The file's text for a machine without an agent: nobody else knows these pods, so what leaves is masqueraded."""
    part = {**plugin(cidrs, 0), "ipMasq": True}
    found = {"cniVersion": VERSION, "name": NETWORK, "plugins": [part]}
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"


def network(cidrs: Sequence[Network], mtu_bytes: int) -> bytes:
    """What a runtime makes of it and passes on stdin: the plugin's part with the list's name and version."""
    return msgspec.json.encode({"cniVersion": VERSION, "name": NETWORK, **plugin(cidrs, mtu_bytes)})

"""Reads kube-proxy's tables of configuration, for the tests that replay them."""

import json
from pathlib import Path
from typing import Any

from netplane.nft import types

TABLES = Path(__file__).parents[1] / ".." / "shared" / "facts" / "tables"
FAMILIES = {f"{family.name}Protocol": family for family in types.FAMILIES}
MODES = {"LocalModeClusterCIDR": "ClusterCIDR", "LocalModeNodeCIDR": "NodeCIDR"}
MODES |= {"LocalModeBridgeInterface": "BridgeInterface", "LocalModeInterfaceNamePrefix": "InterfaceNamePrefix"}
PROXY_MODES = {"ProxyModeIPTables": "iptables", "ProxyModeIPVS": "ipvs", "ProxyModeNFTables": "nftables"}
PROXY_MODES["ProxyModeKernelspace"] = "kernelspace"


def table(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((TABLES / f"{name}.json").read_text())
    return found


def rows(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A table whose rows have names."""
    return {name: row for name, row in found.items() if isinstance(row, dict)}

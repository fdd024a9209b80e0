"""PURE: links, addresses, routes, neighbours and FDB entries as values; requests about them; their bytes.

    requests = [
        add(Link("br0", Bridge(), mtu=1450, up=True)),
        add(Link("veth1", Veth("eth0", peer_netns=fd), master="br0", up=True)),
        add(Address.of("br0", "10.244.1.1/24")),
        add(Route.of("10.244.2.0/24", via="10.244.2.0", dev="vxlan0", onlink=True)),
    ]
    with kernel.rtnl.Rtnl() as rt:
        rt.apply(requests)

Printed, a request reads like the `ip` or `bridge` command that does the same.
"""

from netplane.rtnl.requests import (
    Add,
    Change,
    Delete,
    DeleteGroup,
    Request,
    add,
    append,
    delete,
    delete_link,
    inverse,
    replace,
)
from netplane.rtnl.shaping import CLASSIFIERS, Classifier, Ingress, Redirect, TokenBucket
from netplane.rtnl.values import (
    IP,
    MAIN_TABLE,
    PROTO_BOOT,
    Address,
    Bridge,
    BridgePort,
    Dummy,
    FdbEntry,
    Ifb,
    Interface,
    Link,
    LinkKind,
    Neighbour,
    Network,
    Other,
    PortVlan,
    Route,
    Value,
    Veth,
    Vxlan,
)

__all__ = [
    "CLASSIFIERS",
    "IP",
    "MAIN_TABLE",
    "PROTO_BOOT",
    "Add",
    "Address",
    "Bridge",
    "BridgePort",
    "Change",
    "Classifier",
    "Delete",
    "DeleteGroup",
    "Dummy",
    "FdbEntry",
    "Ifb",
    "Ingress",
    "Interface",
    "Link",
    "LinkKind",
    "Neighbour",
    "Network",
    "Other",
    "PortVlan",
    "Redirect",
    "Request",
    "Route",
    "TokenBucket",
    "Value",
    "Veth",
    "Vxlan",
    "add",
    "append",
    "delete",
    "delete_link",
    "inverse",
    "replace",
]

"""Node ports as keys of the store: one for each port a Service has, written and deleted in the Service's transaction.

Addresses have IPAddress objects; ports have no object of the API, so their keys lie outside of its tree. A Service
takes a port by creating its key: of several apiservers that pick the same one, one transaction wins.

    /allocated/nodeports/30080      value: NAMESPACE/NAME of the Service
"""

from typing import Any

from netplane.store.protocol import Delete, Put

Json = dict[str, Any]

PREFIX = "/allocated/nodeports/"


def ports(service: Json | None) -> list[int]:
    """The node ports that a Service has; TCP and UDP of one number are one."""
    spec = (service or {}).get("spec") or {}
    found = [port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")]
    if spec.get("healthCheckNodePort"):
        found.append(spec["healthCheckNodePort"])
    return list(dict.fromkeys(found))


def changes(new: Json | None, old: Json | None) -> list[Put | Delete]:
    """What a Service's write does to the keys: `new` None deletes it, `old` None makes it."""
    have, want = ports(old), ports(new)
    if have == want:
        return []
    ops: list[Put | Delete] = [Delete(key(port)) for port in have if port not in want]
    assert new is not None or not want
    return ops + [Put(key(port), holder((new or {})["metadata"])) for port in want if port not in have]


def key(port: int) -> str:
    """Where a port's key lies."""
    return f"{PREFIX}{port}"


def holder(metadata: Json) -> bytes:
    """A key's value."""
    return f"{metadata.get('namespace', '')}/{metadata['name']}".encode()

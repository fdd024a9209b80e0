"""A connection's first packet, and what became of it: the values that `netplane.nft.trace` takes and gives."""

import ipaddress
from typing import Literal, NamedTuple

from netplane.net.addresses import with_port
from netplane.nft import expr, types
from netplane.nft.jhash import jhash
from netplane.nft.types import PROTOCOLS, Family

Outcome = Literal["none", "dnat", "reject", "drop"]


class Packet(NamedTuple):
    """The first packet of a connection. Addresses packed; `iifname` empty for packets of the host itself.

    `priorities` are the values that its priority may have by now: rules use it as a scratch register.
    """

    family: Family
    saddr: bytes
    daddr: bytes
    protocol: int
    dport: int
    iifname: str = "eth0"
    local: bool = False
    mark: int = 0
    dnatted: bool = False
    priorities: tuple[int, ...] = (0,)

    def __str__(self) -> str:
        address = self.family.address.text
        proto = types.INET_PROTO.text(bytes((self.protocol,)))
        return f"{address(self.saddr)} → {address(self.daddr)}:{self.dport}/{proto}"


def packet(source: str, destination: str, dport: int, protocol: str = "tcp", *, local: bool = False) -> Packet:
    """A packet from text. Raises ValueError on bad addresses or mixed families."""
    src, dst = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if src.version != dst.version:
        raise ValueError(f"{source} and {destination} are of different families")
    family = types.IPV4 if src.version == 4 else types.IPV6
    return Packet(family, src.packed, dst.packed, PROTOCOLS[protocol], dport, "" if local else "eth0", local)


class Step(NamedTuple):
    """One rule that did something."""

    chain: str
    rule: str
    note: str

    def __str__(self) -> str:
        return f"{self.chain}: {self.rule}" + (f"   # {self.note}" if self.note else "")


class Endpoint(NamedTuple):
    """Where DNAT may send the connection, and whether its source is then rewritten."""

    address: str
    port: int
    masquerade: bool

    def __str__(self) -> str:
        return with_port(self.address, self.port)


class Trace(NamedTuple):
    """What becomes of a packet. `holes` counts random outcomes that found no entry (there should be none)."""

    packet: Packet
    outcome: Outcome
    endpoints: tuple[Endpoint, ...]
    masquerade: bool
    steps: tuple[Step, ...]
    holes: int

    def __str__(self) -> str:
        lines = [str(self.packet), *(f"  {step}" for step in self.steps), f"= {self.outcome}"]
        lines += [f"    {endpoint}{' masqueraded' if endpoint.masquerade else ''}" for endpoint in self.endpoints]
        return "\n".join(lines)


def client_slot(saddr: bytes) -> bytes:
    """The register form of `expr.client_text`."""
    if len(saddr) == 4:
        return saddr
    hashed = (jhash(saddr, seed) * expr.CLIENT_MODULUS >> 32 for seed in expr.CLIENT_SEEDS)
    return b"".join(map(types.INTEGER.pack, hashed))

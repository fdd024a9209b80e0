"""Traffic control as values, and their bytes (linux/pkt_sched.h, pkt_cls.h, tc_act/tc_mirred.h): what limits a rate.

A queue shapes only what leaves a device. What comes in is first redirected to leave an `ifb` device, which is shaped:

    pod ──▶ veth: Ingress ─ Redirect ─▶ ifb: TokenBucket ─▶ on, as if it had come in by the veth
    pod ◀── veth: TokenBucket
"""

import struct
from typing import Literal

import msgspec

from netplane.net import netlink as nl

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC, RTM_NEWTFILTER = 36, 37, 38, 44
TCMSG = struct.Struct("=BxxxiIII")  # family, index, handle, parent, info
TCA_KIND, TCA_OPTIONS = 1, 2
_ROOT, _INGRESS, _INGRESS_HANDLE = 0xFFFFFFFF, 0xFFFFFFF1, 0xFFFF0000
_TBF_PARMS, _TBF_RATE64, _TBF_BURST = 1, 4, 6
_TBF_QOPT = struct.Struct("=BBHhHI12xIII")  # cell_log, linklayer, overhead, cell_align, mpu, rate; limit, buffer, mtu
_LINKLAYER_ETHERNET = 1
_U32_SEL, _U32_ACT, _U32_TERMINAL = 5, 7, 1
_ACT_KIND, _ACT_OPTIONS, _MIRRED_PARMS = 1, 2, 2
_ACT_STOLEN, _EGRESS_REDIRECT = 4, 1
_MATCHALL_ACT = 2
_BPF_ACT, _BPF_OPS_LEN, _BPF_OPS = 1, 4, 5
# Classic BPF: return -1, which is "every packet" (cls_bpf; linux/filter.h, struct sock_filter).
_BPF_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0xFFFFFFFF)
_PRIORITY_AND_ALL_PROTOCOLS = 1 << 16 | int.from_bytes((3).to_bytes(2, "big"), "little")
_U32_MAX = 0xFFFFFFFF


class TokenBucket(msgspec.Struct, frozen=True):
    """The device's root queue (tc-tbf(8)): `rate` bytes per second, `burst` bytes at once, `limit` bytes waiting."""

    dev: str
    rate: int
    burst: int
    limit: int

    def __str__(self) -> str:
        return f"dev {self.dev} root tbf rate {self.rate * 8}bit burst {self.burst}b limit {self.limit}b"


class Ingress(msgspec.Struct, frozen=True):
    """The hook for what comes in."""

    dev: str

    def __str__(self) -> str:
        return f"dev {self.dev} ingress"


Classifier = Literal["u32", "matchall", "bpf"]
CLASSIFIERS: tuple[Classifier, ...] = ("u32", "matchall", "bpf")
_EVERY_PACKET = {"u32": "u32 match u32 0 0", "matchall": "matchall", "bpf": "bpf bytecode '1,6 0 0 4294967295'"}


class Redirect(msgspec.Struct, frozen=True):
    """Everything that comes in by `dev` leaves by `to`. Each classifier can say "all"; kernels lack one or another."""

    dev: str
    to: str
    classifier: Classifier = "u32"

    def __str__(self) -> str:
        every = _EVERY_PACKET[self.classifier]
        return f"dev {self.dev} ingress protocol all {every} action mirred egress redirect dev {self.to}"


def bucket(value: TokenBucket, index: int) -> tuple[int, bytes]:
    """Message type and payload."""
    parms = _TBF_QOPT.pack(0, _LINKLAYER_ETHERNET, 0, 0, 0, min(value.rate, _U32_MAX), value.limit, 0, 0)
    options = [nl.attr(_TBF_PARMS, parms), nl.attr_u32(_TBF_BURST, value.burst)]
    if value.rate > _U32_MAX:
        options.append(nl.attr(_TBF_RATE64, struct.pack("=Q", value.rate)))
    head = TCMSG.pack(0, index, 0, _ROOT, 0)
    return RTM_NEWQDISC, head + nl.attr_str(TCA_KIND, "tbf") + nl.nested(TCA_OPTIONS, *options)


def ingress(index: int) -> tuple[int, bytes]:
    """Message type and payload."""
    return RTM_NEWQDISC, TCMSG.pack(0, index, _INGRESS_HANDLE, _INGRESS, 0) + nl.attr_str(TCA_KIND, "ingress")


def redirect(index: int, to: int, classifier: Classifier) -> tuple[int, bytes]:
    """Message type and payload."""
    mirred = struct.pack("=IIiiiiI", 0, 0, _ACT_STOLEN, 0, 0, _EGRESS_REDIRECT, to)
    action = nl.nested(1, nl.attr_str(_ACT_KIND, "mirred"), nl.nested(_ACT_OPTIONS, nl.attr(_MIRRED_PARMS, mirred)))
    head = TCMSG.pack(0, index, 0, _INGRESS_HANDLE, _PRIORITY_AND_ALL_PROTOCOLS)
    options = nl.nested(TCA_OPTIONS, *_every_packet(classifier, action))
    return RTM_NEWTFILTER, head + nl.attr_str(TCA_KIND, classifier) + options


def _every_packet(classifier: Classifier, action: bytes) -> list[bytes]:
    match classifier:
        case "u32":
            # One key whose mask is zero: it matches every packet.
            selector = struct.pack("=BBBxHHhhI", _U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0) + struct.pack("=IIii", 0, 0, 0, 0)
            return [nl.attr(_U32_SEL, selector), nl.nested(_U32_ACT, action)]
        case "matchall":
            return [nl.nested(_MATCHALL_ACT, action)]
        case "bpf":
            ops = [nl.attr_u16(_BPF_OPS_LEN, 1), nl.attr(_BPF_OPS, _BPF_ALL)]
            return [*ops, nl.nested(_BPF_ACT, action)]


def decode_bucket(payload: bytes, dev: str) -> TokenBucket | None:
    """The token bucket a dumped queue is; None when it is of another kind."""
    attrs = nl.attr_map(payload, TCMSG.size)
    if nl.string(attrs[TCA_KIND]) != "tbf":
        return None
    options = nl.attr_map(attrs[TCA_OPTIONS])
    *_, rate, limit, _buffer, _mtu = _TBF_QOPT.unpack_from(options[_TBF_PARMS])
    rate = nl.u64(options[_TBF_RATE64]) if _TBF_RATE64 in options else rate
    return TokenBucket(dev, rate, 0, limit)

"""Real connections between hosts, and servers that tell who answered and whom. One thread drives both ends.

Every request gets one line back, `<address>:<port> <client>`: the endpoint that answered and the source it saw. TCP and
UDP use the kernel's sockets; SCTP is raw packets (see `sctp`).
"""

import contextlib
import os
import random
import selectors
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from netplane.kernel import netns
from netplane.net.addresses import with_port
from proxy.tools import sctp

_IP_RECVERR, _IPV6_RECVERR = 11, 25

Outcome = Literal["answered", "refused", "unreachable", "silent"]


class Service(NamedTuple):
    """Something that listens: `space` is a namespace's descriptor."""

    space: int
    address: str
    port: int
    protocol: str

    @property
    def name(self) -> str:
        """`10.1.0.1:80`, `[fd00::1]:80`."""
        return with_port(self.address, self.port)


class Probe(NamedTuple):
    """A connection to try from an address of a namespace. `serial` tells several of the same apart."""

    space: int
    source: str
    destination: str
    port: int
    protocol: str
    serial: int = 0


class Answer(NamedTuple):
    """What came of it: who answered, and the client's address as the server saw it."""

    outcome: Outcome
    endpoint: str = ""
    client: str = ""


class _Asked(NamedTuple):
    """A probe, and what tells its SCTP packets from those of others: its port and its initiate tag."""

    probe: Probe
    sport: int
    tag: int


class Talk:
    """Servers that are up until the context ends, and connections to try meanwhile."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._selector = selectors.DefaultSelector()
        self._answers: dict[Probe, Answer] = {}
        self._raw: dict[tuple[int, str], set[int]] = {}
        for service in dict.fromkeys(services):
            self._listen(service)

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._selector.get_map().values()):
            self._forget(key.fileobj)
        self._selector.close()

    # Ask ------------------------------------------------------------------------------------------------------

    def ask(self, probes: Sequence[Probe], patience_s: float) -> dict[Probe, Answer]:
        """Try all at once; those that nothing comes of for so long are silent."""
        self._answers = {}
        sockets = [sock for probe in probes if (sock := self._start(probe)) is not None]
        quiet_at = time.monotonic() + patience_s
        while len(self._answers) < len(probes):
            left_s = quiet_at - time.monotonic()
            if left_s <= 0:
                break
            before = len(self._answers)
            for key, _ in self._selector.select(left_s):
                self._ready(key)
            if len(self._answers) > before:
                quiet_at = time.monotonic() + patience_s
        for sock in sockets:
            self._forget(sock)
        return {probe: self._answers.get(probe, Answer("silent")) for probe in probes}

    def _start(self, probe: Probe) -> socket.socket | None:
        sock = _open(probe.space, probe.destination, probe.protocol)
        asked = _Asked(probe, random.randrange(32_768, 61_000), random.getrandbits(31) + 1)
        _want_errors(sock)
        sock.bind((probe.source, 0))
        try:
            # A raw socket has no port: the packet itself says it.
            sock.connect_ex((probe.destination, 0 if probe.protocol == "sctp" else probe.port))
            if probe.protocol != "tcp":
                sock.send(_request(asked))
        except PermissionError:
            pass  # a rule of this very host stopped it; whether it refused or was silent, the socket will tell
        except OSError as error:
            self._answers[probe] = _failed(error)
            sock.close()
            return None
        self._selector.register(sock, selectors.EVENT_READ, asked)
        return sock

    def _ready(self, key: selectors.SelectorKey) -> None:
        sock = key.fileobj
        assert isinstance(sock, socket.socket)
        if isinstance(key.data, Service):
            with contextlib.suppress(OSError):
                self._serve(sock, key.data)
            return
        answer = _read(sock, key.data)
        if answer is not None:
            self._answers[key.data.probe] = answer
            self._forget(sock)

    def _forget(self, sock: object) -> None:
        assert isinstance(sock, socket.socket)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(sock)
        sock.close()

    # Serve ----------------------------------------------------------------------------------------------------

    def _listen(self, service: Service) -> None:
        if service.protocol == "sctp":
            known = self._raw.setdefault((service.space, service.address), set())
            known.add(service.port)
            if len(known) > 1:
                return
        sock = _open(service.space, service.address, service.protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Bound to the address itself, so that answers come from it.
        sock.bind((service.address, 0 if service.protocol == "sctp" else service.port))
        if service.protocol == "tcp":
            sock.listen(1024)
        self._selector.register(sock, selectors.EVENT_READ, service)

    def _serve(self, sock: socket.socket, service: Service) -> None:
        if service.protocol == "tcp":
            connection, client = sock.accept()
            with connection:
                connection.sendall(f"{service.name} {client[0]}".encode())
            return
        data, client = sock.recvfrom(2048)
        if service.protocol == "udp":
            sock.sendto(f"{service.name} {client[0]}".encode(), client)
            return
        asked = sctp.decode(_without_ip_header(sock, data))
        if asked is not None and not asked.answer and asked.dport in self._raw[service.space, service.address]:
            said = f"{service._replace(port=asked.dport).name} {client[0]}".encode()
            answer = sctp.Packet(asked.dport, asked.sport, asked.tag, 1, said)
            sock.sendto(sctp.encode(answer), (client[0], 0))


def _open(space: int, address: str, protocol: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind, number = {
        "tcp": (socket.SOCK_STREAM, 0),
        "udp": (socket.SOCK_DGRAM, 0),
        "sctp": (socket.SOCK_RAW, sctp.PROTOCOL),
    }[protocol]
    return netns.socket_in(space, family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, number)


def _want_errors(sock: socket.socket) -> None:
    """Datagram and raw sockets are told of "host unreachable" only when they ask for it."""
    if sock.type != socket.SOCK_STREAM:
        v4 = sock.family == socket.AF_INET
        sock.setsockopt(socket.IPPROTO_IP if v4 else socket.IPPROTO_IPV6, _IP_RECVERR if v4 else _IPV6_RECVERR, 1)


def _request(asked: _Asked) -> bytes:
    if asked.probe.protocol == "udp":
        return b"?"
    return sctp.encode(sctp.Packet(asked.sport, asked.probe.port, 0, asked.tag))


def _without_ip_header(sock: socket.socket, data: bytes) -> bytes:
    """Raw IPv4 sockets are given the IP header too, raw IPv6 sockets are not."""
    return data[(data[0] & 0xF) * 4 :] if sock.family == socket.AF_INET else data


def _read(sock: socket.socket, asked: _Asked) -> Answer | None:
    """What a client's socket says; None when it was about another one's packet."""
    try:
        if asked.probe.protocol == "sctp":
            return _read_raw(sock, asked)
        return _answered(sock.recv(2048))
    except BlockingIOError:
        return None
    except OSError as error:
        return _failed(error)


def _answered(data: bytes) -> Answer:
    endpoint, _, client = data.decode().partition(" ")
    return Answer("answered", endpoint, client)


def _read_raw(sock: socket.socket, asked: _Asked) -> Answer | None:
    """Raw sockets are given everything between two addresses: answers and errors of other ports, too."""
    with contextlib.suppress(BlockingIOError):
        while True:
            about, ancillary, _, _ = sock.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
            if int.from_bytes(about[:2], "big") == asked.sport:
                # The first number of struct sock_extended_err is the errno.
                number = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
                return _failed(OSError(number, os.strerror(number)))
    said = sctp.decode(_without_ip_header(sock, sock.recv(2048)))
    return _answered(said.answer) if said is not None and said.verification == asked.tag and said.answer else None


def _failed(error: OSError) -> Answer:
    return Answer("refused" if isinstance(error, ConnectionRefusedError) else "unreachable")

"""Clients of a lab: real sockets, opened from a pod's, a node's or the outside machine's namespace."""

import json
import socket
from collections import Counter

import msgspec

from netplane.kernel import netns

TIMEOUT_S = 2.0


class Answers(msgspec.Struct, frozen=True):
    """Who answered how often. `failed` counts connections that were refused, reset or timed out, by reason."""

    by_pod: dict[str, int]
    failed: dict[str, int]
    clients: list[str]

    @property
    def ok(self) -> bool:
        """Whether every connection was answered."""
        return bool(self.by_pod) and not self.failed


def ask_http(address: str, port: int, timeout_s: float = TIMEOUT_S) -> dict[str, str]:
    """One connection, one GET, the echo server's answer. Raises OSError."""
    with socket.create_connection((address, port), timeout=timeout_s) as conn:
        conn.sendall(b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
        data = b""
        while chunk := conn.recv(65536):
            data += chunk
    return _decoded(data.partition(b"\r\n\r\n")[2])


def ask_tcp(address: str, port: int, timeout_s: float = TIMEOUT_S) -> dict[str, str]:
    """One connection, the line the echo server greets with. Raises OSError."""
    with socket.create_connection((address, port), timeout=timeout_s) as conn:
        return _decoded(conn.makefile("rb").readline())


def ask_udp(address: str, port: int, timeout_s: float = TIMEOUT_S) -> dict[str, str]:
    """One datagram from a new port, its answer. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout_s)
        sock.connect((address, port))
        sock.send(b"ping")
        return _decoded(sock.recv(65536))


ASK = {"http": ask_http, "tcp": ask_tcp, "udp": ask_udp}


def connects(space: str, address: str, port: int, timeout_s: float = 0.3) -> bool:
    """Whether a TCP connection from inside a namespace is accepted."""

    def work() -> bool:
        try:
            socket.create_connection((address, port), timeout=timeout_s).close()
        except OSError:
            return False
        return True

    return netns.run_in(space, work)


def count(space: str, kind: str, address: str, port: int, times: int, timeout_s: float = TIMEOUT_S) -> Answers:
    """Ask `times` times, each over a new connection, from inside a namespace.

    Args:
        space: the client's network namespace.
        kind: http, tcp or udp.
        address, port: the frontend.
        times: how many connections.
        timeout_s: for each of them.
    """

    def work() -> Answers:
        pods: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        clients = set()
        for _ in range(times):
            try:
                answer = ASK[kind](address, port, timeout_s)
            except OSError as error:
                failed[type(error).__name__] += 1
                continue
            pods[answer["pod"]] += 1
            clients.add(answer["client"].rpartition(":")[0])
        return Answers(dict(sorted(pods.items())), dict(failed), sorted(clients))

    return netns.run_in(space, work)


def _decoded(data: bytes) -> dict[str, str]:
    if not data:
        raise ConnectionResetError("the server closed the connection without an answer")
    answer: dict[str, str] = json.loads(data)
    return answer

"""What a lab's pods run: answers TCP, UDP and HTTP with its pod's name, its node and the client's address.

    python3 -I -S echo.py --http 8080 --tcp 7000 --udp 7000

One JSON object per answer: `{"pod": "web-1", "node": "node-2", "client": "10.244.1.3:40112"}`. TCP sends it as a line
when a connection opens and echoes every line after that, so a test can see that a connection is still alive. HTTP
answers every GET with it and keeps the connection when asked to. UDP answers each datagram with it and the payload
as `echo`. Only the standard library's lightest modules: six pods start on two cores in a blink.
"""

import json
import os
import socket
import sys
import threading

TYPE_CHECKING = False  # spelled out: importing typing would cost more than the rest of the start
if TYPE_CHECKING:
    from collections.abc import Callable

    Talk = Callable[[socket.socket, tuple[str, int]], None]

_RECV_BYTES = 65536


def identity(client: tuple[str, int]) -> dict[str, str]:
    """Who answers, and whom."""
    host = client[0].removeprefix("::ffff:")
    where = f"[{host}]:{client[1]}" if ":" in host else f"{host}:{client[1]}"
    return {"pod": os.environ.get("POD_NAME", ""), "node": os.environ.get("NODE_NAME", ""), "client": where}


def listen(kind: int, port: int) -> socket.socket:
    """A socket for both families where the kernel has IPv6, else for IPv4."""
    try:
        sock = socket.socket(socket.AF_INET6, kind)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        address: tuple[str, int] = ("::", port)
    except OSError:
        sock = socket.socket(socket.AF_INET, kind)
        address = ("", port)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(address)
    if kind == socket.SOCK_STREAM:
        sock.listen(1024)
    return sock


def talk_tcp(conn: socket.socket, client: tuple[str, int]) -> None:
    """One TCP connection: a line that says who we are, then every byte back."""
    conn.sendall(json.dumps(identity(client)).encode() + b"\n")
    while data := conn.recv(_RECV_BYTES):
        conn.sendall(data)


def talk_http(conn: socket.socket, client: tuple[str, int]) -> None:
    """One HTTP/1.1 connection: each request head gets the same 200 (bodies are not expected, nor read)."""
    pending = b""
    while data := conn.recv(_RECV_BYTES):
        pending += data
        while b"\r\n\r\n" in pending:
            head, pending = pending.split(b"\r\n\r\n", 1)
            keep = b"connection: close" not in head.lower() and b"HTTP/1.0" not in head
            body = json.dumps(identity(client)).encode() + b"\n"
            conn.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s"
                % (len(body), b"keep-alive" if keep else b"close", body)
            )
            if not keep:
                return


def serve_stream(sock: socket.socket, talk: "Talk") -> None:
    """Accept for ever, a thread for each connection."""

    def handle(conn: socket.socket, client: tuple[str, int]) -> None:
        with conn:
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                talk(conn, client)
            except OSError:
                return  # the client went away

    while True:
        conn, peer = sock.accept()
        threading.Thread(target=handle, args=(conn, peer[:2]), daemon=True).start()


def serve_udp(sock: socket.socket) -> None:
    """Answer every datagram."""
    while True:
        data, peer = sock.recvfrom(_RECV_BYTES)
        answer = identity(peer[:2]) | {"echo": data.decode(errors="replace")}
        sock.sendto(json.dumps(answer).encode(), peer)


def main(argv: list[str]) -> None:
    """Open every port named in `argv`, say so on NOTIFY_FD, and serve for ever."""
    threads = []
    for flag, value in zip(argv[::2], argv[1::2], strict=True):
        for port in (int(p) for p in value.split(",")):
            if flag == "--udp":
                threads.append(threading.Thread(target=serve_udp, args=(listen(socket.SOCK_DGRAM, port),)))
            elif flag in ("--tcp", "--http"):
                talk = talk_tcp if flag == "--tcp" else talk_http
                threads.append(threading.Thread(target=serve_stream, args=(listen(socket.SOCK_STREAM, port), talk)))
            else:
                sys.exit(f"echo: unknown argument {flag!r}; use --http, --tcp or --udp with ports")
    for thread in threads:
        thread.start()
    if "NOTIFY_FD" in os.environ:
        os.write(int(os.environ["NOTIFY_FD"]), b"ready\n")
        os.close(int(os.environ["NOTIFY_FD"]))
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1:])

"""Limits, audit and refusals of the real process, over TLS: slow clients, large bodies, noisy users, kubectl."""

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.apiserver_process import Apiserver

CONFIG = "/api/v1/namespaces/default/configmaps"
TOKENS = """admin-t,admin,1,"system:masters"
noisy-t,noisy,2,"people"
quiet-t,quiet,3,"people"
"""
LIMIT = 3 * 1024 * 1024
NOISY, ASKED = 200, 100


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apiserver]:
    folder = tmp_path_factory.mktemp("limits")
    (folder / "tokens.csv").write_text(TOKENS)
    flags = ("--token-auth-file", str(folder / "tokens.csv"), "--audit-log-path", str(folder / "audit.log"),
             "--request-timeout", "2s")  # fmt: skip
    with Apiserver(folder, *flags) as made:
        made.kubectl("create", "clusterrolebinding", "people", "--clusterrole=edit", "--group=people")
        yield made


def connect(server: Apiserver) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    return server.tls().wrap_socket(plain, server_hostname="127.0.0.1")


def head(method: str, path: str, *headers: str) -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: x", "Authorization: Bearer admin-t", *headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(conn: ssl.SSLSocket) -> tuple[int, dict[str, object]]:
    """Status code and body of one answer."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        part = conn.recv(65536)
        assert part, raw
        raw += part
    top, _, body = raw.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in top.split(b"\r\n") if line.lower().startswith(b"content-length"))
    while len(body) < length:
        body += conn.recv(65536)
    return int(top.split()[1]), json.loads(body)


def test_a_body_that_says_it_is_too_large_is_refused_unread(server: Apiserver) -> None:
    with connect(server) as conn:
        conn.sendall(head("POST", CONFIG, f"Content-Length: {LIMIT + 1}", "Content-Type: application/json"))
        status, body = answer(conn)
    assert (status, body["reason"], body["code"]) == (413, "RequestEntityTooLarge", 413)


def test_a_body_in_chunks_is_cut_at_the_limit(server: Apiserver) -> None:
    with connect(server) as conn:
        conn.sendall(head("POST", CONFIG, "Transfer-Encoding: chunked", "Content-Type: application/json"))
        chunk = b"%x\r\n%s\r\n" % (65536, b" " * 65536)
        with contextlib.suppress(OSError):
            for _ in range(LIMIT // 65536 + 2):
                conn.sendall(chunk)
        status, body = answer(conn)
    assert (status, body["reason"]) == (413, "RequestEntityTooLarge")


def test_who_sends_slowly_is_told_and_holds_up_nobody(server: Apiserver) -> None:
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(server)) for _ in range(20)]
        for conn in slow:
            conn.sendall(head("POST", CONFIG, "Content-Length: 100", "Content-Type: application/json") + b"{")
        with server.client() as client:
            made = client.post(CONFIG, json={"metadata": {"generateName": "quick-"}})
            assert made.status_code == 201
        for conn in slow:
            status, body = answer(conn)
            assert (status, body["reason"]) == (504, "Timeout")


NOISE = """
import asyncio, sys
from netplane.client import config

async def one(tls, port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    while True:
        writer.write(ASK)
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\\r")[0]))

ASK = sys.argv[3].encode()

async def main():
    tls = config.load(sys.argv[1]).tls
    await asyncio.gather(*(one(tls, int(sys.argv[2])) for _ in range(200)))

asyncio.run(main())
"""


def dispatched(client: httpx2.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    found = [one for one in lines if one.startswith("apiserver_flowcontrol_dispatched_requests_total")]
    return sum(float(one.rpartition(" ")[2]) for one in found)


def test_two_hundred_noisy_connections_leave_another_user_a_fair_share(server: Apiserver) -> None:
    """Counted in answers, not in seconds: for each of the quiet user's, fewer than one to every noisy connection."""
    ask = head("GET", CONFIG).decode().replace("admin-t", "noisy-t")
    noise = subprocess.Popen([sys.executable, "-c", NOISE, str(server.kubeconfig), str(server.port), ask])
    try:
        with server.client() as admin, server.client("quiet-t") as quiet:
            before = dispatched(admin)
            while dispatched(admin) < before + 20 * NOISY:  # all of them are there
                time.sleep(0.05)
            assert quiet.get(CONFIG).status_code == 200
            before = dispatched(admin)
            for _ in range(ASKED):
                assert quiet.get(CONFIG).status_code == 200
            others = dispatched(admin) - before - ASKED
        assert noise.poll() is None
    finally:
        noise.kill()
        noise.wait()
    assert others < ASKED * NOISY / 2, f"{others} answers of the noisy user for {ASKED} of the quiet one"


def test_the_audit_log_tells_of_it(server: Apiserver) -> None:
    server.kubectl("create", "secret", "generic", "hidden", "--from-literal=password=hunter2")
    server.kubectl("get", "configmaps", "--as=quiet", "--as-group=people")
    path = server.folder / "audit.log"
    deadline = time.monotonic() + 20
    while not any('"impersonatedUser":{"username":"quiet"' in line for line in path.read_text().splitlines()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    events = [json.loads(line) for line in path.read_text().splitlines()]
    [made] = [one for one in events if one.get("objectRef", {}).get("name") == "hidden" and one["verb"] == "create"]
    assert (made["user"]["username"], made["responseStatus"]["code"], made["level"]) == ("admin", 201, "Metadata")
    assert made["userAgent"].startswith("kubectl/")
    assert "hunter2" not in path.read_text()
    codes = {one["responseStatus"]["code"] for one in events}
    assert {200, 201, 413, 504} <= codes


def test_kubectl_tells_what_cannot_be_done(server: Apiserver) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
           "spec": {"containers": [{"name": "c", "image": "x"}], "nodeName": "n"}}  # fmt: skip
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}
    for made in (node, pod):
        server.kubectl("create", "-f", "-", stdin=json.dumps(made))
    for args in (("logs", "p"), ("exec", "p", "--", "sh"), ("attach", "p"), ("port-forward", "p", "8080:80")):
        server.kubectl("patch", "pod", "p", "--subresource=status", "-p", json.dumps({"status": {"phase": "Running"}}))
        said = server.kubectl(*args, ok=False)
        assert "no node agent of this cluster serves pods/" in said, said
    server.kubectl("auth", "can-i", "delete", "nodes", "--as=quiet", "--as-group=people", ok=False)
    listed = server.kubectl("auth", "can-i", "--list", "--as=quiet", "--as-group=people")
    assert "secrets" in listed


def test_it_ends_cleanly_with_its_log_written(tmp_path: Path) -> None:
    with Apiserver(tmp_path, "--audit-log-path", str(tmp_path / "audit.log")) as own:
        with own.client() as client:
            assert client.get(CONFIG).status_code == 200
        assert own.terminate() == 0
    assert '"objectRef":{"resource":"configmaps"' in (tmp_path / "audit.log").read_text()

"""`netplane top` in a real terminal, of two sizes: what fits is shown, a lost proxy is told, Ctrl-C ends it."""

import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.waiting import until

NETPLANE = Path(sys.executable).with_name("netplane")


class Metrics(BaseHTTPRequestHandler):
    began = time.monotonic()

    def do_GET(self) -> None:
        asked = int((time.monotonic() - self.began) * 1000)
        lines = [
            f'netplane_service_connections_total{{namespace="shop",service="s{i}",port="http"}} {asked * (60 - i)}'
            for i in range(60)
        ]
        self.send_response(200)
        self.end_headers()
        self.wfile.write("\n".join(["netplane_proxy_services 60", *lines, ""]).encode())

    def log_message(self, *args: object) -> None:
        """Quiet."""


class Terminal:
    """A tmux server of its own with one window."""

    def __init__(self, width: int, height: int, command: str) -> None:
        self._name = f"npt-{secrets.token_hex(4)}"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), command)

    def tmux(self, *arguments: str) -> str:
        command = ["tmux", "-L", self._name, *arguments]
        # Readline, which pytest loads, puts LINES and COLUMNS of its own into the environment that children inherit.
        return subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout

    def lines(self) -> list[str]:
        return self.tmux("capture-pane", "-p").splitlines()

    def alive(self) -> bool:
        return subprocess.run(["tmux", "-L", self._name, "has-session"], capture_output=True).returncode == 0

    def close(self) -> None:
        if self.alive():
            self.tmux("kill-server")


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


@pytest.mark.parametrize(
    ("width", "height", "columns", "key"), [(80, 24, "conn/s", "C-c"), (120, 40, "drop/s     drop", "q")]
)
def test_it_fills_the_window_and_ends_with_a_key(
    server: ThreadingHTTPServer, width: int, height: int, columns: str, key: str
) -> None:
    assert shutil.which("tmux"), "this test needs tmux (./run test installs it)"
    address = f"127.0.0.1:{server.server_port}"
    window = Terminal(width, height, f"{NETPLANE} top --address {address} --interval 0.2")
    try:

        def busiest() -> list[str]:
            return [line.split()[0] for line in window.lines() if line.strip().startswith("shop/")]

        until(lambda: len(busiest()) > height - 10, window.lines)
        lines = window.lines()
        assert busiest()[:2] == ["shop/s0", "shop/s1"]
        assert lines[0].startswith("60 services"), "the heading is still there"
        assert len(lines) <= height
        assert "q ends" in lines[-1]
        assert any(" ".join(columns.split()) in " ".join(line.split()) for line in lines)
        server.shutdown()
        server.socket.close()
        until(lambda: any("no metrics from" in line for line in window.lines()), window.lines)
        window.tmux("send-keys", "x", key)
        until(lambda: not window.alive(), window.lines)
    finally:
        window.close()

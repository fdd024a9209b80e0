"""The endpoints inside a program, asked over HTTP."""

import asyncio
import signal
import socket

import httpx2
import pytest

from netplane.errors import UsageError
from netplane.obs import health, metrics


def test_checks_say_what_is_wrong() -> None:
    reason = ""
    route = health.checks(health.Check("informers", lambda: reason), health.Check("always", lambda: ""))
    assert route() == (200, health.TEXT, b"ok")
    reason = "services not synced"
    assert route()[0] == 500
    assert route()[2] == b"[-]informers failed: services not synced\n"


def test_routes_over_http_and_signals_left_alone() -> None:
    registry = metrics.new_registry()
    requests = metrics.Counter("netplane_test_requests", "Requests.", registry=registry)
    requests.inc()

    async def main() -> None:
        sock = health.listen("127.0.0.1", 0, "--healthz-bind-address")
        routes = {"/livez": health.alive, "/metrics": metrics.route(registry)}
        before = signal.getsignal(signal.SIGTERM)
        async with health.serve(routes, sock) as port, httpx2.AsyncClient(trust_env=False) as http:
            url = f"http://127.0.0.1:{port}"
            assert signal.getsignal(signal.SIGTERM) == before
            assert (await http.get(f"{url}/livez")).text == "ok"
            assert (await http.get(f"{url}/other")).status_code == 404
            assert (await http.post(f"{url}/livez")).status_code == 405
            assert (await http.head(f"{url}/livez")).content == b""
            answer = await http.get(f"{url}/metrics")
            assert "netplane_test_requests_total 1.0" in answer.text
            assert "process_cpu_seconds_total" in answer.text
        with pytest.raises(httpx2.ConnectError):
            async with httpx2.AsyncClient(trust_env=False) as http:
                await http.get(f"{url}/livez")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:10256", ("127.0.0.1", 10256)),
        ("127.0.0.1", ("127.0.0.1", 99)),
        (":80", ("0.0.0.0", 80)),
        ("[::1]:80", ("::1", 80)),
        ("::1", ("::1", 99)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_bind_addresses(text: str, expected: tuple[str, int]) -> None:
    assert health.parse_bind(text, "--bind", default_port=99) == expected


def test_a_bad_or_taken_address_names_the_flag() -> None:
    with pytest.raises(UsageError, match="--bind is 'x:http'"):
        health.parse_bind("x:http", "--bind", default_port=1)
    with health.listen("127.0.0.1", 0, "--bind") as sock, pytest.raises(UsageError, match="--bind: cannot listen"):
        health.listen("127.0.0.1", sock.getsockname()[1], "--bind")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_every_address_is_every_address_of_both_families(host: str) -> None:
    with health.listen(host, 0, "--bind") as sock:
        for near in ("127.0.0.1", "::1"):
            socket.create_connection((near, sock.getsockname()[1])).close()


def test_timed_observes_failures_too() -> None:
    registry = metrics.new_registry()
    histogram = metrics.Histogram("netplane_test_s", "x", buckets=metrics.LATENCY_S, registry=registry)
    with pytest.raises(OSError, match="no"), metrics.timed(histogram):
        raise OSError("no")
    assert registry.get_sample_value("netplane_test_s_count") == 1

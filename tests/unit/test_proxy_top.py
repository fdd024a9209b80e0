"""`netplane top`: readings of /metrics, rates between them, and what is printed."""

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from click.testing import CliRunner
from rich.console import Console

from netplane.errors import NetplaneError
from proxy.tools import top, traffic
from proxy.tools.traffic import Place

TEXT = """\
# HELP netplane_service_connections_total Connections
# TYPE netplane_service_connections_total counter
netplane_service_connections_total{namespace="shop",service="cart",port="http"} %d
netplane_service_connections_total{namespace="shop",port="http",service="web"} %d
netplane_service_connections_created{namespace="shop",port="http",service="web"} 1.7e+09
netplane_service_drops_total{namespace="shop",service="web",port="http",reason="policy"} 2.0
netplane_service_drops_total{namespace="shop",service="web",port="http",reason="sources"} %d
netplane_service_endpoints{namespace="shop",service="web",port="http"} 3.0
netplane_proxy_services 2.0
netplane_proxy_frontends 5.0
kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.001"} 98.0
kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.002"} 100.0
kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="+Inf"} 100.0
"""


def reading(at_s: float, cart: int, web: int, dropped: int = 0) -> traffic.Reading:
    return traffic.read(TEXT % (cart, web, dropped), at_s)


def printed(before: traffic.Reading, now: traffic.Reading, width: int, most: int | None = None) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as captured:
        console.print(top.view(now, traffic.rows(before, now), width=width, most=most))
    return captured.get()


def test_samples_of_one_service_port_are_added_up() -> None:
    found = reading(0, 7, 9, dropped=5)
    assert found.services[Place("shop", "web", "http")] == {"connections": 9, "drops": 7, "endpoints": 3}
    assert found.services[Place("shop", "cart", "http")] == {"connections": 7}
    assert found.totals["netplane_proxy_services"] == 2


def test_rates_are_per_second_and_the_busiest_comes_first() -> None:
    cart, web = traffic.rows(reading(10, 100, 100), reading(12, 300, 110, dropped=4))
    assert (cart.service, cart.connections_per_s, cart.connections) == ("cart", 100, 300)
    assert (web.service, web.connections_per_s, web.drops_per_s, web.drops) == ("web", 5, 2, 6)
    assert (cart.endpoints, web.endpoints) == (None, 3)


def test_a_proxy_that_was_started_anew_gives_no_negative_rate() -> None:
    cart, _ = traffic.rows(reading(0, 1000, 0), reading(2, 10, 0))
    assert cart.connections_per_s == 5


def test_without_an_earlier_reading_there_are_totals_only() -> None:
    assert {row.connections_per_s for row in traffic.rows(None, reading(0, 5, 6))} == {0}


def test_escaped_label_values_are_read() -> None:
    text = r'm{a="one \"two\" \\n\n",b="x"} 1' + "\nnot a sample\n"
    assert list(traffic.samples(text)) == [("m", {"a": 'one "two" \\n\n', "b": "x"}, 1.0)]


def test_the_quantile_is_a_bucket_bound() -> None:
    buckets = reading(0, 0, 0).buckets
    assert [traffic.quantile_s(buckets, share) for share in (0.5, 0.99)] == [0.001, 0.002]
    assert traffic.quantile_s({}, 0.99) is None


@pytest.mark.parametrize(("width", "shown"), [(80, "conn/s"), (120, "drop/s")])
def test_the_picture_fits_its_width(width: int, shown: str) -> None:
    before, now = reading(0, 0, 0), reading(1, 12, 3456, dropped=4)
    lines = printed(before, now, width).splitlines()
    assert max(map(len, lines)) <= width
    assert any(shown in line for line in lines)
    assert any("shop/web" in line and "3,456" in line for line in lines)


def test_only_so_many_services_as_there_are_lines_for() -> None:
    before, now = reading(0, 0, 0), reading(1, 2, 1)
    text = printed(before, now, 80, most=1)
    assert "shop/cart" in text
    assert "shop/web" not in text


class Metrics(BaseHTTPRequestHandler):
    scrapes = 0

    def do_GET(self) -> None:
        Metrics.scrapes += 1
        self.send_response(200 if self.path == "/metrics" else 404)
        self.end_headers()
        self.wfile.write((TEXT % (10, 1000 * Metrics.scrapes, 0)).encode())

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Metrics)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))  # how often it looks whether to stop
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_json_of_one_interval(address: str) -> None:
    done = CliRunner().invoke(top.command, ["--address", address, "--interval", "0.1", "-o", "json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    assert [row["service"] for row in said["services"]] == ["web", "cart"]
    assert said["services"][0]["connections_per_s"] > 0
    assert said["proxy"]["netplane_proxy_frontends"] == 5


def test_a_pipe_gets_one_plain_table_of_the_namespace(address: str) -> None:
    done = CliRunner().invoke(top.command, ["--address", address, "--interval", "0.1", "-n", "shop"])
    assert done.exit_code == 0, done.output
    assert "shop/web" in done.output
    assert "\x1b" not in done.output
    other = CliRunner().invoke(top.command, ["--address", address, "--interval", "0.1", "-n", "other"])
    assert "shop/web" not in other.output


def test_nobody_there_is_one_clear_error() -> None:
    with pytest.raises(NetplaneError, match=r"no metrics from 127\.0\.0\.1:1: .*refused"):
        top.scrape("127.0.0.1", 1)

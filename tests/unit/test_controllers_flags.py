"""What the controllers' flags say, and how they are refused."""

from pathlib import Path

import pytest

from netplane.controllers.flags import parse_controllers, parse_duration, parse_pools, parse_timing, read_root_ca
from netplane.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"), [("40s", 40.0), ("1m30s", 90.0), ("500ms", 0.5), ("2", 2.0), ("1.5s", 1.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration("--node-monitor-grace-period", text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "4 s", "fast", "-1s"])
def test_bad_durations_name_the_flag(text: str) -> None:
    with pytest.raises(UsageError, match="--node-monitor-grace-period"):
        parse_duration("--node-monitor-grace-period", text)


@pytest.mark.parametrize(
    ("cidr", "size", "expected"),
    [
        ("10.244.0.0", 8, "--node-cidr-mask-size 8 does not divide"),
        ("10.244.1.0/16", 24, "has host bits set"),
        ("10.0.0.0/8,10.1.0.0/16", 24, "two ranges of one family"),
        ("ten", None, "--cluster-cidr"),
        ("10.0.0.0/8", 30, "does not divide"),
    ],
)
def test_bad_ranges_name_the_flag(cidr: str, size: int | None, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        parse_pools(cidr, {4: size, 6: size})


def test_default_sizes() -> None:
    assert [pool.node_prefix for pool in parse_pools("10.0.0.0/16, fd00::/56", {4: None, 6: None})] == [24, 64]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", {"a", "b", "c"}),
        ("a", {"a"}),
        ("*,-b", {"a", "c"}),
        ("a, c", {"a", "c"}),
        ("-*,b", {"b"}),
    ],
)
def test_which_controllers_run(text: str, expected: set[str]) -> None:
    assert parse_controllers(text, ["a", "b", "c"]) == expected


@pytest.mark.parametrize(
    ("text", "message"), [("d", "there is no 'd'"), ("", "there is no ''"), ("-a", "none is left")]
)
def test_controllers_that_cannot_run_are_told(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_controllers(text, ["a", "b", "c"])


@pytest.mark.parametrize("times", [("10s", "10s", "2s"), ("15s", "2s", "2s"), ("500ms", "400ms", "100ms")])
def test_leases_that_cannot_keep_two_apart_are_refused(times: tuple[str, str, str]) -> None:
    with pytest.raises(UsageError, match="--leader-elect-"):
        parse_timing(*times)
    assert parse_timing("15s", "10s", "2s") == (15.0, 10.0, 2.0)


@pytest.mark.parametrize("content", [None, b"", b"key", b"\xff\xfe"])
def test_a_file_without_certificates_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="--root-ca-file"):
        read_root_ca(str(path))

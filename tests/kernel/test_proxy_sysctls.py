"""Connection tracking's parameters, as a configuration asks for them."""

import subprocess
import sys

import pytest

from tests.cnitools import Spaces

pytestmark = pytest.mark.privileged


def test_connection_tracking_is_set_as_configured(place: Spaces) -> None:
    """--init-only: timeouts and leniency are this namespace's; the table's size is the whole machine's and stays."""
    namespace = place.name("sysctls")
    flags = ("--conntrack-tcp-timeout-established=90m", "--conntrack-udp-timeout=45s", "--conntrack-tcp-be-liberal")
    command = [
        "ip",
        "netns",
        "exec",
        namespace,
        sys.executable,
        "-m",
        "proxy",
        "--init-only",
        "--conntrack-max-per-core=0",
        *flags,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.count("sysctl written") + done.stdout.count("sysctl written") == 4
    names = ("tcp_timeout_established", "tcp_timeout_close_wait", "udp_timeout", "tcp_be_liberal")
    for name, value in zip(names, ("5400", "3600", "45", "1"), strict=True):
        path = f"/proc/sys/net/netfilter/nf_conntrack_{name}"
        read = subprocess.run(
            ["ip", "netns", "exec", namespace, "cat", path], capture_output=True, text=True, check=True
        )
        assert read.stdout.strip() == value

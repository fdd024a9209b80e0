"""Starting where kube-proxy ran: refused, or taken over while its connections go on; and the way back.

The rulesets here have the structure of the reference's, written from a description of it: in nftables one verdict map
in front, a chain with one numgen map per service and a chain per endpoint; in iptables a chain per service and per
endpoint, reached by a jump from KUBE-SERVICES. Both mark what is to be masqueraded with 0x4000.
"""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from netplane.kernel import iptables, netns
from netplane.nft.types import FAMILIES
from proxy import takeover
from proxy.plan.iptables import signs
from proxy.plane import cleanup
from proxy.probe import Unfit
from tests import packet_hosts as at
from tests.kernel.test_proxy_packets import server_that_waits
from tests.packet_hosts import Hosts, Probe
from tests.proxied import Proxy, endpoints, proxy, service

pytestmark = pytest.mark.privileged

WEB = Probe("client", "10.96.0.1", 80, "tcp")
DNS = Probe("client", "10.96.0.1", 53, "udp")
OUTSIDE = Probe("out", "10.96.0.1", 80, "tcp")


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with at.hosts() as made:
        yield made


def nftables_rules(port: int) -> str:
    """kube-proxy's table in nftables mode, with one service of one endpoint per port."""
    return f"""
    table ip kube-proxy {{
      map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
      chain mark-for-masquerade {{ meta mark set meta mark or 0x4000; }}
      chain masquerading {{
        meta mark & 0x4000 == 0 return
        meta mark set meta mark xor 0x4000
        masquerade fully-random
      }}
      chain endpoint-web {{ ip saddr 10.1.0.1 jump mark-for-masquerade; meta l4proto tcp dnat to 10.1.0.1:{port}; }}
      chain endpoint-dns {{ meta l4proto udp dnat to 10.1.0.1:8053; }}
      chain service-web {{
        ip daddr 10.96.0.1 ip saddr != 10.0.0.0/8 jump mark-for-masquerade
        numgen random mod 1 vmap {{ 0 : goto endpoint-web }}
      }}
      chain service-dns {{ numgen random mod 1 vmap {{ 0 : goto endpoint-dns }}; }}
      chain services {{ ip daddr . meta l4proto . th dport vmap @service-ips; }}
      chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
      chain nat-output {{ type nat hook output priority -100; jump services; }}
      chain nat-postrouting {{ type nat hook postrouting priority srcnat; jump masquerading; }}
    }}
    add element ip kube-proxy service-ips {{
      10.96.0.1 . tcp . 80 : goto service-web, 10.96.0.1 . udp . 53 : goto service-dns }}
    """


def iptables_rules(port: int) -> str:
    """kube-proxy's chains in iptables mode, beside a chain of the kubelet's and a rule of somebody's."""
    return f"""*mangle
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-WEB - [0:0]
:KUBE-SEP-WEB - [0:0]
:KUBE-SEP-DNS - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A POSTROUTING -s 172.31.0.0/16 -j MASQUERADE
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp --dport 80 -j KUBE-SVC-WEB
-A KUBE-SERVICES -d 10.96.0.1/32 -p udp --dport 53 -j KUBE-SEP-DNS
-A KUBE-SVC-WEB ! -s 10.0.0.0/8 -j KUBE-MARK-MASQ
-A KUBE-SVC-WEB -j KUBE-SEP-WEB
-A KUBE-SEP-WEB -p tcp -j DNAT --to-destination 10.1.0.1:{port}
-A KUBE-SEP-DNS -p udp -j DNAT --to-destination 10.1.0.1:8053
COMMIT
*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
COMMIT
"""


def install(hosts: Hosts, made: Proxy, kind: str, port: int) -> None:
    if kind == "nftables":
        made.nft.run_text(nftables_rules(port))
    else:
        iptables.restore(iptables.Saved(f"iptables-{kind}-restore", iptables_rules(port)), hosts.node)


def left(hosts: Hosts) -> list[str]:
    return [line for kind in iptables.saved(hosts.node) for line in kind.text.splitlines() if line[:2] in ("-A", ":K")]


def echoed(sock: socket.socket, said: bytes) -> bool:
    sock.send(said)
    return sock.recv(16) == said


@pytest.mark.parametrize("kind", ["nftables", "nft", "legacy"])
@pytest.mark.parametrize("who", [WEB, OUTSIDE])
def test_taking_over_keeps_open_connections_and_serves_new_ones(hosts: Hosts, kind: str, who: Probe) -> None:
    with ExitStack() as stack:
        made = stack.enter_context(proxy(hosts))
        cleanup_ours(made)
        port = stack.enter_context(server_that_waits(hosts, "e1"))
        install(hosts, made, kind, port)
        rivals = takeover.find(made.nft, hosts.node)
        with pytest.raises(Unfit, match="another service proxy runs, or ran"):
            takeover.refuse(rivals, take_over=False)
        takeover.refuse(rivals, take_over=True)

        tcp = stack.enter_context(hosts.connect(who))
        assert tcp.recv(16) == b"hello"
        udp = stack.enter_context(hosts.connect(DNS))
        assert udp.recv(64).startswith(b"10.1.0.1:8053")

        # The whole of our rules, and only then the end of theirs.
        made.sync(full=True)
        made.put(service(), endpoints(1, port=port), endpoints(2, name="s0-1"))
        assert echoed(tcp, b"both are there")
        takeover.remove(made.nft, rivals, hosts.node)
        takeover.remove(made.nft, rivals, hosts.node)

        assert not takeover.find(made.nft, hosts.node)
        assert made.nft.tables()[-2:] == ["ip netplane-proxy", "ip6 netplane-proxy"]
        assert "ip kube-proxy" not in made.nft.tables()
        assert echoed(tcp, b"still there")
        udp.send(b"?")
        assert udp.recv(64).startswith(b"10.1.0.1:8053"), "its endpoint serves, so the flow stays"
        tcp.close()
        made.put(None, endpoints(2))
        made.put(None, endpoints(3, name="s0-1"))
        assert {hosts.ask([who])[who].endpoint for _ in range(20)} == {"10.1.0.2:8080", "10.1.0.3:8080"}
        if kind != "nftables":
            assert [line for line in left(hosts) if "KUBE-KUBELET-CANARY" not in line] == [
                "-A POSTROUTING -s 172.31.0.0/16 -j MASQUERADE"
            ]
            subprocess.run(
                ["ip", "netns", "exec", f"{at.PREFIX}node", f"iptables-{kind}", "-t", "nat", "-F"], check=True
            )


def cleanup_ours(made: Proxy) -> None:
    for family in FAMILIES:
        cleanup(family, made.nft)


def test_the_way_back_kube_proxy_first_then_clean_up(hosts: Hosts) -> None:
    with ExitStack() as stack:
        made = stack.enter_context(proxy(hosts))
        port = stack.enter_context(server_that_waits(hosts, "e1"))
        made.put(service(), endpoints(1, port=port))
        tcp = stack.enter_context(hosts.connect(OUTSIDE))
        assert tcp.recv(16) == b"hello"
        install(hosts, made, "nftables", 8080)
        cleanup_ours(made)
        assert made.nft.tables() == ["ip kube-proxy"]
        assert echoed(tcp, b"still there")
        assert hosts.ask([OUTSIDE])[OUTSIDE].endpoint == "10.1.0.1:8080"


def test_chains_that_the_kubelet_makes_are_no_proxy() -> None:
    listing = (
        "*nat\n:KUBE-POSTROUTING - [0:0]\n:KUBE-MARK-MASQ - [0:0]\nCOMMIT\n*mangle\n:KUBE-KUBELET-CANARY -\nCOMMIT\n"
    )
    assert signs(listing) == []
    assert signs("*nat\n:KUBE-SVC-X - [0:0]\n:KUBE-MARK-MASQ - [0:0]\nCOMMIT\n") == [
        "nat KUBE-SVC-X",
        "nat KUBE-MARK-MASQ",
    ]


def test_ipvs_is_never_taken_over(hosts: Hosts) -> None:
    """A node in IPVS mode has the link that kube-proxy keeps its service addresses on."""
    at.run("node", f"link add {takeover.IPVS_LINK} type veth peer name ipvs-peer")
    try:
        with proxy(hosts) as made:
            rivals = takeover.find(made.nft, hosts.node)
        assert rivals.ipvs
        for told in (False, True):
            with pytest.raises(Unfit, match="cannot be taken over"):
                takeover.refuse(rivals, take_over=told)
    finally:
        at.run("node", f"link delete {takeover.IPVS_LINK}")


def test_chains_that_cannot_be_read_are_refused(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with proxy(hosts) as made:
        assert not takeover.find(made.nft, hosts.node)
        made.nft.run_text("add table ip nat; add chain ip nat KUBE-MARK-MASQ")
        assert not takeover.find(made.nft, hosts.node), "a kubelet makes that one, too"
        made.nft.run_text("add chain ip nat KUBE-SERVICES")
        with pytest.raises(Unfit, match="iptables chains are in table ip nat"):
            takeover.find(made.nft, hosts.node)


def test_nothing_is_found_on_a_node_without_a_proxy(hosts: Hosts) -> None:
    with proxy(hosts) as made:
        assert not takeover.find(made.nft, hosts.node)
        takeover.refuse(takeover.Rivals(), take_over=False)
    assert netns.run_in(f"{at.PREFIX}node", lambda: [k.text for k in iptables.saved() if signs(k.text)]) == []
